"""Points in time, as records keep them: always in UTC, so that they compare and sort."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator


def in_utc(moment: datetime) -> datetime:
    """Return the same point in time in UTC; a datetime without a zone is taken to be in UTC."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC, fold=0)
    try:
        return moment.astimezone(UTC).replace(fold=0)
    except OverflowError as error:
        raise ValueError(f"{moment!r} lies outside the years 1 to 9999 in UTC") from error


Instant = Annotated[datetime, AfterValidator(in_utc)]
"""A datetime field that is brought to UTC when the record is built."""
