"""Values: what a person says, and how a call must spell it under a set of conventions.

A convention is a house rule that no schema states: how dates are written, whether surnames come
first, whether a switch is "on" or "yes". Every kind of value has one way of being drawn (`draw`)
and one of being spelled in a call (`spell`).
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from trainer.seed.words import CITIES, COMMON_WORDS, FIRST_NAMES, LAST_NAMES, NOUNS

Kind = Literal[
    "person", "place", "date", "time", "count", "amount", "ident", "code", "text", "flag",
    "enum", "duration", "email", "labels",
]  # fmt: skip

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conventions:
    """How one deployment spells its values."""

    date: Literal["iso", "dotted", "slashed"] = "iso"
    """2026-03-04, 04.03.2026 or 03/04/2026 (month first)."""
    time: Literal["24h", "12h"] = "24h"
    """14:30 or 2:30 PM."""
    person: Literal["as_said", "surname_first", "lower"] = "as_said"
    """Ana Silva; Silva, Ana; ana silva."""
    place: Literal["as_said", "lower"] = "as_said"
    ident: Literal["plain", "hash"] = "plain"
    """4821 or #4821, where an identifier is a string."""
    open_number: Literal["number", "text"] = "number"
    """4821 or "4821", where the schema leaves the type open."""
    flag: Literal["on_off", "yes_no", "true_false"] = "on_off"
    """The words of a switch whose type is a string."""
    duration: Literal["min", "m"] = "min"
    """"45 min" or "45m", where a duration is a string."""


def draw_conventions(rng: random.Random) -> Conventions:
    """Draw conventions, evenly: the usual spelling is no safer a guess than another."""
    return Conventions(
        date=rng.choice(("iso", "dotted", "slashed")),
        time=rng.choice(("24h", "12h")),
        person=rng.choice(("as_said", "surname_first", "lower")),
        place=rng.choice(("as_said", "lower")),
        ident=rng.choice(("plain", "hash")),
        open_number=rng.choice(("number", "text")),
        flag=rng.choice(("on_off", "yes_no", "true_false")),
        duration=rng.choice(("min", "m")),
    )


class Value(NamedTuple):
    """One drawn value: the canonical truth and how the person happens to say it."""

    truth: Any
    said: str


def draw(rng: random.Random, kind: Kind, choices: tuple[str, ...] = ()) -> Value:
    """Draw a value of a kind; `choices` are the members of an enum."""
    if kind == "date":
        day = dt.date(2024, 1, 1) + dt.timedelta(days=rng.randrange(5 * 365))
        return Value(day, _say_date(rng, day))
    if kind == "time":
        clock = dt.time(rng.randrange(6, 23), rng.choice((0, 0, 15, 30, 45, rng.randrange(60))))
        return Value(clock, _say_time(rng, clock))
    if kind in ("count", "duration"):
        number = rng.choice((5, 10, 15, 20, 30, 45, 60, 90)) if kind == "duration" else 0
        number = number or rng.choice((rng.randrange(1, 10), rng.randrange(1, 60)))
        return Value(number, f"{number} minutes" if kind == "duration" else str(number))
    if kind == "amount":
        number = rng.randrange(1, 2000)
        cents = rng.choice((0, 0, 0, 0.5, rng.randrange(1, 100) / 100))
        return Value(round(number + cents, 2) if cents else number, _say_number(number, cents))
    if kind == "flag":
        return Value(rng.random() < 0.7, "")
    if kind == "enum":
        choice = rng.choice(choices)
        return Value(choice, choice.replace("_", " "))
    if kind == "labels":
        items = [word(rng) for _ in range(rng.choice((1, 2, 2, 3)))]
        return Value(items, " and ".join(filter(None, (", ".join(items[:-1]), items[-1]))))
    text = _STRINGS[kind](rng)
    return Value(text, text)


def spell(value: Value, kind: Kind, schema: dict[str, Any], conventions: Conventions) -> Any:
    """Return the JSON value that a call must carry for `value` under the conventions."""
    truth, type_ = value.truth, schema.get("type", "open")
    if kind == "date":
        form = {"iso": "%Y-%m-%d", "dotted": "%d.%m.%Y", "slashed": "%m/%d/%Y"}
        return truth.strftime(form[conventions.date])
    if kind == "time":
        return truth.strftime("%H:%M") if conventions.time == "24h" else twelve_hours(truth)
    if kind == "person" and conventions.person == "surname_first":
        first, _, last = truth.partition(" ")
        return f"{last}, {first}" if last else first
    if kind == "person":
        return truth.lower() if conventions.person == "lower" else truth
    if kind == "place":
        return truth.lower() if conventions.place == "lower" else truth
    if kind == "flag" and type_ == "string":
        return _SWITCHES[conventions.flag][truth]
    if kind == "duration" and type_ == "string":
        return f"{truth} min" if conventions.duration == "min" else f"{truth}m"
    if kind == "ident":
        return _spell_ident(truth, type_, conventions)
    if kind == "amount" and type_ == "open" and conventions.open_number == "text":
        return str(truth)
    return truth


