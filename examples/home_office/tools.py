"""The tools of the home office. They keep their state in memory and run for real.

The house has conventions that nothing below describes to the model: days are written 31.01.2025,
times 16:30, reference numbers carry a hash sign, switches are "yes" or "no".
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


def read_time(text: str) -> dt.time:
    """Read a time as the house writes it; raises `ToolRetry` for anything else."""
    try:
        return dt.datetime.strptime(text, "%H:%M").time()
    except ValueError as error:
        raise ToolRetry(f"cannot read the time {text!r}") from error


@tool
def hail_courier(addressee: str, courier_city: str, fetch_day: str) -> str:
    """Hail a courier.

    Args:
        addressee: Name of the addressee
        courier_city: Name of the city
        fetch_day: Day of the pickup
    """
    return OFFICE.note(
        f"Courier to {courier_city} on {read_day(fetch_day):%d.%m.%Y} for {addressee}."
    )


@tool
def book_callback(caller: str, dial_day: str, talk_time: str) -> str:
    """Book a callback.

    Args:
        caller: Name of the caller
        dial_day: Day of the callback
        talk_time: At what time
    """
    day, time = read_day(dial_day), read_time(talk_time)
    return OFFICE.note(f"Callback to {caller} on {day:%d.%m.%Y} at {time:%H:%M}.")


@tool
def restock_stationery(supply: str, packs: int, rush: str = "no") -> str:
    """Restock stationery.

    Args:
        supply: Name of the supply
        packs: How many packs
        rush: Whether it is a rush
    """
    if rush not in ("yes", "no"):
        raise ToolRetry(f"rush cannot be {rush!r}")
    return OFFICE.note(f"{packs} packs of {supply} are on the way.")


@tool
def jot_mileage(kilometers: float, driven_city: str, drive_day: str) -> str:
    """Jot mileage.

    Args:
        kilometers: How many kilometers
        driven_city: Name of the city
        drive_day: Day of the drive
    """
    day = read_day(drive_day)
    OFFICE.kilometers += kilometers
    return OFFICE.note(f"{kilometers:g} km to {driven_city} on {day:%d.%m.%Y}.")


@tool
def dim_lights(corner: Literal["study", "hallway", "attic"], percent: int) -> str:
    """Dim the lights.

    Args:
        corner: Which corner
        percent: How many percent
    """
    OFFICE.lights[corner] = max(0, min(100, percent))
    return OFFICE.note(f"The {corner} is at {OFFICE.lights[corner]} percent.")


@tool
def chase_debtor(debtor: str, debt_no: str, wording: str = "") -> str:
    """Chase a debtor.

    Args:
        debtor: Name of the debtor
        debt_no: Number of the debt
        wording: What to write
    """
    if not debt_no.startswith("#"):
        raise ToolRetry(f"there is no debt {debt_no!r}")
    return OFFICE.note(f"Wrote to {debtor} about {debt_no}.")


TOOLS = (
    hail_courier, book_callback, restock_stationery, jot_mileage, dim_lights, chase_debtor,
)  # fmt: skip
"""All tools of the office."""
