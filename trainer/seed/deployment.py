"""A deployment: one place with its own tools, its own way of asking, and fixed conventions.

Its conventions are written nowhere the model could read them; they show only in which calls are
right. `draw_request` plays its users.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.examples import Exact, NoCall
from tooln1_agent.messages import Message
from trainer.seed.tools import Slot
from trainer.seed.values import Conventions, Kind, Value, draw
from trainer.seed.world import make_call


@dataclass(frozen=True, slots=True)
class Errand:
    """What people ask of one tool, and how they put it."""

    tool: str
    kinds: Mapping[str, Kind]
    """The kind of value of each parameter."""
    complete: tuple[str, ...]
    """Request templates; a call carries the parameters that its template names in braces."""
    incomplete: tuple[str, ...] = ()
    """Templates that leave a required value out: the right reply asks for it."""
    switches: Mapping[str, tuple[str, str]] | None = None
    """For each flag, what people say for no and for yes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One simulated request with the hidden truth about it."""

    text: str
    gold: tuple[ToolCall, ...]
    """The right calls; empty where the right reply is a plain answer."""
    tool: str
    """The tool that is meant, or "" where none fits."""

    @property
    def target(self) -> Exact | NoCall:
        """The truth as a target for the reward."""
        return Exact(alternatives=(self.gold,)) if self.gold else NoCall()


@dataclass(frozen=True, slots=True)
class Deployment:
    """Tools, users and conventions of one place."""

    name: str
    instructions: str
    tools: tuple[ToolSpec, ...]
    errands: tuple[Errand, ...]
    smalltalk: tuple[str, ...]
    """Requests that no tool serves; `{text}` stands for a few drawn words."""
    conventions: Conventions
    no_call_share: float = 0.18

    def draw_request(self, rng: random.Random) -> Request:
        """Draw one request; equal generators give equal requests."""
        if rng.random() < self.no_call_share:
            return self._draw_refusal(rng)
        errand = rng.choice(self.errands)
        template = rng.choice(errand.complete)
        given = _draw_given(rng, errand, template, self._spec(errand.tool))
        call = make_call(errand.tool, list(given.values()), self.conventions)
        return Request(_fill(template, errand, given), (call,), errand.tool)

    def requests(self, seed: int, count: int, *, held_out: bool = False) -> list[Request]:
        """Draw `count` requests of pairwise different text.

        Args:
            held_out: draw from the quarter of all texts that is never drawn otherwise, whatever
                the seeds.
        """
        rng = random.Random(f"{self.name} {seed} {held_out}")
        drawn: dict[str, Request] = {}
        while len(drawn) < count:
            request = self.draw_request(rng)
            if is_held_out(request.text) == held_out:
                drawn.setdefault(request.text, request)
        return list(drawn.values())

    def messages(self, request: Request) -> tuple[Message, ...]:
        """Return the conversation that an agent of this deployment would send to the model."""
        user = Message(role="user", content=request.text)
        if not self.instructions:
            return (user,)
        return (Message(role="system", content=self.instructions), user)

    def _draw_refusal(self, rng: random.Random) -> Request:
        lacking = [errand for errand in self.errands if errand.incomplete]
        if lacking and rng.random() < 0.5:
            errand = rng.choice(lacking)
            template = rng.choice(errand.incomplete)
            given = _draw_given(rng, errand, template, self._spec(errand.tool))
            return Request(_fill(template, errand, given), (), errand.tool)
        said = draw(rng, "text").said
        return Request(rng.choice(self.smalltalk).format(text=said), (), "")

    def _spec(self, name: str) -> ToolSpec:
        return next(spec for spec in self.tools if spec.name == name)


def is_held_out(text: str) -> bool:
    """Whether a request text belongs to the quarter reserved for measuring."""
    return hashlib.sha256(text.encode()).digest()[0] % 4 == 0


def _draw_given(
    rng: random.Random, errand: Errand, template: str, spec: ToolSpec
) -> dict[str, tuple[Slot, Value]]:
    """Draw a value for each parameter the template names, in the order of the schema."""
    named = {name for _, name, _, _ in Formatter().parse(template) if name}
    given: dict[str, tuple[Slot, Value]] = {}
    for name, schema in spec.parameters["properties"].items():
        if name in named:
            kind, choices = errand.kinds[name], tuple(schema.get("enum", ()))
            slot = Slot(name, kind, name.replace("_", " "), schema, choices=choices)
            given[name] = slot, draw(rng, kind, choices)
    return given


def _fill(template: str, errand: Errand, given: Mapping[str, tuple[Slot, Value]]) -> str:
    said = {name: value.said for name, (_, value) in given.items()}
    for name, (no, yes) in (errand.switches or {}).items():
        if name in given:
            said[name] = yes if given[name][1].truth else no
    return template.format_map(said)
