"""How often candidates were judged on a holdout, kept beside the adapters.

Every look at a holdout is a chance to pass by luck, so each is written down before its outcome is
known. A holdout grows with live traffic; an earlier look counts while it shares at least half of
the present examples, or adding one example would wipe the slate clean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.durable import append_line, whole_lines
from tooln1_agent.errors import AdapterError

_SHARED = 0.5


class HoldoutUse(BaseModel):
    """One candidate judged on one set of held-out examples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    holdout: str
    """Hash of the set of example ids: 16 hex digits."""
    candidate: str
    live: str | None
    examples: tuple[str, ...]


def holdout_hash(example_ids: Collection[str]) -> str:
    """Hash a set of example ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(set(example_ids))).encode()).hexdigest()[:16]


def uses(store: AdapterStore) -> tuple[HoldoutUse, ...]:
    """Return every use, oldest first; raises AdapterError where a line is damaged."""
    path = _path(store)
    try:
        return tuple(map(HoldoutUse.model_validate_json, whole_lines(path)))
    except ValidationError as error:
        raise AdapterError(
            f"{str(path)!r} has a damaged line ({error}); mend it: without the earlier uses of a "
            "holdout the gate cannot tell luck from progress"
        ) from error


def record_use(
    store: AdapterStore, example_ids: Collection[str], *, candidate: str, live: str | None
) -> int:
    """Write down a look at a holdout; return how many other looks at it came before.

    Judging the same two versions on the same examples again tells nothing new and counts once.
    """
    wanted = set(example_ids)
    use = HoldoutUse(
        at=datetime.now(UTC),
        holdout=holdout_hash(wanted),
        candidate=candidate,
        live=live,
        examples=tuple(sorted(wanted)),
    )
    with store.locked():
        earlier = {_look(past) for past in uses(store) if _counts(past, wanted)}
        append_line(_path(store), use.model_dump_json())
    return len(earlier - {_look(use)})


def _look(use: HoldoutUse) -> tuple[str, str, str | None]:
    return use.holdout, use.candidate, use.live


def _counts(past: HoldoutUse, wanted: set[str]) -> bool:
    return len(wanted.intersection(past.examples)) >= _SHARED * len(wanted)


def _path(store: AdapterStore) -> Path:
    return store.root / "holdout-uses.jsonl"