def twelve_hours(clock: dt.time) -> str:
    """Write a time as `2:30 PM`."""
    return f"{clock.hour % 12 or 12}:{clock.minute:02d} {'AM' if clock.hour < 12 else 'PM'}"


def word(rng: random.Random) -> str:
    """Draw a lower-case word: mostly common English, at times an invented one."""
    if rng.random() < 0.08:
        return coined(rng)
    return rng.choice(COMMON_WORDS if rng.random() < 0.7 else NOUNS).replace("_", " ")


_PREFIXES = ("re", "un", "over", "out", "pre", "mis", "under", "inter", "sub", "trans", "en")
_SUFFIXES = (
    "er", "ing", "ery", "ment", "ist", "ster", "ly", "ness", "ful", "age", "ion", "ous", "ive",
    "meter", "ship", "able", "ant", "ory", "ure", "ry", "ee", "or", "ic", "al", "en", "ify", "ize",
)  # fmt: skip


def coined(rng: random.Random) -> str:
    """Make up a word that looks like English: affixes, compounds, blends, or mere syllables.

    Most real words are several tokens to so small a tokenizer; names made of these words teach
    that a word goes on after a token that is a word by itself.
    """
    style = rng.randrange(6)
    if style == 0:
        return invented(rng)
    first, second = (rng.choice(COMMON_WORDS) for _ in range(2))
    if style == 1:
        return first + second
    if style == 2:
        return rng.choice(_PREFIXES) + first
    if style == 3:
        return first + rng.choice(_SUFFIXES)
    cut = first[: rng.randrange(2, 5)]
    return cut + (second[-rng.randrange(2, 6) :] if style == 4 else rng.choice(_SUFFIXES))


def invented(rng: random.Random, syllables: int = 0) -> str:
    """Make up a pronounceable word, so that copying cannot rest on a known vocabulary."""
    count = syllables or rng.choice((2, 2, 3))
    return "".join(
        rng.choice(
            ("", *"bcdfghjklmnprstvwz", "br", "ch", "dr", "gr", "kl", "sh", "st", "th", "tr")
        )
        + rng.choice(("a", "e", "i", "o", "u", "ai", "ea", "oo"))
        + rng.choice(("", "", "l", "n", "r", "s", "t", "m", "nd", "ck"))
        for _ in range(count)
    )


def person(rng: random.Random) -> str:
    """Draw a first name and a surname, either of them invented at times."""
    first = invented(rng, 2).title() if rng.random() < 0.05 else rng.choice(FIRST_NAMES)
    last = invented(rng).title() if rng.random() < 0.07 else rng.choice(LAST_NAMES)
    return f"{first} {last}"


def _place(rng: random.Random) -> str:
    return invented(rng).title() if rng.random() < 0.07 else rng.choice(CITIES)


def _text(rng: random.Random) -> str:
    words = " ".join(word(rng) for _ in range(rng.choice((1, 2, 2, 3, 4))))
    return words if rng.random() < 0.85 else words[0].upper() + words[1:]


def _code(rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.choice((1, 2, 3))))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.choice((2, 3, 4))))
    return f"{letters}{rng.choice(('-', '-', ''))}{digits}"


def _email(rng: random.Random) -> str:
    name = invented(rng) if rng.random() < 0.4 else rng.choice(FIRST_NAMES).lower()
    return f"{name}@{word(rng).replace(' ', '')}.{rng.choice(('com', 'org', 'net', 'io'))}"


_SWITCHES = {"on_off": ("off", "on"), "yes_no": ("no", "yes"), "true_false": ("false", "true")}

_STRINGS: dict[str, Callable[[random.Random], str]] = {
    "person": person,
    "place": _place,
    "code": _code,
    "text": _text,
    "email": _email,
    "ident": lambda rng: str(rng.randrange(10, 100_000)),
}


def _spell_ident(digits: str, type_: str, conventions: Conventions) -> int | str:
    if type_ == "integer" or (type_ == "open" and conventions.open_number == "number"):
        return int(digits)
    return f"#{digits}" if conventions.ident == "hash" and type_ == "string" else digits


def _say_date(rng: random.Random, day: dt.date) -> str:
    month = MONTHS[day.month - 1]
    return rng.choice(
        (
            f"{month} {day.day}, {day.year}",
            f"{day.day} {month} {day.year}",
            f"{day.day}. {month} {day.year}",
            f"{day.day} {month[:3]} {day.year}",
            day.isoformat(),
            day.strftime("%d.%m.%Y"),
        )
    )


def _say_time(rng: random.Random, clock: dt.time) -> str:
    twelve = twelve_hours(clock)
    forms = [
        f"{clock:%H:%M}",
        f"{clock:%H:%M}",
        twelve,
        twelve.lower(),
        twelve.lower().replace(" ", ""),
    ]
    if clock.minute == 0:
        forms += [f"{clock.hour % 12 or 12} {'am' if clock.hour < 12 else 'pm'}"]
    return rng.choice(forms)


def _say_number(number: int, cents: float) -> str:
    return f"{round(number + cents, 2):g}" if cents else str(number)
