"""Which rollouts go through the model together: groups packed up to a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from trainer.advantage import group_advantages
from trainer.config import GrpoConfig
from trainer.rollout import Group, Rollout
from trainer.tree_attention import shared_beginning
from trainer.variants import VARIANTS, PrefixForm


@dataclass(slots=True)
class Budget:
    """How many padded tokens go through one pass, for as long as memory suffices."""

    tokens: int

    def halve(self) -> bool:
        """Allow half as many; say whether that can help."""
        self.tokens //= 2
        return self.tokens > 0


@dataclass(frozen=True, slots=True)
class Share:
    """Rollouts of one group that go through one pass, and their advantages."""

    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    advantages: tuple[float, ...]
    beta: float = 0.0
    """Weight of their divergence from the base model, estimated by k3."""
    hold: float = 0.0
    """Weight of the same, estimated by k2."""

    @property
    def pays(self) -> bool:
        """Whether its divergence costs anything, so that the base model is asked as well."""
        return bool(self.beta or self.hold)


def group_shares(groups: Sequence[Group], config: GrpoConfig) -> list[Share]:
    """Return what is to be computed of the groups: those that neither have spread nor pay for
    their divergence are left out."""
    return [
        _share(group, config)
        for group in groups
        if group.has_spread or config.kl_on_flat == "keep" or is_held(group, config)
    ]


def _share(group: Group, config: GrpoConfig) -> Share:
    advantages = _advantages(group, scale=VARIANTS[config.loss].scale_advantages)
    share = Share(group.prompt_ids, group.members, advantages)
    if is_held(group, config):
        return replace(share, hold=config.imported_beta or 0.0)
    return replace(share, beta=config.beta)


def is_held(group: Group, config: GrpoConfig) -> bool:
    """Whether a group, with spread or without, is held to the base model (`imported_beta`)."""
    return config.imported_beta is not None and group.example.imported


def _advantages(group: Group, *, scale: bool) -> tuple[float, ...]:
    rewards = torch.tensor([group.rewards])  # (1, G), or G + 1 with a logged reply
    return tuple(group_advantages(rewards, scale=scale)[0].tolist())


def passes(
    shares: Sequence[Share], *, tokens_per_pass: int, form: PrefixForm
) -> Iterator[list[Share]]:
    """Pack shares into passes of at most so many padded tokens; a share too large is split.

    At least one completion goes into a pass, however long it is. Equal prompts go together, as
    they are computed once: in a tree next to those with the same beginning, else next to those of
    like length, as less is padded then.
    """
    packed: list[Share] = []
    length = 0 if form == "tree" else 1
    for share in sorted(shares, key=lambda s: (length * len(s.prompt_ids), s.prompt_ids)):
        for piece in _pieces(share, tokens_per_pass):
            if packed and _padded_tokens([*packed, piece], form) > tokens_per_pass:
                yield packed
                packed = []
            packed.append(piece)
    if packed:
        yield packed


def _pieces(share: Share, limit: int) -> Iterator[Share]:
    width = max(len(rollout.completion_ids) for rollout in share.rollouts)
    rows = max(1, (limit - len(share.prompt_ids)) // width)
    for start in range(0, len(share.rollouts), rows):
        part = slice(start, start + rows)
        yield replace(share, rollouts=share.rollouts[part], advantages=share.advantages[part])


def _padded_tokens(shares: Sequence[Share], form: PrefixForm) -> int:
    """Count the places, padding among them, that a form computes for these shares."""
    sampled: dict[tuple[int, ...], list[int]] = {}
    for share in shares:
        lengths = [len(rollout.completion_ids) for rollout in share.rollouts]
        sampled.setdefault(share.prompt_ids, []).extend(lengths)
    if form == "tree":
        shared = shared_beginning(list(sampled))
        behind = max(map(len, sampled.values())) * max(map(max, sampled.values()))
        return shared + len(sampled) * (max(map(len, sampled)) - shared + behind)
    if form != "cached":
        return len(sampled) * max(len(prompt) + sum(of) for prompt, of in sampled.items())
    rows = [length for of in sampled.values() for length in of]
    return len(sampled) * max(map(len, sampled)) + len(rows) * max(rows)
