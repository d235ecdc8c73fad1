"""The tools of the marina. They keep their state in memory and run for real.

The house has conventions that nothing below describes to the model: days are written 01/31/2025
with the month first, times 16:30, people surname first, lengths of time 25m; switches are "on" or
"off", and numbers of things are bare digits.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from examples import spelling
from examples.house import Diary
from tool_registry import RunContext, tool

read_day = partial(spelling.read_day, form="%m/%d/%Y")
read_person = spelling.read_surname_first
read_switch = partial(spelling.read_switch, off="off", on="on")

DIARY = Diary()
"""The diary of the one marina of this process."""


@tool(replay_safe=True)
def dock_boat(
    context: RunContext[Diary | None], boat_name: str, boat_feet: int, dock_day: str
) -> str:
    """Dock a boat.

    Args:
        boat_name: Name of the boat
        boat_feet: How many feet
        dock_day: Which day
    """
    day = read_day(dock_day)
    return DIARY.note(context, f"{boat_name} of {boat_feet} feet docks on {day:%m/%d/%Y}.")


@tool(replay_safe=True)
def lift_mast(context: RunContext[Diary | None], mast_no: str, lift_hour: str) -> str:
    """Lift a mast.

    Args:
        mast_no: Number of the mast
        lift_hour: At which hour
    """
    number, hour = spelling.read_number(mast_no), spelling.read_time(lift_hour)
    return DIARY.note(context, f"Mast {number} is lifted at {hour:%H:%M}.")


@tool(replay_safe=True)
def tour_coast(context: RunContext[Diary | None], pilot: str, coast_day: str) -> str:
    """Tour the coast.

    Args:
        pilot: Name of the pilot
        coast_day: On which day
    """
    name, day = read_person(pilot), read_day(coast_day)
    return DIARY.note(context, f"Tour of the coast with {name} on {day:%m/%d/%Y}.")


@tool(replay_safe=True)
def refill_tank(
    context: RunContext[Diary | None],
    tank_sort: Literal["water", "gas", "oil"],
    tank_amount: float,
) -> str:
    """Refill a tank.

    Args:
        tank_sort: Which one
        tank_amount: How much
    """
    return DIARY.note(context, f"{tank_amount:g} liters of {tank_sort} are in the tank.")


@tool(replay_safe=True)
def warm_sauna(context: RunContext[Diary | None], sauna_hour: str, steam_length: str) -> str:
    """Warm the sauna.

    Args:
        sauna_hour: From what time
        steam_length: How long
    """
    hour, minutes = spelling.read_time(sauna_hour), spelling.read_minutes(steam_length)
    return DIARY.note(context, f"The sauna is warm at {hour:%H:%M} for {minutes} minutes.")


@tool(replay_safe=True)
def dry_sail(context: RunContext[Diary | None], sail_owner: str, sail_heat: str = "off") -> str:
    """Dry a sail.

    Args:
        sail_owner: Name of the owner
        sail_heat: Whether with heat
    """
    name, way = read_person(sail_owner), " with heat" if read_switch(sail_heat) else ""
    return DIARY.note(context, f"The sail of {name} dries{way}.")


@tool(replay_safe=True)
def pack_basket(
    context: RunContext[Diary | None], basket_friend: str, basket_food: list[str]
) -> str:
    """Pack a basket.

    Args:
        basket_friend: Who gets it
        basket_food: Which ones
    """
    return DIARY.note(context, f"{', '.join(basket_food)} packed for {read_person(basket_friend)}.")


@tool(replay_safe=True)
def fetch_guest(context: RunContext[Diary | None], guest_city: str, guest_hour: str) -> str:
    """Fetch a guest.

    Args:
        guest_city: Name of the city
        guest_hour: At what time
    """
    city, hour = spelling.read_place(guest_city), spelling.read_time(guest_hour)
    return DIARY.note(context, f"A guest comes from {city} at {hour:%H:%M}.")


TOOLS = (
    dock_boat, lift_mast, tour_coast, refill_tank, warm_sauna, dry_sail, pack_basket, fetch_guest,
)  # fmt: skip
"""All tools of the marina."""
