"""Scenes: what several episodes have in common, drawn afresh each time.

The tools of a prompt, the conventions behind them, and where, if anywhere, these are written.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from tool_registry.tool import ToolSpec
from trainer.seed.tools import (
    Spelling,
    ToolFamily,
    draw_family,
    draw_noun,
    draw_verbs,
    make_family,
    rules_text,
)
from trainer.seed.values import Conventions, draw_conventions, invented
from trainer.seed.words import NOUNS

Disclosure = Literal["hidden", "described", "instructed"]
"""Where the conventions are stated: nowhere, in descriptions, or in the instructions."""

_DISCLOSURES: tuple[Disclosure, ...] = ("hidden", "described", "instructed")
_SHARES = (22, 34, 44)
_ROLES = (
    "You are a helpful assistant.",
    "You are an assistant for a {noun} office.",
    "You help people with {noun} matters.",
    "You work at the {noun} desk.",
    "You are the {name} assistant.",
    "Help the staff of {name}.",
    "You support the {noun} team at {name}. Be brief.",
    "Answer briefly.",
)


@dataclass(frozen=True, slots=True)
class Scene:
    """What several episodes can have in common: tools, conventions and instructions."""

    conventions: Conventions
    families: tuple[ToolFamily, ...]
    tools: tuple[ToolSpec, ...]
    """The families as a prompt shows them, in another order."""
    instructions: str
    """The system message, or "" for none."""
    disclosure: Disclosure
    is_plain: bool = False
    """Whether people ask plainly: with the tool's own verb, and the values after it."""


def draw_scene(
    rng: random.Random,
    *,
    max_tools: int = 6,
    disclosure: Disclosure | None = None,
    is_plain: bool = False,
) -> Scene:
    """Draw what comes before the conversation; equal generators give equal scenes."""
    shown = rng.choices(_DISCLOSURES, _SHARES)[0] if disclosure is None else disclosure
    conventions = draw_conventions(rng)
    families = _draw_families(
        rng, max_tools, conventions, "described" if shown == "described" else "hidden"
    )
    instructions = _system(rng, conventions, instructed=shown == "instructed")
    specs = [_spec(family) for family in families]
    rng.shuffle(specs)
    return Scene(conventions, tuple(families), tuple(specs), instructions, shown, is_plain)


def _draw_families(
    rng: random.Random, max_tools: int, conventions: Conventions, spelling: Spelling
) -> list[ToolFamily]:
    """Draw the tools of a prompt, rather many than few: some are near misses of the first."""
    families = [draw_family(rng, conventions, spelling)]
    main = families[0]
    for _ in range(max(rng.randrange(max_tools), rng.randrange(max_tools))):
        verbs, noun = draw_verbs(rng), draw_noun(rng)
        nearness = rng.random()
        if nearness < 0.3:
            noun = main.noun.replace(" ", "_")
        elif nearness < 0.5:
            verbs = main.verbs
        known = [slot for family in families for slot in family.slots]
        near = make_family(
            rng, verbs, noun, conventions=conventions, spelling=spelling, known=known
        )
        if all(
            near.name != f.name and (near.verbs, near.noun) != (f.verbs, f.noun) for f in families
        ):
            families.append(near)
    return families


def _system(rng: random.Random, conventions: Conventions, *, instructed: bool) -> str:
    role = ""
    if rng.random() < 0.6:
        role = rng.choice(_ROLES).format(
            noun=rng.choice(NOUNS).replace("_", " "), name=invented(rng).title()
        )
    return f"{role} {rules_text(rng, conventions)}".strip() if instructed else role


def _spec(family: ToolFamily) -> ToolSpec:
    return ToolSpec(
        name=family.name, description=family.description, parameters=family.parameters()
    )
