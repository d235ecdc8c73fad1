"""Tool families of the seed world: a name, a description and typed parameters made of words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from trainer.seed.values import Conventions, Kind, coined, word
from trainer.seed.words import ADJECTIVES, ENUMS, NOUNS, PARAMS, RESERVED, VERBS


@dataclass(frozen=True, slots=True)
class Slot:
    """One parameter of a tool, with what a person calls it."""

    name: str
    kind: Kind
    label: str
    schema: dict[str, Any]
    required: bool = True
    choices: tuple[str, ...] = ()
    """The members, for an enum."""
    is_telling: bool = True
    """Whether the name says what kind of value it takes."""


@dataclass(frozen=True, slots=True)
class ToolFamily:
    """A tool that may be offered in a prompt, with the words people use to ask for it."""

    name: str
    description: str
    verbs: tuple[str, ...]
    noun: str
    slots: tuple[Slot, ...]

    def parameters(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments, as the tool registry derives it."""
        required = [slot.name for slot in self.slots if slot.required]
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {slot.name: slot.schema for slot in self.slots},
        }
        return schema | ({"required": required} if required else {})


Spelling = Literal["hidden", "described"]
"""Whether parameter descriptions state the conventions."""

_HINTS: dict[str, tuple[str, ...]] = {
    "person": (
        "Who it is for", "Full name", "Name of the {label}", "The {label}", "Who", "Whom",
        "Name of the person", "Which person", "Who gets the {noun}",
    ),
    "place": (
        "Where", "City", "The {label}", "Name of the city", "Which city", "Town", "Where to",
        "City of the {noun}", "Which place",
    ),
    "date": (
        "When", "The {label}", "Calendar day", "Date of the {noun}", "Which day", "On which day",
        "Day of the {noun}", "Day it ends", "The day",
    ),
    "time": (
        "At what time", "The {label}", "Time of day", "Which hour", "At which hour",
        "From what time",
        "Hour of the {noun}", "Time of the {noun}", "Until what time",
    ),
    "count": ("How many", "Number of {label}", "The {label}", "How many {label}", "Count"),
    "amount": ("How much", "The {label}", "Amount as a number", "How much it is", "Amount"),
    "ident": ("Which {noun}", "Number of the {noun}", "The {label}", "Number of the {label}"),
    "code": ("The {label}", "Code of the {noun}", "Code"),
    "text": (
        "The {label}", "Short text", "What it is about", "Free text", "What to write",
        "What to say",
        "Words", "Name of the {noun}",
    ),
    "flag": ("Whether it is {label}", "The {label} switch", "{label} or not", "Whether {label}"),
    "enum": ("The {label}", "Which {label}", "One of the choices", "Which one"),
    "duration": ("How long", "The {label}", "Length of the {noun}", "Minutes", "How many minutes"),
    "email": ("Email address", "Where to write", "The {label}", "Email of the {noun}"),
    "labels": ("The {label}", "List of {label}", "One or more {label}", "Which ones"),
}  # fmt: skip
_RULES: dict[tuple[str, str], tuple[str, ...]] = {
    ("date", "iso"): ("as YYYY-MM-DD", "like 2025-01-31", "ISO format"),
    ("date", "dotted"): ("as DD.MM.YYYY", "like 31.01.2025", "day.month.year"),
    ("date", "slashed"): ("as MM/DD/YYYY", "like 01/31/2025", "month/day/year"),
    ("time", "24h"): ("as HH:MM", "like 16:30", "24 hours"),
    ("time", "12h"): ("with AM or PM", "like 4:30 PM", "12 hours"),
    ("person", "as_said"): ("first name first", "like Jo Doe", "as given"),
    ("person", "surname_first"): ("surname first", "like Doe, Jo", "last, first"),
    ("person", "lower"): ("in lower case", "like jo doe"),
    ("place", "as_said"): ("as given", "capitalized"),
    ("place", "lower"): ("in lower case", "small letters"),
    ("ident", "plain"): ("digits only", "like 123"),
    ("ident", "hash"): ("with a hash sign", "like #123"),
    ("flag", "on_off"): ("on or off",),
    ("flag", "yes_no"): ("yes or no",),
    ("flag", "true_false"): ("true or false",),
    ("duration", "min"): ("like 25 min", "number and min"),
    ("duration", "m"): ("like 25m", "number and m"),
    ("open_number", "number"): ("as numbers", "without quotes"),
    ("open_number", "text"): ("as strings", "in quotes"),
}


