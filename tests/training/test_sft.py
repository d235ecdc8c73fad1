"""Gold calls as replies to imitate, and what a model learns from them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tool_registry import ToolCall, ToolSpec
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.codec import Codec
from tooln1_agent.examples import AnyCall, Example, Possible, PossibleCall, Verify
from tooln1_agent.parsing import parse
from tooln1_agent.reward import Reward, score
from trainer.checkpoint import latest_checkpoint
from trainer.config import GrpoConfig
from trainer.demonstration import demonstrations, gold_calls, with_gold, without_calls
from trainer.errors import NothingToTrain
from trainer.grpo import train
from trainer.learner import new_learner
from trainer.metrics import StepMetrics
from trainer.policy import Policy, load_policy
from trainer.prefix import completion_logprobs
from trainer.rollout import Group, Rollout
from trainer.sft import imitate

Make = Callable[..., list[Example]]


@pytest.fixture
def codec(tiny_model_dir: Path) -> Codec:
    return Codec.load(tiny_model_dir)


def test_a_demonstration_is_a_reply_that_earns_the_reward(
    codec: Codec, make_examples: Make
) -> None:
    examples = make_examples(["on", "", "off"])
    made = demonstrations(examples, codec)
    for example, demonstration in zip(examples, made, strict=True):
        text = codec.decode(demonstration.completion_ids)
        assert demonstration.completion_ids[-1] == codec.end_id
        assert score(text, tools=example.tools, target=example.target).value == 1.0
    assert parse(codec.decode(made[0].completion_ids)).think == "I call on."


def test_labels_without_calls_to_write_are_passed_over(codec: Codec, make_examples: Make) -> None:
    known, vague = make_examples(["on", "on"])
    vague = vague.model_copy(update={"target": AnyCall()})
    assert demonstrations([vague, known], codec) == demonstrations([known], codec)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"to": ["Rome", "Roma"], "n": [1, 2]}, {"to": "Rome", "n": 1}),
        ({"to": ["", "Rome"], "n": [""]}, {"to": "Rome"}),  # "" is no value: it may be left out
        ({"at": [{"x": [1, 2], "y": ["", 3], "z": [""]}]}, {"at": {"x": 1, "y": 3}}),
        ({"all": [[{"x": [1]}, {"x": [5]}], []]}, {"all": [{"x": 1}, {"x": 5}]}),
    ],
)
def test_of_acceptable_values_the_first_is_imitated(
    make_examples: Make, options: dict[str, list[Any]], expected: dict[str, Any]
) -> None:
    kinds = {"to": "string", "n": "integer", "at": "object"}
    properties = {name: {"type": kinds.get(name, "array")} for name in options}
    properties.setdefault("all", {"type": "array"})["items"] = {"type": "object"}
    tool = ToolSpec(name="go", parameters={"type": "object", "properties": properties})
    target = Possible(calls=(PossibleCall(name="go", arguments=options),))
    example = make_examples(["on"])[0].model_copy(update={"target": target, "tools": (tool,)})
    assert gold_calls(example) == (ToolCall(name="go", arguments=expected),)


def test_labels_that_cannot_be_imitated_are_counted_by_kind(make_examples: Make) -> None:
    known, *vague = make_examples(["on"] * 5)
    unmeetable = Possible(calls=(PossibleCall(name="on", arguments={"level": [1]}),))  # takes none
    targets = (AnyCall(), AnyCall(), Verify(rule="lamp_is_on"), unmeetable)
    made = [e.model_copy(update={"target": t}) for e, t in zip(vague, targets, strict=True)]
    assert without_calls([known, *made]) == {"any_call": 2, "verify": 1, "possible": 1}


def test_a_thought_of_its_own_is_that_of_a_right_rollout(codec: Codec, make_examples: Make) -> None:
    example = make_examples(["on"])[0]
    call = '<tool_call>[{"name": "on", "arguments": {}}]</tool_call>'
    texts = [("<think>wrong</think>", 0.0), (f"<think>turn it on</think>{call}", 1.0), ("", 0.0)]
    rollouts = tuple(Rollout((1,), (0.0,), text, Reward(value, ""), False) for text, value in texts)
    made = demonstrations([example], codec, groups=[Group(example, (1,), rollouts)])
    assert parse(codec.decode(made[0].completion_ids)).think == "turn it on"
    silent = [Group(example, (1,), rollouts[2:])]
    made = demonstrations([example], codec, groups=silent)
    assert parse(codec.decode(made[0].completion_ids)).think == "I call on."


WRONG = Rollout((5,), (-1.0,), "<think>Hm.</think>", Reward(0.0, "missing_tool_call"), False)


def test_a_group_that_is_all_wrong_is_shown_what_its_label_asks_for(
    codec: Codec, make_examples: Make
) -> None:
    vague, known = make_examples(["on", "on"])
    vague = vague.model_copy(update={"target": AnyCall()})
    right = replace(WRONG, reward=Reward(1.0, ""))
    groups = [
        Group(known, (1, 2), (WRONG, WRONG)),
        Group(known, (1, 2), (WRONG, right)),
        Group(known, (1, 2), (WRONG, WRONG), logged=right),
        Group(vague, (1, 2), (WRONG, WRONG)),
    ]
    found = with_gold(groups, codec, score=score, max_tokens=64)
    assert [group.shown is not None for group in found] == [True, False, False, False]
    shown = found[0].shown
    assert shown is not None
    assert parse(shown.text).think == "Hm."
    assert score(shown.text, tools=known.tools, target=known.target).value == 1.0
    assert found[0].members == (WRONG, WRONG, shown)
    assert found[0].has_spread
    assert not found[0].is_right  # what the policy does now is all wrong
    assert found[1:] == groups[1:]
    length = len(shown.completion_ids)
    assert with_gold(groups[:1], codec, score=score, max_tokens=length)[0].shown
    assert with_gold(groups[:1], codec, score=score, max_tokens=length - 1) == groups[:1]


@pytest.mark.parametrize("show_gold", [False, True])
def test_only_what_is_shown_teaches_a_policy_that_is_always_wrong(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path, show_gold: bool
) -> None:
    examples = make_examples(["on", "off"])
    config = GrpoConfig(
        show_gold=show_gold, steps=6, prompts_per_step=2, group_size=2, max_tokens=64,
        learning_rate=1e-2, lora_rank=8, refill=0.0,
    )  # fmt: skip
    learner = new_learner(load_policy(tiny_model_dir, config), examples, config)
    before = mean_loss(learner.policy, examples)
    steps: list[StepMetrics] = []
    reason = train(learner, config, checkpoints=tmp_path, tell=steps.append)
    assert [step.reward for step in steps] == [0.0] * len(steps)  # it is random
    if not show_gold:
        assert reason == "no group had spread in 3 steps in a row"
        assert mean_loss(learner.policy, examples) == before
    else:
        assert reason == "all 6 steps are done"
        assert [(step.shown, step.trained) for step in steps] == [(2, 2)] * 6
        assert mean_loss(learner.policy, examples) < before - 0.2


def mean_loss(policy: Policy, examples: list[Example]) -> float:
    """The plain mean of minus the log-prob over all reply tokens."""
    total, count = 0.0, 0
    for demonstration in demonstrations(examples, policy.codec):
        with torch.no_grad():
            found = completion_logprobs(
                policy.model, [demonstration.prompt_ids], [[demonstration.completion_ids]]
            )
        total -= float(found.values.sum())
        count += len(demonstration.completion_ids)
    return total / count


def test_the_loss_is_the_mean_over_reply_tokens_and_falls(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    config = GrpoConfig(
        method="sft", steps=4, prompts_per_step=3, lora_rank=8, learning_rate=0.01,
        checkpoint_every=2,
    )  # fmt: skip
    examples = make_examples(["on", "", "off"])
    policy = load_policy(tiny_model_dir, config)
    before = mean_loss(policy, examples)
    learner = new_learner(policy, examples, config)
    told: list[StepMetrics] = []
    imitate(learner, config, checkpoints=tmp_path, tell=told.append)
    assert told[0].loss == pytest.approx(before, rel=1e-5)
    assert mean_loss(policy, examples) < before - 0.1
    assert [step.reward for step in told] == [None] * 4
    assert latest_checkpoint(tmp_path).progress.step == 4
    reason = train(learner, config, checkpoints=tmp_path, tell=told.append)
    assert reason == "all 4 steps are done"
    assert len(told) == 4


def test_nothing_to_imitate_is_an_error_that_says_what_learns_instead(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    config = GrpoConfig(method="sft", lora_rank=1)
    vague = [make_examples(["on"])[0].model_copy(update={"target": AnyCall()})]
    learner = new_learner(load_policy(tiny_model_dir, config), vague, config)
    with pytest.raises(NothingToTrain, match="--method grpo"):
        imitate(learner, config, checkpoints=tmp_path, tell=lambda _: None)


def test_no_thought_is_sampled_where_there_is_nothing_to_imitate(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    config = GrpoConfig(
        method="sft", thoughts="own", steps=1, prompts_per_step=2, group_size=2, max_tokens=2,
        lora_rank=1,
    )  # fmt: skip
    known, vague = make_examples(["on", "on"])
    examples = [known, vague.model_copy(update={"target": Verify(rule="lamp_is_on")})]
    learner = new_learner(load_policy(tiny_model_dir, config), examples, config)
    told: list[StepMetrics] = []
    imitate(learner, config, checkpoints=tmp_path, tell=told.append)
    assert [(step.groups, step.trained) for step in told] == [(1, 1)]


@pytest.mark.slow
def test_own_thoughts_are_sampled_and_grpo_goes_on_where_imitation_ends(
    tiny_agent_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    config = GrpoConfig(
        method="sft+grpo", sft_steps=2, steps=4, prompts_per_step=4, max_tokens=16,
        thoughts="own", learning_rate=3e-3, lora_rank=8,
    )  # fmt: skip
    examples = make_examples(["on"] * 8)
    learner = new_learner(load_policy(tiny_agent_dir, config), examples, config)
    told: list[StepMetrics] = []
    imitate(learner, config, checkpoints=tmp_path, tell=told.append)
    train(learner, config, checkpoints=tmp_path, tell=told.append)
    assert [step.step for step in told] == [1, 2, 3, 4]
    assert all(step.reward is not None for step in told)  # both sample
    assert told[1].loss < told[0].loss
    assert (told[1].flat_share, told[1].trained) == (0.0, 4)


@pytest.mark.slow
def test_the_command_trains_an_adapter_and_asks_the_gate(
    make_store: Callable[..., Path], tiny_agent_dir: Path, tmp_path: Path
) -> None:
    program = "import typer; from trainer.cli import sft; typer.run(sft)"
    flags = ("--prompts-per-step", "8", "--steps", "4")
    paths = ("--store", make_store(["on"] * 40), "--model", tiny_agent_dir, "--out", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, paths), *flags],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "all 4 steps are done" in done.stdout
    assert "mean reward" not in done.stdout  # nothing was sampled
    adapters = AdapterStore(tmp_path)
    assert [adapter.trained_on["steps"] for adapter in adapters.list()] == [4]
    assert f"gate: {adapters.list()[0].version} against" in done.stdout
