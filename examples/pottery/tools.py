"""The tools of the pottery studio. They keep their state in memory and run for real.

The house has conventions that nothing below describes to the model: days are written 31.01.2025,
times 4:30 PM, numbers of things carry a hash sign, switches that are texts are "yes" or "no".
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from examples import spelling
from examples.house import Diary
from tool_registry import RunContext, tool

read_day = partial(spelling.read_day, form="%d.%m.%Y")
read_hour = spelling.read_twelve_hours
read_number = partial(spelling.read_number, sign="#")
read_switch = partial(spelling.read_switch, off="no", on="yes")

DIARY = Diary()
"""The diary of the one studio of this process."""


@tool(replay_safe=True)
def fire_kiln(
    context: RunContext[Diary | None],
    kiln: int,
    firing_day: str,
    ignition_hour: str,
    overnight: bool = False,
) -> str:
    """Fire a kiln.

    Args:
        kiln: Which kiln
        firing_day: Day of the firing
        ignition_hour: When it is lit
        overnight: Whether it stays on
    """
    day, hour = read_day(firing_day), read_hour(ignition_hour)
    length = " and stays on overnight" if overnight else ""
    return DIARY.note(context, f"Kiln {kiln} is lit on {day:%d.%m.%Y} at {hour:%I:%M %p}{length}.")


@tool(replay_safe=True)
def mix_glaze(context: RunContext[Diary | None], potter: str, grams: int, shade: str) -> str:
    """Mix a glaze for a potter.

    Args:
        potter: Who needs it
        grams: How many grams
        shade: Name of the shade
    """
    name = spelling.read_person(potter)
    return DIARY.note(context, f"{grams} grams of {shade} glaze for {name}.")


@tool(replay_safe=True)
def reserve_wheel(
    context: RunContext[Diary | None], potter: str, wheel_day: str, wheel_hour: str
) -> str:
    """Reserve a potter's wheel.

    Args:
        potter: Who will use it
        wheel_day: Which day
        wheel_hour: From which hour
    """
    name, day, hour = spelling.read_person(potter), read_day(wheel_day), read_hour(wheel_hour)
    return DIARY.note(context, f"A wheel for {name} on {day:%d.%m.%Y} from {hour:%I:%M %p}.")


@tool(replay_safe=True)
def knead_clay(
    context: RunContext[Diary | None],
    kilos: float,
    clay_sort: Literal["stoneware", "porcelain", "earthenware"],
) -> str:
    """Knead clay.

    Args:
        clay_sort: Sort
    """
    return DIARY.note(context, f"{kilos:g} kilos of {clay_sort} are kneaded.")


@tool(replay_safe=True)
def host_workshop(
    context: RunContext[Diary | None], tutor: str, held_in: str, workshop_day: str, heads: int
) -> str:
    """Host a workshop.

    Args:
        tutor: Who leads it
        held_in: Town
        workshop_day: Day of the workshop
        heads: How many people
    """
    name, town = spelling.read_person(tutor), spelling.read_place(held_in)
    day = read_day(workshop_day)
    return DIARY.note(context, f"{name} teaches {heads} people in {town} on {day:%d.%m.%Y}.")


@tool(replay_safe=True)
def wrap_mug(
    context: RunContext[Diary | None], mug_no: str, wrapped_for: str, ribbon: str = "no"
) -> str:
    """Wrap a mug as a present.

    Args:
        mug_no: Number of the mug
        wrapped_for: Who gets it
        ribbon: Ribbon or not
    """
    number, name = read_number(mug_no), spelling.read_person(wrapped_for)
    finish = " with a ribbon" if read_switch(ribbon) else ""
    return DIARY.note(context, f"Mug {number} is wrapped for {name}{finish}.")


@tool(replay_safe=True)
def lend_mold(context: RunContext[Diary | None], mold_no: str, borrower: str, back_day: str) -> str:
    """Lend a mold.

    Args:
        mold_no: Number of the mold
        borrower: Who borrows it
        back_day: Day it comes back
    """
    number, name = read_number(mold_no), spelling.read_person(borrower)
    return DIARY.note(context, f"Mold {number} is with {name} until {read_day(back_day):%d.%m.%Y}.")


@tool(replay_safe=True)
def ring_potter(context: RunContext[Diary | None], potter: str, to_say: str) -> str:
    """Ring a potter.

    Args:
        potter: Whom
        to_say: What to say
    """
    return DIARY.note(context, f"Told {spelling.read_person(potter)} by phone: {to_say}")


TOOLS = (
    fire_kiln, mix_glaze, reserve_wheel, knead_clay, host_workshop, wrap_mug, lend_mold,
    ring_potter,
)  # fmt: skip
"""All tools of the studio."""
