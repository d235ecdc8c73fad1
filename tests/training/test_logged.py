"""Logged replies: which may join the groups of their examples, and what they count there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tests.training.conftest import DAY, serve
from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.model import base_name
from tooln1_agent.examples import Example
from tooln1_agent.messages import Sampling
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.reward import Reward
from tooln1_agent.transcript import Interaction
from trainer.config import GrpoConfig
from trainer.job import Job
from trainer.learner import learner_of
from trainer.logged import Logged, LoggedReplies, find_logged
from trainer.metrics import read_metrics
from trainer.policy import Policy, load_policy
from trainer.prefix import completion_logprobs
from trainer.retrain import retrain
from trainer.rollout import Group, Rollout, sample_groups
from trainer.run import Manifest, create_run, known_runs
from trainer.update import UpdateStats, update

Make = Callable[..., list[Example]]


@pytest.fixture(scope="module")
def served(tiny_agent_dir: Path) -> Callable[[Example], Interaction]:
    """Gives an example the interaction in which the model replied to it."""

    def answer(example: Example) -> Interaction:
        asked = Interaction(
            id="int",
            episode="ep",
            messages=example.messages,
            tools=example.tools,
            created_at=example.created_at,
        )
        return serve(asked, tiny_agent_dir)

    return answer


def found(interaction: Interaction, example: Example, model_dir: Path) -> LoggedReplies:
    """What is made of the one interaction of a store."""
    with ReplayStore(":memory:") as store:
        store.begin(interaction)
        example = example.model_copy(update={"interaction": interaction.id})
        codec = Codec.load(model_dir)
        return find_logged(
            store, [example], base_model=base_name(model_dir), codec=codec, max_tokens=16
        )


def with_completion(interaction: Interaction, **changes: Any) -> Interaction:
    turn = interaction.turns[0]
    completion = turn.completion.model_copy(update=changes)
    turns = (turn.model_copy(update={"completion": completion}),)
    return interaction.model_copy(update={"turns": turns})


def test_a_reply_of_this_model_to_this_prompt_is_usable(
    served: Callable[[Example], Interaction], make_examples: Make, tiny_agent_dir: Path
) -> None:
    example = make_examples(["on"])[0]
    interaction = served(example)
    (reply,), unusable = found(interaction, example, tiny_agent_dir)
    completion = interaction.turns[0].completion
    assert reply == Logged(
        example=example.id,
        adapter=None,
        completion_ids=completion.completion_ids or (),
        logprobs=completion.logprobs or (),
    )
    assert unusable == {}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"base_model": "another"}, "other_base"),
        ({"tokenizer_hash": "another"}, "other_tokenizer"),
        ({"prompt_version": "another"}, "other_prompt_version"),
        ({"turns": ()}, "not_served"),
    ],
)
def test_a_reply_of_another_model_or_form_of_prompt_is_left_out(
    served: Callable[[Example], Interaction],
    make_examples: Make,
    tiny_agent_dir: Path,
    fields: dict[str, Any],
    reason: str,
) -> None:
    example = make_examples(["on"])[0]
    interaction = served(example).model_copy(update=fields)
    told = found(interaction, example, tiny_agent_dir)
    assert told == ([], {reason: 1})
    assert told.line() == (
        f"logged replies that join their groups: 0; left out: {reason} 1 (their prompts are "
        "learned from all the same)"
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"completion_ids": None, "logprobs": None}, "no_ids"),
        ({"logprobs": None}, "no_ids"),
        ({"prompt_ids": (1, 2, 3)}, "other_prompt"),
        ({"sampling": Sampling(temperature=0.5)}, "unknown_sampling"),
        ({"sampling": Sampling(temperature=1.0, top_p=0.9)}, "unknown_sampling"),
        ({"sampling": Sampling(temperature=1.0, top_k=9)}, "unknown_sampling"),
        ({"completion_ids": (1,), "logprobs": (-1.0,)}, "not_ended"),
    ],
)
def test_a_completion_whose_probability_is_not_known_is_left_out(
    served: Callable[[Example], Interaction],
    make_examples: Make,
    tiny_agent_dir: Path,
    fields: dict[str, Any],
    reason: str,
) -> None:
    example = make_examples(["on"])[0]
    interaction = with_completion(served(example), **fields)
    assert found(interaction, example, tiny_agent_dir) == ([], {reason: 1})


def test_a_reply_longer_than_a_rollout_may_be_is_left_out(
    served: Callable[[Example], Interaction], make_examples: Make, tiny_agent_dir: Path
) -> None:
    example, codec = make_examples(["on"])[0], Codec.load(tiny_agent_dir)
    ids = (*(1,) * 16, codec.end_id)
    interaction = with_completion(served(example), completion_ids=ids, logprobs=(-1.0,) * 17)
    assert found(interaction, example, tiny_agent_dir) == ([], {"too_long": 1})


def test_a_prompt_that_was_imported_has_no_reply(make_examples: Make, tiny_agent_dir: Path) -> None:
    with ReplayStore(":memory:") as store:
        codec = Codec.load(tiny_agent_dir)
        told = find_logged(
            store, make_examples(["on"] * 3), base_model="any", codec=codec, max_tokens=16
        )
    assert told == ([], {"not_served": 3})


@pytest.mark.parametrize(
    ("sampling", "told", "expected"),
    [
        (Sampling(temperature=0.5), -0.25, -0.25),  # where the engine tells, that is taken
        (Sampling(temperature=0.0), None, 0.0),  # a greedy choice is certain
    ],
)
def test_the_log_probs_are_those_of_what_was_drawn_from(
    served: Callable[[Example], Interaction],
    make_examples: Make,
    tiny_agent_dir: Path,
    sampling: Sampling,
    told: float | None,
    expected: float,
) -> None:
    example = make_examples(["on"])[0]
    interaction = served(example)
    size = len(interaction.turns[0].completion.completion_ids or ())
    known = None if told is None else (told,) * size
    interaction = with_completion(interaction, sampling=sampling, sampling_logprobs=known)
    (reply,), _ = found(interaction, example, tiny_agent_dir)
    assert reply.logprobs == (expected,) * size


PROMPT, SAMPLED, SERVED = (5, 6, 7, 8, 9), [(7,), (8, 9, 10)], (11, 12)
RATIOS = torch.tensor([0.5, 3.0])
"""Of the served reply: probability now over probability when it was drawn."""


@pytest.fixture
def policy(tiny_model_dir: Path) -> Policy:
    return load_policy(tiny_model_dir, GrpoConfig(lora_rank=1))


@pytest.fixture
def group(policy: Policy, make_examples: Make) -> Group:
    """Two rollouts, right and wrong, drawn from the policy, and a right reply that was not."""
    with torch.no_grad():
        values = completion_logprobs(policy.model, [PROMPT], [[*SAMPLED, SERVED]]).values
    rollouts = tuple(
        Rollout(ids, tuple(row[: len(ids)].tolist()), "", Reward(value, ""), False)
        for ids, row, value in zip(SAMPLED, values, (1.0, 0.0), strict=False)
    )
    then = (values[2, : len(SERVED)] - RATIOS.log()).tolist()
    logged = Rollout(SERVED, (), "", Reward(1.0, ""), False, drawn_with=tuple(then))
    return Group(make_examples(["on"])[0], PROMPT, rollouts, logged)


def measured(
    policy: Policy, group: Group, **settings: Any
) -> tuple[UpdateStats, dict[str, torch.Tensor]]:
    """What one update told, and its gradient; nothing moves, as the learning rate is 0."""
    weights = policy.trainable()
    optimizer = torch.optim.AdamW(list(weights.values()), lr=0.0)
    settings = {"lora_rank": 1, "max_grad_norm": 1e9, "beta": 0.0} | settings
    stats = update(policy, optimizer, groups=[group], config=GrpoConfig(**settings))
    return stats, {name: weight.grad.clone() for name, weight in weights.items()}


# Rewards 1, 0 and 1: advantages a, -2a and a with a = (1/3) / 0.57735 = 0.57735 (1/3 if not
# scaled); 1, 3 and 2 tokens; max_tokens = 5.
@pytest.mark.parametrize(
    ("settings", "loss", "weight"),
    [
        ({}, 0.240563, 1.25),  # -(1 - 3 x 2 + (0.5 + 2)) a / 6
        ({"importance_cap": 1.0}, 0.336788, 0.75),  # -(1 - 6 + (0.5 + 1)) a / 6
        ({"importance_of": "completion"}, 0.192450, 1.5),  # -(1 - 6 + 2 x 1.5) a / 6
        ({"loss": "grpo"}, -0.048113, 1.25),  # -(1 - 2 + (0.5 + 2) / 2) a / 3
        ({"loss": "dr_grpo"}, 0.055556, 1.25),  # -(1 - 6 + (0.5 + 2)) (1/3) / (3 x 5)
    ],
)
def test_the_loss_with_a_logged_reply_is_the_number_worked_by_hand(
    policy: Policy, group: Group, settings: dict[str, Any], loss: float, weight: float
) -> None:
    stats, _ = measured(policy, group, max_tokens=5, **settings)
    assert stats.loss == pytest.approx(loss, rel=2e-5)
    assert stats.logged_weight == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize("tokens_per_pass", [1, 8192])
def test_the_gradient_with_a_logged_reply_is_the_weighted_sum_of_scores(
    policy: Policy, group: Group, tokens_per_pass: int
) -> None:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        for name, weight in policy.trainable().items():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    _, gradient = measured(policy, group, tokens_per_pass=tokens_per_pass)
    total = torch.zeros(())
    for ids, advantage in ((SAMPLED[0], 1.0), (SAMPLED[1], -2.0), (SERVED, 1.0)):
        logprobs = completion_logprobs(policy.model, [PROMPT], [[ids]]).values[0]
        counts = torch.ones(len(ids))
        if ids is SERVED:
            assert group.logged is not None
            then = torch.tensor(group.logged.drawn_with)
            counts = (logprobs.detach() - then).exp().clamp(max=2.0)
        # sampled log-probs are of before the LoRA weights were drawn, so their ratio is not 1
        else:
            old = torch.tensor(group.rollouts[SAMPLED.index(ids)].logprobs)
            counts = (logprobs.detach() - old).exp()
            assert ((counts > 0.8) & (counts < 1.2)).all()  # none is clipped
        total = total - advantage * 0.57735 * (counts * logprobs).sum() / 6
    weights = policy.trainable()
    expected = torch.autograd.grad(total, list(weights.values()))
    for name, wanted in zip(weights, expected, strict=True):
        assert wanted.norm() > 0
        assert (gradient[name] - wanted).norm() / wanted.norm() <= 2e-5, name


def test_a_served_reply_joins_the_group_of_its_example_and_no_other(
    served: Callable[[Example], Interaction], make_examples: Make, tiny_agent_dir: Path
) -> None:
    examples = make_examples(["on", "off"])
    (reply,), _ = found(served(examples[0]), examples[0], tiny_agent_dir)
    config = GrpoConfig(group_size=2, max_tokens=16, lora_rank=1)
    policy = load_policy(tiny_agent_dir, config)

    def groups(logged: dict[str, Logged]) -> list[Group]:
        draws = torch.Generator().manual_seed(0)
        return sample_groups(policy, examples, config=config, generator=draws, logged=logged)

    one, other = groups({reply.example: reply})
    assert one.logged is not None
    assert one.logged.drawn_with == reply.logprobs
    assert one.members == (*one.rollouts, one.logged)
    assert other.logged is None
    assert [group.rollouts for group in groups({})] == [one.rollouts, other.rollouts]


def test_a_group_that_is_flat_but_for_its_logged_reply_teaches(group: Group) -> None:
    right = group.rollouts[0]
    assert group.logged is not None
    wrong = replace(group.logged, reward=Reward(0.0, ""))
    assert not replace(group, rollouts=(right, right)).has_spread
    told = replace(group, rollouts=(right, right), logged=wrong)
    assert told.has_spread
    assert told.is_right  # what the policy does now is all right


@pytest.fixture
def job(tiny_agent_dir: Path, tmp_path: Path) -> Job:
    store, out = tmp_path / "replay.db", tmp_path / "out"
    return Job(store, out, Console(quiet=True), model=str(tiny_agent_dir), gate=False)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_run_that_goes_on_uses_them_while_they_are_wanted(
    job: Job, make_examples: Make, wanted: bool
) -> None:
    config = GrpoConfig(logged_replies=True, lora_rank=1)
    examples, codec = make_examples(["on", "off"]), job.codec
    reply = Logged(
        example=examples[0].id, adapter=None, completion_ids=(codec.end_id,), logprobs=(-1.0,)
    )
    manifest = Manifest(
        name="a",
        created_at=DAY,
        store="",
        base_model=job.base_model,
        prompt_version=codec.prompt_version,
        tokenizer_hash=codec.hash,
        parent=None,
        known_until=None,
        seen_until=DAY,
        config=config,
    )
    run = create_run(job.runs, manifest, examples, logged=[reply])
    config = config.model_copy(update={"logged_replies": wanted})
    learner = learner_of(run, load_policy(Path(job.model), config), config, say=job.say)
    assert learner.logged == ({reply.example: reply} if wanted else {})


@pytest.mark.slow
def test_a_run_learns_from_what_its_base_was_logged_to_say(
    job: Job, make_store: Callable[..., Path], tiny_agent_dir: Path
) -> None:
    make_store(["on", "off"] * 8, model_dir=tiny_agent_dir)
    config = GrpoConfig(
        logged_replies=True, steps=3, prompts_per_step=4, max_tokens=16, learning_rate=1e-2,
        solved_steps=99,
    )  # fmt: skip
    retrain(job, config)
    (run,) = known_runs(job.runs)
    first, *later = read_metrics(run.path)
    assert first.logged == first.groups  # all of them were served
    assert first.logged_weight == pytest.approx(1.0, abs=1e-4)  # by what the policy began as
    assert all(abs((step.logged_weight or 1.0) - 1.0) > 1e-4 for step in later)
    report = (run.path / "report.md").read_text()
    assert f"logged replies that join their groups: {len(run.examples())}" in report
