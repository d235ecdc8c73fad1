"""The tools of the home office. They keep their state in memory and run for real.

The house has conventions that nothing below describes to the model: days are written 31.01.2025,
hours 16:30, surnames come first, reference numbers carry a hash sign, switches are "yes" or "no".
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Literal

from tool_registry import ToolRetry, tool


@dataclass(slots=True)
class Office:
    """What the tools have done so far."""

    diary: list[str] = field(default_factory=list)
    """One line for each thing that was arranged."""
    kilometers: float = 0.0
    lights: dict[str, int] = field(default_factory=dict)
    """Brightness by room, in percent."""

    def note(self, line: str) -> str:
        """Enter a line in the diary and return it."""
        self.diary.append(line)
        return line


OFFICE = Office()
"""The one office of this process."""


def read_day(text: str) -> dt.date:
    """Read a day as the house writes it; raises `ToolRetry` for anything else."""
    try:
        return dt.datetime.strptime(text, "%d.%m.%Y").date()
    except ValueError as error:
        raise ToolRetry(f"cannot read the day {text!r}") from error


def read_hour(text: str) -> dt.time:
    """Read an hour as the house writes it; raises `ToolRetry` for anything else."""
    try:
        return dt.datetime.strptime(text, "%H:%M").time()
    except ValueError as error:
        raise ToolRetry(f"cannot read the hour {text!r}") from error


@tool
def summon_courier(addressee: str, headed_to: str, fetch_day: str) -> str:
    """Summon a courier.

    Args:
        addressee: Who receives it
        headed_to: Which town
        fetch_day: Day of the pickup
    """
    return OFFICE.note(f"Courier to {headed_to} on {read_day(fetch_day):%d.%m.%Y} for {addressee}.")


@tool
def book_callback(caller: str, callback_day: str, callback_hour: str) -> str:
    """Book a callback.

    Args:
        caller: Whom to call back
        callback_day: On which day
        callback_hour: At which hour
    """
    day, hour = read_day(callback_day), read_hour(callback_hour)
    return OFFICE.note(f"Callback to {caller} on {day:%d.%m.%Y} at {hour:%H:%M}.")


@tool
def restock_stationery(supply: str, packs: int, rush: str = "no") -> str:
    """Restock stationery.

    Args:
        supply: What runs out
        packs: How many packs
        rush: Whether there is a rush
    """
    if rush not in ("yes", "no"):
        raise ToolRetry(f"rush cannot be {rush!r}")
    return OFFICE.note(f"{packs} packs of {supply} are on the way.")


@tool
def jot_mileage(kilometers: float, driven_to: str, driven_on: str) -> str:
    """Jot mileage.

    Args:
        kilometers: How far
        driven_to: Which town
        driven_on: Day of the drive
    """
    OFFICE.kilometers += kilometers
    return OFFICE.note(f"{kilometers:g} km to {driven_to} on {read_day(driven_on):%d.%m.%Y}.")


@tool
def dim_lights(corner: Literal["study", "hallway", "attic"], percent: int) -> str:
    """Dim the lights.

    Args:
        corner: Which corner of the house
        percent: How bright
    """
    OFFICE.lights[corner] = max(0, min(100, percent))
    return OFFICE.note(f"The {corner} is at {OFFICE.lights[corner]} percent.")


@tool
def chase_debtor(debtor: str, debt_ref: str, wording: str = "") -> str:
    """Chase a debtor.

    Args:
        debtor: Who owes
        debt_ref: Number of the debt
        wording: What to write
    """
    if not debt_ref.startswith("#"):
        raise ToolRetry(f"there is no debt {debt_ref!r}")
    return OFFICE.note(f"Wrote to {debtor} about {debt_ref}.")


TOOLS = (
    summon_courier, book_callback, restock_stationery, jot_mileage, dim_lights, chase_debtor,
)  # fmt: skip
"""All tools of the office."""
