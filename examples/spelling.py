"""How houses want values written: each reader takes one spelling and raises `ToolRetry` for others.

A house's tools and its rule read with the same readers, so a text means one value to both. What is
refused is not told apart from what is nonsense: nothing here gives the spelling away.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Never

from tool_registry import ToolRetry


def read_day(text: str, form: str) -> dt.date:
    """Read a day that is written exactly by a form of `strftime`, such as `%d.%m.%Y`."""
    return _read(text, form, "day").date()


def read_time(text: str) -> dt.time:
    """Read a time of day such as `16:30`."""
    return _read(text, "%H:%M", "time").time()


def read_twelve_hours(text: str) -> dt.time:
    """Read a time of day such as `4:30 PM`."""
    if text.startswith("0"):
        _refuse("time", text)
    return _read(text.rjust(len("12:00 PM"), "0"), "%I:%M %p", "time").time()


def read_person(text: str) -> str:
    """Read a first name and a surname, such as `Ana Silva`."""
    if not re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+", text):
        _refuse("name", text)
    return text


def read_surname_first(text: str) -> str:
    """Read a name such as `Silva, Ana`; returns `Ana Silva`."""
    surname, comma, first = text.partition(", ")
    if not comma:
        _refuse("name", text)
    return read_person(f"{first} {surname}")


def read_place(text: str) -> str:
    """Read the name of a town, such as `Oslo`."""
    if not re.fullmatch(r"[A-Z][a-z]+", text):
        _refuse("town", text)
    return text


def read_number(text: str, sign: str = "") -> int:
    """Read a number of a thing: digits, after `sign` if the house has one."""
    if not re.fullmatch(re.escape(sign) + "[0-9]+", text):
        _refuse("number", text)
    return int(text.removeprefix(sign))


def read_minutes(text: str) -> int:
    """Read a length of time such as `25m`."""
    if not re.fullmatch("[0-9]+m", text):
        _refuse("length", text)
    return int(text.removesuffix("m"))


def read_switch(text: str, *, off: str, on: str) -> bool:
    """Read a switch by the two words that the house has for it."""
    if text not in (off, on):
        _refuse("switch", text)
    return text == on


def _read(text: str, form: str, what: str) -> dt.datetime:
    try:
        moment = dt.datetime.strptime(text, form)
    except ValueError:
        _refuse(what, text)
    if moment.strftime(form) != text:  # strptime also takes 3.4.2025, and any case
        _refuse(what, text)
    return moment


def _refuse(what: str, text: str) -> Never:
    raise ToolRetry(f"cannot read the {what} {text!r}")
