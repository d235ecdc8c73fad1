"""The seed world: endless episodes of tool use, each with its own tools and conventions.

An episode is a prompt and the reply it should get. Conventions are drawn afresh for every episode
and mostly stated nowhere, so a model trained here stays unsure about them: that doubt is what a
deployment's rewards later resolve.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.messages import Message
from trainer.seed.phrasing import CHAT, ask
from trainer.seed.tools import (
    Slot,
    Spelling,
    ToolFamily,
    draw_family,
    draw_noun,
    draw_verbs,
    make_family,
    rules_text,
)
from trainer.seed.values import Conventions, Value, draw, draw_conventions, invented, spell, word
from trainer.seed.words import NOUNS

T = TypeVar("T")

Situation = Literal["call", "several", "no_tool", "missing", "after_result"]
Disclosure = Literal["hidden", "described", "instructed"]


@dataclass(frozen=True, slots=True)
class Episode:
    """A prompt and the reply it should get: calls, or else a plain answer."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    think: str
    calls: tuple[ToolCall, ...]
    answer: str
    situation: Situation
    disclosure: Disclosure
    """Where the conventions are stated: nowhere, in descriptions, or in the instructions."""


_SITUATIONS: dict[Situation, int] = {
    "call": 63, "several": 6, "no_tool": 12, "missing": 14, "after_result": 5,
}  # fmt: skip
_DISCLOSURES: dict[Disclosure, int] = {"hidden": 45, "described": 20, "instructed": 35}
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
_SORRY = ("Sorry, I have no tool for that.", "I can't do that with my tools.", "No tool fits that.")


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


def draw_scene(
    rng: random.Random, *, max_tools: int = 6, disclosure: Disclosure | None = None
) -> Scene:
    """Draw what comes before the conversation; equal generators give equal scenes."""
    shown: Disclosure = _weighted(rng, _DISCLOSURES) if disclosure is None else disclosure
    conventions = draw_conventions(rng)
    families = _draw_families(
        rng, max_tools, conventions, "described" if shown == "described" else "hidden"
    )
    instructions = _system(rng, conventions, instructed=shown == "instructed")
    specs = [_spec(family) for family in families]
    rng.shuffle(specs)
    return Scene(conventions, tuple(families), tuple(specs), instructions, shown)


def draw_episode(
    rng: random.Random,
    *,
    max_tools: int = 6,
    situation: Situation | None = None,
    disclosure: Disclosure | None = None,
) -> Episode:
    """Draw one episode with a scene of its own; equal generators give equal episodes."""
    return play(
        rng, draw_scene(rng, max_tools=max_tools, disclosure=disclosure), situation=situation
    )


def play(
    rng: random.Random,
    scene: Scene,
    *,
    situation: Situation | None = None,
    has_past: bool | None = None,
) -> Episode:
    """Draw one episode of a scene; any of its tools may be the one that is meant.

    Args:
        has_past: whether an earlier, finished exchange comes before the request; one in ten
            requests has one if not given.
    """
    kind: Situation = _weighted(rng, _SITUATIONS) if situation is None else situation
    if has_past is None:
        has_past = kind in ("call", "missing", "several") and rng.random() < 0.1
    families = rng.sample(scene.families, len(scene.families))
    messages: list[Message] = []
    if scene.instructions:
        messages.append(Message(role="system", content=scene.instructions))
    if has_past:
        messages += _past(rng, rng.choice(families), scene.conventions)
    if kind == "missing" and not any(map(_can_be_missing, families[0].slots)):
        kind = "call"
    text, calls, think, answer = _turn(rng, kind, families, scene.conventions)
    messages.append(Message(role="user", content=text))
    if kind == "after_result":
        content, answer = _result(rng, families[0])
        messages += _executed(calls[0], content)
        calls, think = (), "The result is here."
    return Episode(
        tuple(messages), scene.tools, think, calls, answer, kind, disclosure=scene.disclosure
    )


def _turn(
    rng: random.Random,
    situation: Situation,
    families: Sequence[ToolFamily],
    conventions: Conventions,
) -> tuple[str, tuple[ToolCall, ...], str, str]:
    """Draw the last request with its calls, thought and answer; the first family is meant."""
    if situation == "no_tool":
        return _unserved(rng, families, conventions)
    if situation == "missing":
        return _lacking(rng, families[0], conventions)
    if situation == "several":
        return _several(rng, families, conventions)
    text, call = request(
        rng,
        families[0],
        conventions,
        name_verb=sum(family.noun == families[0].noun for family in families) > 1,
        name_noun=sum(family.verbs == families[0].verbs for family in families) > 1,
    )
    return text, (call,), plan((call,)), ""


def request(
    rng: random.Random,
    tool: ToolFamily,
    conventions: Conventions,
    *,
    name_verb: bool = False,
    name_noun: bool = False,
) -> tuple[str, ToolCall]:
    """Draw a request for one call of `tool`, and that call."""
    given = draw_given(rng, tool.slots)
    text = ask(rng, tool, given, name_verb=name_verb, name_noun=name_noun)
    return text, make_call(tool.name, given, conventions)


def draw_given(rng: random.Random, slots: Sequence[Slot]) -> list[tuple[Slot, Value]]:
    """Draw values for all required parameters and for about half of the others."""
    return [
        (slot, draw(rng, slot.kind, slot.choices))
        for slot in slots
        if slot.required or rng.random() < 0.5
    ]


