"""Two updates by us and by TRL's GRPOTrainer on the same rollouts: the same loss and weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.peers.trl import EPSILON, LOSSES, make_peer
from tooln1_agent.examples import Example
from trainer import advantage
from trainer.config import GrpoConfig
from trainer.policy import Policy, load_policy
from trainer.prefix import completion_logprobs
from trainer.rollout import Group, Reward, Rollout
from trainer.update import update
from trainer.variants import VARIANTS, LossName

# One of two or three of four: the standard deviation is 0.5 in each group that has spread. The
# constants added to it differ, by a factor that is then the same for all; the last group is flat.
REWARDS = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
FACTOR = (0.5 + advantage.EPSILON) / (0.5 + EPSILON)
PROMPTS = [(5, 6, 7, 8, 9), (10, 11), (12, 13, 14)]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of theirs


def make_groups(policy: Policy, examples: list[Example]) -> list[Group]:
    draws = torch.Generator().manual_seed(1)
    made = []
    for prompt, rewards, example in zip(PROMPTS, REWARDS, examples, strict=True):
        lengths = torch.randint(1, 9, (len(rewards),), generator=draws).tolist()
        ids = [tuple(torch.randint(0, 200, (n,), generator=draws).tolist()) for n in lengths]
        with torch.no_grad():
            found = completion_logprobs(policy.model, [prompt], [ids]).values.tolist()
        rollouts = tuple(
            Rollout(tokens, tuple(row[: len(tokens)]), "", Reward(value, ""), False)
            for tokens, row, value in zip(ids, found, rewards, strict=True)
        )
        made.append(Group(example, prompt, rollouts))
    return made


@pytest.fixture
def policy(tiny_model_dir: Path) -> Policy:
    """LoRA whose second matrices are not zero, as zeros would hide half of the gradient."""
    policy = load_policy(tiny_model_dir, GrpoConfig(lora_rank=8))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        for name, weight in policy.trainable().items():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    return policy


@pytest.mark.parametrize(("loss", "beta"), [*((name, 0.0) for name in LOSSES), ("dr_grpo", 0.05)])
def test_loss_and_weights_are_those_of_trl(
    policy: Policy,
    tiny_model_dir: Path,
    make_examples: Callable[..., list[Example]],
    tmp_path: Path,
    loss: LossName,
    beta: float,
) -> None:
    config = GrpoConfig(
        loss=loss, beta=beta, lora_rank=8, group_size=4, max_tokens=10, learning_rate=2.0,
        max_grad_norm=1e9, updates_per_batch=2, kl_on_flat="keep" if beta else "skip",
    )  # fmt: skip
    groups = make_groups(policy, make_examples(["on"] * 3))
    start = {name: weight.detach().clone() for name, weight in policy.trainable().items()}
    factor = FACTOR if VARIANTS[loss].scale_advantages else 1.0
    # Without a divergence the loss is proportional to the advantages, and so is a step of SGD.
    peer = make_peer(
        tiny_model_dir, groups, config, out=tmp_path,
        optim="sgd", learning_rate=2.0 / factor, max_steps=2,
    )  # fmt: skip
    theirs = {n: w for n, w in peer.model.named_parameters() if w.requires_grad}
    assert theirs.keys() == start.keys()
    with torch.no_grad():
        for name, weight in theirs.items():
            weight.copy_(start[name])
    peer.train()

    optimizer = torch.optim.SGD(list(policy.trainable().values()), lr=2.0)
    once = config.model_copy(update={"updates_per_batch": 1})
    for expected in peer.losses:  # the second step is off policy, so ratios and clips count in it
        stats = update(policy, optimizer, groups=groups, config=once)
        assert stats.loss == pytest.approx(expected / factor, rel=1e-5, abs=1e-7)
    for name, weight in policy.trainable().items():
        ours, change = weight.detach() - start[name], theirs[name].detach() - start[name]
        assert change.norm() > 1e-4
        assert (ours - change).norm() / change.norm() <= 1e-5, name
