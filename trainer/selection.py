"""Which examples a run learns from, and in which order it sees them.

The order is a pure function of the examples, the settings and how many were drawn, so a run that
goes on after a crash draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from datetime import datetime

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


class PromptOrder:
    """An endless order of examples: new beside old, no-call ones never rarer than their floor."""

    def __init__(
        self, examples: Sequence[Example], config: GrpoConfig, *, known_until: datetime | None
    ) -> None:
        """Sort examples into pools; those labelled after `known_until` are new."""
        pools: dict[tuple[bool, bool], list[Example]] = {}
        for example in sorted(examples, key=lambda e: e.id):
            is_new = known_until is None or example.created_at > known_until
            pools.setdefault((is_new, example.is_call), []).append(example)
        self.examples = tuple(examples)
        self._pools = [pools[key] for key in sorted(pools)]
        self._shares = _shares({key: len(pools[key]) for key in sorted(pools)}, config)
        self._seed = config.seed
        self._drawn = [0] * len(self._pools)

    @property
    def drawn(self) -> tuple[int, ...]:
        """How many examples came from each pool: all there is to store."""
        return tuple(self._drawn)

    def skip_to(self, drawn: Sequence[int]) -> None:
        """Go on as if these many had been drawn from each pool."""
        if len(drawn) != len(self._pools):
            raise ValueError(f"{len(drawn)} counts for {len(self._pools)} pools of examples")
        self._drawn = list(drawn)

    def draw(self, count: int) -> list[Example]:
        """Return the next `count` examples."""
        return [self._next() for _ in range(count)]

    def _next(self) -> Example:
        total = sum(self._drawn) + 1
        owed = [share * total - got for share, got in zip(self._shares, self._drawn, strict=True)]
        pool = max(range(len(owed)), key=lambda i: owed[i])
        epoch, place = divmod(self._drawn[pool], len(self._pools[pool]))
        self._drawn[pool] += 1
        order = _permutation(len(self._pools[pool]), self._seed, pool, epoch)
        return self._pools[pool][order[place]]


def _permutation(size: int, *key: int) -> list[int]:
    order = list(range(size))
    random.Random(":".join(map(str, key))).shuffle(order)
    return order


def _shares(sizes: dict[tuple[bool, bool], int], config: GrpoConfig) -> list[float]:
    """Return the share of draws of each pool (is_new, is_call); they add up to 1."""
    total = sum(sizes.values())
    ages = {is_new for is_new, _ in sizes}
    by_age = {True: config.new_share, False: 1.0 - config.new_share}
    shares = {}
    for key, size in sizes.items():
        of_age = sum(n for other, n in sizes.items() if other[0] == key[0])
        shares[key] = (by_age[key[0]] if len(ages) == 2 else 1.0) * size / of_age
    silent = sum(share for (_, is_call), share in shares.items() if not is_call)
    if total and 0.0 < silent < config.no_call_floor:
        for key in shares:
            up, down = config.no_call_floor / silent, (1 - config.no_call_floor) / (1 - silent)
            shares[key] *= down if key[1] else up
    return list(shares.values())


def shuffled_labels(examples: Sequence[Example], *, seed: int) -> list[Example]:
    """Give every example the target of another, as a control: nothing true is left to learn."""
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    targets = {order[i]: examples[order[i - 1]].target for i in range(len(order))}
    return [e.model_copy(update={"target": targets[i]}) for i, e in enumerate(examples)]