def make_call(name: str, given: Sequence[tuple[Slot, Value]], conventions: Conventions) -> ToolCall:
    """Return the call that carries the given values, spelled by the conventions."""
    arguments = {s.name: spell(value, s.kind, s.schema, conventions) for s, value in given}
    return ToolCall(name=name, arguments=arguments)


def plan(calls: Sequence[ToolCall]) -> str:
    """Return the short thought that precedes the calls."""
    if len(calls) == 1:
        return f"Use {calls[0].name} with {', '.join(calls[0].arguments) or 'nothing'}."
    return f"Use {', then '.join(call.name for call in calls)}."


def _weighted(rng: random.Random, weights: dict[T, int]) -> T:
    return rng.choices(tuple(weights), tuple(weights.values()))[0]


def _draw_families(
    rng: random.Random, max_tools: int, conventions: Conventions, spelling: Spelling
) -> list[ToolFamily]:
    """Draw the tools of a prompt: some are near misses of the first."""
    families = [draw_family(rng, conventions, spelling)]
    main = families[0]
    for _ in range(rng.randrange(max_tools)):
        verbs, noun = draw_verbs(rng), draw_noun(rng)
        nearness = rng.random()
        if nearness < 0.3:
            noun = main.noun.replace(" ", "_")
        elif nearness < 0.5:
            verbs = main.verbs
        near = make_family(rng, verbs, noun, conventions=conventions, spelling=spelling)
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


def _unserved(
    rng: random.Random, families: Sequence[ToolFamily], conventions: Conventions
) -> tuple[str, tuple[ToolCall, ...], str, str]:
    text = rng.choice(CHAT)
    if rng.random() < 0.65:
        other = draw_family(rng, conventions, "hidden")
        while any(other.noun == f.noun or other.verbs == f.verbs for f in families):
            other = draw_family(rng, conventions, "hidden")
        text, _ = request(rng, other, conventions, name_verb=True, name_noun=True)
    while "{w}" in text:
        text = text.replace("{w}", word(rng), 1)
    return text, (), "No tool fits.", rng.choice(_SORRY)


def _can_be_missing(slot: Slot) -> bool:
    return slot.required and slot.kind != "flag"


def _lacking(
    rng: random.Random, tool: ToolFamily, conventions: Conventions
) -> tuple[str, tuple[ToolCall, ...], str, str]:
    lost = rng.choice([slot for slot in tool.slots if _can_be_missing(slot)])
    given = [(slot, value) for slot, value in draw_given(rng, tool.slots) if slot != lost]
    text = ask(rng, tool, given, name_verb=True, name_noun=True)
    known = [slot.name for slot, _ in given]
    think = f"Use {tool.name} with {', '.join(known) or 'nothing'}, but {lost.name} is missing."
    return text, (), think, f"Please tell me the {lost.label}."


def _several(
    rng: random.Random, families: Sequence[ToolFamily], conventions: Conventions
) -> tuple[str, tuple[ToolCall, ...], str, str]:
    other = families[1] if len(families) > 1 and rng.random() < 0.7 else families[0]
    parts = [
        request(rng, tool, conventions, name_verb=True, name_noun=True)
        for tool in (families[0], other)
    ]
    first, second = (text.rstrip(".?") for text, _ in parts)
    joined = rng.choice((
        "{0}. {1}.", "{0}. Also, {2}.", "{0}, then {2}", "{0} and {2}.",
        "{0}. After that {2}.", "1. {0}\n2. {1}", "Two things: {0}; {2}.",
    ))  # fmt: skip
    calls = tuple(call for _, call in parts)
    return joined.format(first, second, second[0].lower() + second[1:]), calls, plan(calls), ""


def _past(rng: random.Random, tool: ToolFamily, conventions: Conventions) -> list[Message]:
    """Return an earlier, finished exchange; its call shows the conventions."""
    text, call = request(rng, tool, conventions)
    content, answer = _result(rng, tool)
    return [
        Message(role="user", content=text),
        *_executed(call, content),
        Message(role="assistant", content=answer),
    ]


def _executed(call: ToolCall, content: str) -> list[Message]:
    return [
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content=content),
    ]


def _result(rng: random.Random, tool: ToolFamily) -> tuple[str, str]:
    """Draw what a tool returned and the short answer that reports it."""
    number, thing = rng.randrange(1, 10_000), word(rng)
    sentence = rng.choice((
        f"{tool.noun} {number} saved", f"the {tool.noun} is {thing} now",
        f"{thing} {tool.noun} done",
        f"{number} {thing} for {invented(rng).title()}", f"{tool.verbs[0]} {tool.noun}: {thing}",
    ))  # fmt: skip
    facts: tuple[tuple[Any, str], ...] = (
        (sentence[0].upper() + sentence[1:] + ".", f"Done. {sentence[0].upper()}{sentence[1:]}."),
        ({"status": "ok", "id": number}, f"Done. The id is {number}."),
        ({thing: number}, f"Done. The {thing} is {number}."),
        ({"ok": True, tool.noun: thing}, f"Done. The {tool.noun} is {thing}."),
        ("ok", "Done."),
        (f"Error: {sentence}", f"Sorry, that failed: {sentence}."),
        ([thing, word(rng)], ""),
    )
    content, answer = rng.choices(facts, (40, 8, 12, 8, 8, 12, 12))[0]
    if isinstance(content, list):
        answer = f"I found {' and '.join(content)}."
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return text, answer


def _spec(family: ToolFamily) -> ToolSpec:
    return ToolSpec(
        name=family.name, description=family.description, parameters=family.parameters()
    )