def draw_family(rng: random.Random, conventions: Conventions, spelling: Spelling) -> ToolFamily:
    """Draw a tool: a verb, a noun, one to five parameters."""
    return make_family(
        rng, draw_verbs(rng), draw_noun(rng), conventions=conventions, spelling=spelling
    )


def draw_verbs(rng: random.Random) -> tuple[str, ...]:
    """Draw a verb with its synonyms; now and then any word, so that names are read, not known."""
    return (_free_name(rng),) if rng.random() < 0.5 else rng.choice(VERBS)


def draw_noun(rng: random.Random) -> str:
    """Draw what a tool is about, in snake case: a known noun, any word, or two."""
    noun = _free_name(rng) if rng.random() < 0.55 else rng.choice(NOUNS)
    return f"{rng.choice(ADJECTIVES)}_{noun}" if rng.random() < 0.15 else noun


def _free_name(rng: random.Random) -> str:
    return coined(rng) if rng.random() < 0.05 else word(rng).replace(" ", "_")


def make_family(
    rng: random.Random,
    verbs: tuple[str, ...],
    noun: str,
    *,
    conventions: Conventions,
    spelling: Spelling,
    known: Sequence[Slot] = (),
) -> ToolFamily:
    """Make a tool for a verb and a noun, with drawn name style, description and parameters.

    Args:
        known: parameters of the house's other tools; it may take some of the same.
    """
    words = noun.replace("_", " ")
    named = verbs[0].replace(" ", "_")
    style = rng.random()
    name = f"{noun}_{named}" if style < 0.15 else f"{named}_{noun}"
    if style > 0.92 or name in RESERVED:
        head, *rest = name.split("_")
        name = head + "".join(part.title() for part in rest)
    verb = rng.choice(verbs)
    article = rng.choice(("a", "the", "one"))
    description = f"{verb[0].upper()}{verb[1:]} {article} {words}{rng.choice(('.', '.', ''))}"
    slots = _draw_slots(rng, words, conventions, spelling, known)
    return ToolFamily(name, description, verbs, words, slots)


def _draw_slots(
    rng: random.Random,
    noun: str,
    conventions: Conventions,
    spelling: Spelling,
    known: Sequence[Slot],
) -> tuple[Slot, ...]:
    count = rng.choices((1, 2, 3, 4, 5), (18, 34, 32, 13, 3))[0]
    kinds: list[Kind] = []
    weights = [10, 8, 12, 8, 7, 8, 9, 5, 10, 7, 9, 4, 4, 4]
    while len(kinds) < count:
        kind = rng.choices(get_args(Kind), weights)[0]
        if kind not in kinds or (
            kind in ("date", "time", "amount", "person", "place", "text") and rng.random() < 0.25
        ):
            kinds.append(kind)
    described = rng.random() < 0.6 or spelling == "described"
    slots: list[Slot] = []
    for index, kind in enumerate(kinds):
        same = [slot for slot in known if slot.kind == kind and slot.required]
        if same and rng.random() < 0.5:
            slot = _undescribed(rng.choice(same))
        else:
            slot = _draw_slot(rng, kind, noun, required=index == 0 or rng.random() < 0.7)
        if slot.name in RESERVED or any(slot.name == other.name for other in slots):
            continue
        if described or not slot.is_telling:
            slot = _describe(rng, slot, noun, conventions, spelling)
        slots.append(slot)
    return tuple(sorted(slots, key=lambda slot: not slot.required))


