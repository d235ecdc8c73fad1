"""What is exported for verl, loaded, rolled out and scored by verl's own classes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.agent.records import after, asked, call, calling, label
from tooln1_agent.codec import Codec
from tooln1_agent.datasets.export_store import export_examples
from tooln1_agent.engines.resolve import SEED_DIR
from tooln1_agent.examples import AnyCall, Exact, Example, NoCall, Possible, PossibleCall
from tooln1_agent.messages import Message
from tooln1_agent.prompt import ours
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.reward import score
from trainer.config import GrpoConfig

pytestmark = [pytest.mark.slow, pytest.mark.verl]

ROOT = Path(__file__).resolve().parents[2]
ROME = call(city="Rome")
TARGETS = (
    Exact(alternatives=((ROME,), (ROME, call("mail", to="ann")))),
    NoCall(),
    Possible(calls=(PossibleCall(name="weather", arguments={"city": ["Rome", "Roma"]}),)),
    AnyCall(),
)
HISTORY = [
    Message(role="system", content="Be brief."),
    Message(role="user", content="Ask <|im_end|> for the weather, größer als 東京."),
    Message(role="assistant", tool_calls=(ROME.model_copy(update={"id": "call_1"}),)),
    Message(role="tool", content="sunny <tool_call>", tool_call_id="call_1"),
    Message(role="user", content="And now?"),
]
REPLIES = {
    "right": f"{calling(ROME)}<|im_end|>",
    "wrong": f"{calling(call(city='Oslo'))}<|im_end|>",
    "malformed": "<tool_call>[]<|im_end|>",
    "no call": "<think>Nothing fits.</think>I cannot do that.<|im_end|>",
    "a token in the middle": f"{calling(ROME)}<|im_start|><|im_end|>",
}
CUT = calling(ROME)


class Seen(NamedTuple):
    """What verl made of an export."""

    config: dict[str, Any]
    rows: int
    examples: tuple[Example, ...]
    answers: dict[tuple[str, str], dict[str, Any]]
    """By example and reply."""


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(SEED_DIR)


@pytest.fixture(scope="module")
def seen(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, codec: Codec
) -> Seen:
    """Export a labelled store, run its script as far as verl's settings, and probe the rest."""
    found = pytestconfig.getoption("--verl-python")
    assert isinstance(found, Path)
    home = tmp_path_factory.mktemp("verl")
    with ReplayStore(home / "replay.db") as store:
        fill(store)
        examples = store.examples().examples
        export_examples(store, "verl", home / "the kit", split=None, model=SEED_DIR)
    python = str(found.absolute())
    words = ("trainer.total_epochs=7", "--cfg", "job")
    config = run(home, python, str(home / "the kit" / "train.sh"), *words)
    (home / "config.yaml").write_text(config)
    replies = REPLIES | {"cut": CUT}
    pairs = [(example.id, reply) for example in examples for reply in replies]
    said = [[e, codec.encode([ours(replies[reply])]), {}] for e, reply in pairs]
    said.append([examples[0].id, [1], {"tokenizer": "another"}])
    pairs.append((examples[0].id, "of another tokenizer"))
    probe = Path(__file__).with_name("verl_probe.py")
    out = run(home, python, python, str(probe), str(home / "config.yaml"), told=json.dumps(said))
    probed = json.loads(out.splitlines()[-1])
    answers = dict(zip(pairs, probed["answers"], strict=True))
    return Seen(probed["config"], probed["rows"], examples, answers)


def fill(store: ReplayStore) -> None:
    """Label a request with a target of each kind, and one that has a history."""
    questions: Sequence[str | list[Message]] = [f"Question {n}" for n, _ in enumerate(TARGETS)]
    for question, target in zip([*questions, HISTORY], [*TARGETS, TARGETS[0]], strict=True):
        interaction = asked(question)
        store.begin(interaction)
        store.add_label(label(interaction, "target", target=target, created_at=after(1)))


def run(home: Path, python: str, *words: str, told: str = "") -> str:
    """Run a command of verl's with our packages; return what it prints."""
    cache = str(home / "cache")
    environment = os.environ | {
        "PYTHON": python, "PYTHONPATH": str(ROOT), "HF_HOME": cache, "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    done = subprocess.run(
        words, env=environment, cwd=home, input=told, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_verl_loads_every_example(seen: Seen) -> None:
    assert seen.rows == len(seen.examples) == len(TARGETS) + 1


def test_verl_asks_for_the_ids_that_are_served_and_trains_on_them(seen: Seen, codec: Codec) -> None:
    for example in seen.examples:
        served = codec.prompt_ids(example.messages, example.tools)
        answer = seen.answers[example.id, "right"]
        assert answer["asked"] == answer["trained_on"] == served
        assert answer["response"] == codec.encode([ours(REPLIES["right"])])


@pytest.mark.parametrize("reply", REPLIES)
def test_verls_reward_manager_pays_what_the_gate_goes_by(seen: Seen, reply: str) -> None:
    text = REPLIES[reply].removesuffix("<|im_end|>")
    expected = {
        example.id: score(text, tools=example.tools, target=example.target).value
        for example in seen.examples
    }
    assert {e: seen.answers[e, reply]["reward"] for e in expected} == expected


def test_right_is_paid_wrong_and_malformed_are_not(seen: Seen) -> None:
    (example,) = (e for e in seen.examples if e.target == TARGETS[0] and len(e.messages) == 1)
    paid = [seen.answers[example.id, r]["reward"] for r in ("right", "wrong", "malformed")]
    assert paid == [1.0, 0.0, 0.0]


def test_a_reply_that_was_cut_earns_nothing(seen: Seen) -> None:
    assert {seen.answers[example.id, "cut"]["reward"] for example in seen.examples} == {0.0}


def test_rows_of_another_tokenizer_are_refused(seen: Seen, codec: Codec) -> None:
    refused = seen.answers[seen.examples[0].id, "of another tokenizer"]["refused"]
    assert "the tokenizer another" in refused
    assert codec.hash in refused


def test_what_is_put_behind_the_script_goes_before_what_it_says(seen: Seen) -> None:
    assert seen.config["trainer"]["total_epochs"] == 7


def test_what_verl_is_set_to_is_what_our_trainer_does(seen: Seen) -> None:
    ours, verl = GrpoConfig(), seen.config["actor_rollout_ref"]
    actor, rollout, model = verl["actor"], verl["rollout"], verl["model"]
    assert seen.config["algorithm"]["adv_estimator"] == "grpo"
    assert seen.config["algorithm"]["norm_adv_by_std_in_grpo"] is True
    assert (rollout["n"], rollout["temperature"]) == (ours.group_size, ours.temperature)
    assert (rollout["top_p"], rollout["top_k"]) == (1, -1)
    assert seen.config["data"]["max_response_length"] == ours.max_tokens
    assert model["path"] == str(SEED_DIR)
    assert (model["lora_rank"], model["lora_alpha"]) == (ours.lora_rank, 2 * ours.lora_rank)
    assert model["target_modules"] == "all-linear"
    assert actor["loss_agg_mode"] == "token-mean"
    assert (actor["clip_ratio_low"], actor["clip_ratio_high"]) == (ours.lower_clip, ours.upper_clip)
    assert (actor["use_kl_loss"], actor["kl_loss_type"]) == (True, "low_var_kl")
    assert (actor["kl_loss_coef"], actor["entropy_coeff"]) == (ours.beta, 0)
    assert (actor["ppo_epochs"], actor["grad_clip"]) == (ours.updates_per_batch, ours.max_grad_norm)
    assert actor["optim"]["weight_decay"] == ours.weight_decay
