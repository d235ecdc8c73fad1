"""The seed world: endless episodes of tool use, each with its own tools and conventions.

An episode is a prompt and the reply it should get. Conventions are drawn afresh for every scene,
and in a third of them stated nowhere, so a model trained here stays unsure where none are: that
doubt is what a deployment's rewards later resolve.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.examples import Exact, NoCall
from tooln1_agent.messages import Message
from trainer.seed.phrasing import CHAT, ask
from trainer.seed.scene import Disclosure, Scene, draw_scene
from trainer.seed.tools import Slot, ToolFamily, draw_family
from trainer.seed.values import Conventions, Value, draw, invented, spell, word

Situation = Literal["call", "several", "no_tool", "missing", "after_result"]


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

    @property
    def target(self) -> Exact | NoCall:
        """The reply as a target for the reward."""
        return Exact(alternatives=(self.calls,)) if self.calls else NoCall()


_SITUATIONS: tuple[Situation, ...] = ("call", "several", "no_tool", "missing", "after_result")
_SHARES = (63, 6, 12, 14, 5)
_SORRY = ("Sorry, I have no tool for that.", "I can't do that with my tools.", "No tool fits that.")


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
    kind: Situation = rng.choices(_SITUATIONS, _SHARES)[0] if situation is None else situation
    if has_past is None:
        has_past = kind in ("call", "missing", "several") and rng.random() < 0.1
    families = rng.sample(scene.families, len(scene.families))
    messages: list[Message] = []
    if scene.instructions:
        messages.append(Message(role="system", content=scene.instructions))
    if has_past:
        messages += _past(rng, rng.choice(families), scene)
    if kind == "missing" and not any(map(_can_be_missing, families[0].slots)):
        kind = "call"
    text, calls, think, answer = _turn(rng, kind, families, scene)
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
    scene: Scene,
) -> tuple[str, tuple[ToolCall, ...], str, str]:
    """Draw the last request with its calls, thought and answer; the first family is meant."""
    if situation == "no_tool":
        return _unserved(rng, families, scene)
    if situation == "missing":
        return _lacking(rng, families[0], scene)
    if situation == "several":
        return _several(rng, families, scene)
    text, call = request(
        rng,
        families[0],
        scene,
        name_verb=sum(family.noun == families[0].noun for family in families) > 1,
        name_noun=sum(family.verbs == families[0].verbs for family in families) > 1,
    )
    return text, (call,), plan((call,)), ""


def request(
    rng: random.Random,
    tool: ToolFamily,
    scene: Scene,
    *,
    name_verb: bool = False,
    name_noun: bool = False,
) -> tuple[str, ToolCall]:
    """Draw a request for one call of `tool`, and that call."""
    given = draw_given(rng, tool.slots)
    text = ask(rng, tool, given, name_verb=name_verb, name_noun=name_noun, is_plain=scene.is_plain)
    return text, make_call(tool.name, given, scene.conventions)


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


def _unserved(
    rng: random.Random, families: Sequence[ToolFamily], scene: Scene
) -> tuple[str, tuple[ToolCall, ...], str, str]:
    text = rng.choice(CHAT)
    if rng.random() < 0.65:
        other = draw_family(rng, scene.conventions, "hidden")
        while any(other.noun == f.noun or other.verbs == f.verbs for f in families):
            other = draw_family(rng, scene.conventions, "hidden")
        text, _ = request(rng, other, scene, name_verb=True, name_noun=True)
    while "{w}" in text:
        text = text.replace("{w}", word(rng), 1)
    return text, (), "No tool fits.", rng.choice(_SORRY)


def _can_be_missing(slot: Slot) -> bool:
    return slot.required and slot.kind != "flag"


def _lacking(
    rng: random.Random, tool: ToolFamily, scene: Scene
) -> tuple[str, tuple[ToolCall, ...], str, str]:
    lost = rng.choice([slot for slot in tool.slots if _can_be_missing(slot)])
    given = [(slot, value) for slot, value in draw_given(rng, tool.slots) if slot != lost]
    text = ask(rng, tool, given, name_verb=True, name_noun=True, is_plain=scene.is_plain)
    known = [slot.name for slot, _ in given]
    think = f"Use {tool.name} with {', '.join(known) or 'nothing'}, but {lost.name} is missing."
    return text, (), think, f"Please tell me the {lost.label}."


def _several(
    rng: random.Random, families: Sequence[ToolFamily], scene: Scene
) -> tuple[str, tuple[ToolCall, ...], str, str]:
    other = families[1] if len(families) > 1 and rng.random() < 0.7 else families[0]
    parts = [
        request(rng, tool, scene, name_verb=True, name_noun=True) for tool in (families[0], other)
    ]
    first, second = (text.rstrip(".?") for text, _ in parts)
    joined = rng.choice((
        "{0}. {1}.", "{0}. Also, {2}.", "{0}, then {2}", "{0} and {2}.",
        "{0}. After that {2}.", "1. {0}\n2. {1}", "Two things: {0}; {2}.",
    ))  # fmt: skip
    calls = tuple(call for _, call in parts)
    return joined.format(first, second, second[0].lower() + second[1:]), calls, plan(calls), ""


def _past(rng: random.Random, tool: ToolFamily, scene: Scene) -> list[Message]:
    """Return an earlier, finished exchange; its call shows the conventions."""
    text, call = request(rng, tool, scene)
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