def _draw_slot(rng: random.Random, kind: Kind, noun: str, *, required: bool) -> Slot:
    if kind == "enum":
        name = rng.choice(tuple(ENUMS))
        choices = ENUMS[name]
        if rng.random() < 0.4:
            name = _free_name(rng)
            choices = tuple(dict.fromkeys(_free_name(rng) for _ in range(3)))
        return Slot(name, kind, _label(name), {"type": "string", "enum": list(choices)},
                    required, choices)  # fmt: skip
    name, is_telling = rng.choice(PARAMS[kind]), True
    if rng.random() < 0.55:
        free, is_telling = _free_name(rng), rng.random() < 0.5
        known = (f"{free}_{name}", f"{name}_{free}")
        name = rng.choice(known if is_telling else (free, free, f"{free}_{rng.choice(NOUNS)}"))
    elif (
        kind in ("person", "date", "time", "amount", "text", "ident", "count")
        and rng.random() < 0.2
    ):
        name = f"{noun.split()[-1]}_{name}"
    schema: dict[str, Any] = {"type": "string"}
    if kind in ("count", "amount"):
        schema = {"type": "integer" if kind == "count" else "number"}
        if kind == "amount" and rng.random() < 0.25:
            schema = _open(rng, "number")
    elif kind == "flag":
        schema = {"type": "boolean"} if rng.random() < 0.5 else schema
    elif kind == "ident":
        schema = rng.choice(({"type": "integer"}, schema, schema, _open(rng, "integer")))
    elif kind == "duration":
        schema = {"type": "integer"} if rng.random() < 0.5 else schema
    elif kind == "labels":
        schema = {"type": "array", "items": {"type": "string"}}
    if not required and rng.random() < 0.3:
        schema = schema | {"default": _default(rng, schema)}
    return Slot(name, kind, _label(name), schema, required, is_telling=is_telling)


def _open(rng: random.Random, number: str) -> dict[str, Any]:
    """Return a schema that leaves open whether a number or a string is meant."""
    return rng.choice(({}, {"anyOf": [{"type": number}, {"type": "string"}]}))


def _default(rng: random.Random, schema: dict[str, Any]) -> Any:
    empty: dict[str, Any] = {"integer": 0, "number": 0, "boolean": False, "array": []}
    return empty.get(schema.get("type", ""), "")


def _label(name: str) -> str:
    return name.replace("_", " ")


def _describe(
    rng: random.Random, slot: Slot, noun: str, conventions: Conventions, spelling: Spelling
) -> Slot:
    hint = rng.choice(_HINTS[slot.kind]).format(label=slot.label, noun=noun)
    text = hint[0].upper() + hint[1:]
    choice = {"string": slot.kind, "open": "open_number"}.get(slot.schema.get("type", "open"), "")
    rules = _RULES.get((choice, getattr(conventions, choice, "")))
    if spelling == "described" and rules:
        text = f"{text}, {rng.choice(rules)}"
    first = {key: slot.schema[key] for key in slot.schema if key == "type"}
    schema = first | {"description": text} | slot.schema
    return replace(slot, schema=schema)


def _undescribed(slot: Slot) -> Slot:
    schema = {key: value for key, value in slot.schema.items() if key != "description"}
    return replace(slot, schema=schema)


def rules_text(rng: random.Random, conventions: Conventions) -> str:
    """State the conventions in a sentence for each kind of value, for the instructions."""
    kinds = tuple(_NAMES)
    parts = [
        f"{_NAMES[kind]} {rng.choice(_RULES[kind, getattr(conventions, kind)])}" for kind in kinds
    ]
    rng.shuffle(parts)
    return rng.choice((". ", "; ", ", ")).join(parts) + "."


_NAMES = {
    "date": "Dates", "time": "Times", "person": "Names", "place": "Places", "ident": "Numbers",
    "flag": "Switches", "duration": "Durations", "open_number": "Numbers without a type",
}  # fmt: skip
