"""The tools of the home office. They keep their state in memory and run for real.

The house has conventions that nothing below describes to the model: days are written 31.01.2025,
times 16:30, reference numbers carry a hash sign, switches are "yes" or "no".
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from examples import spelling
from examples.house import Diary
from tool_registry import RunContext, tool

read_day = partial(spelling.read_day, form="%d.%m.%Y")
read_number = partial(spelling.read_number, sign="#")
read_switch = partial(spelling.read_switch, off="no", on="yes")

DIARY = Diary()
"""The diary of the one office of this process."""


@tool(replay_safe=True)
def hail_courier(
    context: RunContext[Diary | None], addressee: str, courier_city: str, fetch_day: str
) -> str:
    """Hail a courier.

    Args:
        addressee: Name of the addressee
        courier_city: Name of the city
        fetch_day: Day of the pickup
    """
    name, city = spelling.read_person(addressee), spelling.read_place(courier_city)
    day = read_day(fetch_day)
    return DIARY.note(context, f"Courier to {city} on {day:%d.%m.%Y} for {name}.")


@tool(replay_safe=True)
def book_callback(
    context: RunContext[Diary | None], caller: str, dial_day: str, talk_time: str
) -> str:
    """Book a callback.

    Args:
        caller: Name of the caller
        dial_day: Day of the callback
        talk_time: At what time
    """
    name, day, time = (
        spelling.read_person(caller),
        read_day(dial_day),
        spelling.read_time(talk_time),
    )
    return DIARY.note(context, f"Callback to {name} on {day:%d.%m.%Y} at {time:%H:%M}.")


@tool(replay_safe=True)
def restock_stationery(
    context: RunContext[Diary | None], supply: str, packs: int, rush: str = "no"
) -> str:
    """Restock stationery.

    Args:
        supply: Name of the supply
        packs: How many packs
        rush: Whether it is a rush
    """
    urgency = " in a rush" if read_switch(rush) else ""
    return DIARY.note(context, f"{packs} packs of {supply} are on the way{urgency}.")


@tool(replay_safe=True)
def jot_mileage(
    context: RunContext[Diary | None], kilometers: float, driven_city: str, drive_day: str
) -> str:
    """Jot mileage.

    Args:
        kilometers: How many kilometers
        driven_city: Name of the city
        drive_day: Day of the drive
    """
    city, day = spelling.read_place(driven_city), read_day(drive_day)
    return DIARY.note(context, f"{kilometers:g} km to {city} on {day:%d.%m.%Y}.")


@tool(replay_safe=True)
def dim_lights(
    context: RunContext[Diary | None], corner: Literal["study", "hallway", "attic"], percent: int
) -> str:
    """Dim the lights.

    Args:
        corner: Which corner
        percent: How many percent
    """
    return DIARY.note(context, f"The {corner} is at {percent} percent.")


@tool(replay_safe=True)
def chase_debtor(
    context: RunContext[Diary | None], debtor: str, debt_no: str, wording: str = ""
) -> str:
    """Chase a debtor.

    Args:
        debtor: Name of the debtor
        debt_no: Number of the debt
        wording: What to write
    """
    name, number = spelling.read_person(debtor), read_number(debt_no)
    words = f": {wording}" if wording else ""
    return DIARY.note(context, f"Wrote to {name} about debt {number}{words}.")


TOOLS = (
    hail_courier, book_callback, restock_stationery, jot_mileage, dim_lights, chase_debtor,
)  # fmt: skip
"""All tools of the office."""
