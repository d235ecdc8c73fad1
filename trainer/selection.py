"""Which examples a run learns from, and in which order it sees them.

The order is a pure function of the examples, the settings and its state, so a run that goes on
after a crash draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from tooln1_agent.examples import Example, opening_of
from trainer.config import GrpoConfig

_FEWEST, _MOST = 5, 64
"""Of validation: fewer examples would say nothing, more would say little more."""


def kept_back(examples: Sequence[Example], *, share: float) -> list[Example]:
    """Return the examples to validate on: about this share, none where they would be too few.

    A conversation falls on one side as a whole, and does not change sides when others join.
    """
    share = min(share, _MOST / max(1, len(examples)))
    kept = [example for example in examples if _place(example) < share]
    return kept if _FEWEST <= len(kept) < len(examples) else []


def _place(example: Example) -> float:
    """Return a number from 0 to 1 that a conversation's first text decides."""
    text = f"validation {opening_of(example.messages)}"
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class _Pool(NamedTuple):
    """What the examples of a pool have in common."""

    imported: bool
    is_new: bool
    is_call: bool


class OrderState(BaseModel):
    """Where an order stands: all there is to store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drawn: tuple[int, ...] = ()
    """How many examples came from each pool in turn."""
    again: tuple[int, ...] = ()
    """How many came from each pool out of turn, as unsure ones."""
    unsure: tuple[tuple[str, int], ...] = ()
    """Id and step of each example whose last group had spread; the latest comes last."""


class PromptOrder:
    """An endless order of examples: served beside imported, new beside old, by the set shares.

    No-call ones are never rarer than their floor. In its turn every example of a pool comes as
    often as any other; `draw_again` takes out of turn those that showed spread when last sampled,
    and likely will again.
    """

    REST = 2
    """An example that was sampled in a step is not drawn again before so many steps later."""

    def __init__(
        self, examples: Sequence[Example], config: GrpoConfig, *, known_until: datetime | None
    ) -> None:
        """Sort examples into pools; those labelled after `known_until` are new."""
        pools: dict[_Pool, list[Example]] = {}
        for example in sorted(examples, key=lambda e: e.id):
            is_new = known_until is None or example.created_at > known_until
            pool = _Pool(example.imported, is_new, example.is_call)
            pools.setdefault(pool, []).append(example)
        self.examples = tuple(examples)
        self._pools = [pools[key] for key in sorted(pools)]
        self._shares = _shares({key: len(pools[key]) for key in sorted(pools)}, config)
        self._seed = config.seed
        self._drawn = [0] * len(self._pools)
        self._again = [0] * len(self._pools)
        self._unsure: dict[str, int] = {}

    @property
    def state(self) -> OrderState:
        """Return where the order stands."""
        return OrderState(
            drawn=tuple(self._drawn), again=tuple(self._again), unsure=tuple(self._unsure.items())
        )

    def restore(self, state: OrderState) -> None:
        """Go on from a state.

        Raises ValueError where it is of other pools.
        """
        for counts in (state.drawn, state.again):
            if len(counts) != len(self._pools):
                raise ValueError(f"{len(counts)} counts for {len(self._pools)} pools of examples")
        self._drawn, self._again = list(state.drawn), list(state.again)
        self._unsure = dict(state.unsure)

    def draw(self, count: int) -> list[Example]:
        """Return the next `count` examples."""
        return [self._in_turn(self._owed()) for _ in range(count)]

    def draw_again(self, count: int, *, step: int, besides: Container[str]) -> list[Example]:
        """Return `count` examples by the same shares: unsure ones first, then the next in turn.

        Args:
            step: the present one.
            besides: ids that are not wanted out of turn.
        """
        waiting = [self._waiting(pool, step, besides) for pool in self._pools]
        drawn: list[Example] = []
        for _ in range(count):
            pool = self._owed()
            if waiting[pool]:
                self._again[pool] += 1
                drawn.append(waiting[pool].pop(0))
            else:
                drawn.append(self._in_turn(pool))
        return drawn

    def note(self, had_spread: Mapping[str, bool], *, step: int) -> None:
        """Note of each example that was sampled in a step whether its group had spread."""
        for example, spread in had_spread.items():
            self._unsure.pop(example, None)
            if spread:
                self._unsure[example] = step

    def _waiting(
        self, pool: Sequence[Example], step: int, besides: Container[str]
    ) -> list[Example]:
        """Return the unsure examples of a pool, those first that were sampled longest ago."""
        known = {example.id: example for example in pool}
        return [
            known[example]
            for example, seen in self._unsure.items()
            if example in known and example not in besides and seen + self.REST <= step
        ]

    def _owed(self) -> int:
        """Return the pool that is furthest behind its share."""
        got = [drawn + again for drawn, again in zip(self._drawn, self._again, strict=True)]
        total = sum(got) + 1
        owed = [share * total - n for share, n in zip(self._shares, got, strict=True)]
        return max(range(len(owed)), key=lambda i: owed[i])

    def _in_turn(self, pool: int) -> Example:
        epoch, place = divmod(self._drawn[pool], len(self._pools[pool]))
        self._drawn[pool] += 1
        order = _permutation(len(self._pools[pool]), self._seed, pool, epoch)
        return self._pools[pool][order[place]]


def _permutation(size: int, *key: int) -> list[int]:
    order = list(range(size))
    random.Random(":".join(map(str, key))).shuffle(order)
    return order


def _shares(sizes: dict[_Pool, int], config: GrpoConfig) -> list[float]:
    """Return the share of draws of each pool; they add up to 1."""
    total = sum(sizes.values())
    shares = {}
    for pool, size in sizes.items():
        origin = sum(n for other, n in sizes.items() if other.imported == pool.imported)
        age = sum(n for other, n in sizes.items() if other[:2] == pool[:2])
        of_origin = _part(origin, total, config.imported_share, is_it=pool.imported)
        of_age = _part(age, origin, config.new_share, is_it=pool.is_new)
        shares[pool] = of_origin * of_age * size / age
    silent = sum(share for pool, share in shares.items() if not pool.is_call)
    if total and 0.0 < silent < config.no_call_floor:
        for pool in shares:
            up, down = config.no_call_floor / silent, (1 - config.no_call_floor) / (1 - silent)
            shares[pool] *= down if pool.is_call else up
    return list(shares.values())


def _part(size: int, whole: int, share: float | None, *, is_it: bool) -> float:
    """Return a part's share of a whole: as set, or by size where nothing is, or nothing else is.

    Args:
        share: of the part that is meant; the other gets the rest.
        is_it: whether this part is the one that is meant.
    """
    if share is None or size == whole:
        return size / whole
    return share if is_it else 1.0 - share


def shuffled_labels(examples: Sequence[Example], *, seed: int) -> list[Example]:
    """Give every example the target of another, as a control: nothing true is left to learn."""
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    targets = {order[i]: examples[order[i - 1]].target for i in range(len(order))}
    return [e.model_copy(update={"target": targets[i]}) for i, e in enumerate(examples)]
