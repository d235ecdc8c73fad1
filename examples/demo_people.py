"""Simulated people: they ask over HTTP, run tools where they bring their own, and give feedback.

They know what they meant (the gold calls of their request) and tell it only through feedback.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from openai import APIError, AsyncOpenAI
from openai.types.chat import ChatCompletionMessage

from tool_registry import Tool, ToolCall
from tool_registry.execute import execute
from tool_registry.registry import Registry
from tooln1_agent.reward import judge
from trainer.seed.deployment import Request

Mode = Literal["agent", "client"]
MAX_ROUNDS = 3
"""Model calls that a client makes for one request before it is content with what it has."""


@dataclass(frozen=True, slots=True)
class Mood:
    """What one person is going to do, drawn before they ask."""

    mode: Mode
    speaks: bool = False
    """Whether they give feedback."""
    accepts: bool = False
    """Whether they merely accept a right answer, in place of writing down the calls."""
    errs: bool = False
    """Whether they accept a wrong answer."""


@dataclass(frozen=True, slots=True)
class Served:
    """A request and what came back of it over HTTP."""

    request: Request
    mood: Mood
    started_s: float
    """On the clock of `time.time`."""
    latency_s: float
    interaction: str = ""
    """Of the first model call; empty when it failed."""
    adapter: str = ""
    """Which version answered first, by the response's header."""
    calls: tuple[ToolCall, ...] = ()
    """What the first answer called; in agent mode nobody outside sees that."""
    error: str = ""


class People:
    """Sends requests and feedback to one server."""

    def __init__(self, url: str, *, tools: Iterable[Tool], instructions: str) -> None:
        self.registry = Registry(tools)
        self._wire_tools: Any = [spec.to_openai() for spec in self.registry.specs]
        self._instructions = instructions
        self._openai = AsyncOpenAI(
            base_url=f"{url}/v1", api_key="none-needed", max_retries=0, timeout=120
        )
        self._http = httpx.AsyncClient(base_url=url, timeout=30)

    async def aclose(self) -> None:
        await self._openai.close()
        await self._http.aclose()

    async def ask(self, request: Request, mood: Mood) -> Served:
        """Send one request and see it through; a failure comes back as the `error`."""
        started, clock = time.time(), time.perf_counter()
        try:
            if mood.mode == "agent":
                first = await self._complete([{"role": "user", "content": request.text}], {})
            else:
                first = await self._with_own_tools(request)
        except APIError as problem:
            error = f"{type(problem).__name__}: {problem}"
            return Served(request, mood, started, time.perf_counter() - clock, error=error)
        latency_s = time.perf_counter() - clock
        return Served(
            request, mood, started, latency_s, first.id, first.adapter, calls_of(first.message)
        )

    async def only_ask(self, request: Request) -> str:
        """Make the first model call of a client and no more, never to be learned from.

        Returns the interaction's id.
        """
        extra = {"tools": self._wire_tools, "store": False}
        return (await self._complete(self._opening(request), extra)).id

    async def tell(self, served: Served) -> str | None:
        """Give feedback if the person is so minded; return the verdict, or None for silence."""
        body = self.feedback_on(served)
        if body is None:
            return None
        answer = await self._http.post("/v1/feedback", json=body)
        if answer.status_code == httpx.codes.BAD_REQUEST:
            return "refused"  # an accept of calls that could not run, say
        answer.raise_for_status()
        return str(body["verdict"])

    def feedback_on(self, served: Served) -> dict[str, Any] | None:
        """Return the body of the feedback, or None for silence.

        In agent mode a person sees the answer only, not the calls behind it: they can say what
        they meant, but do not accept.
        """
        if served.error or not served.mood.speaks:
            return None
        body: dict[str, Any] = {"interaction": served.interaction, "turn": 0}
        if served.mood.mode == "client":
            specs = self.registry.specs
            is_right = bool(judge(served.calls, tools=specs, target=served.request.target).value)
            if served.mood.accepts if is_right else served.mood.errs:
                return {**body, "verdict": "accept"}
        if not served.request.gold:
            return {**body, "verdict": "correction", "no_call": True}
        meant = [{"name": call.name, "arguments": call.arguments} for call in served.request.gold]
        return {**body, "verdict": "correction", "calls": meant}

    def _opening(self, request: Request) -> list[Any]:
        return [
            {"role": "system", "content": self._instructions},
            {"role": "user", "content": request.text},
        ]

    async def _with_own_tools(self, request: Request) -> _Answer:
        """Ask, run the calls here, send the results, until there is an answer; return the first."""
        messages = self._opening(request)
        first = answer = await self._complete(messages, {"tools": self._wire_tools})
        for _ in range(MAX_ROUNDS - 1):
            calls = calls_of(answer.message)
            if not calls:
                break
            messages.append(answer.message.model_dump(exclude_none=True))
            for result in await execute(self.registry, calls, timeout_s=10):
                content = {"tool_call_id": result.call.id, "content": result.content}
                messages.append({"role": "tool", **content})
            answer = await self._complete(messages, {"tools": self._wire_tools})
        return first

    async def _complete(self, messages: list[Any], extra: dict[str, Any]) -> _Answer:
        raw = await self._openai.chat.completions.with_raw_response.create(
            model="agent", messages=messages, **extra
        )
        completion = raw.parse()
        return _Answer(completion.id, raw.headers["x-adapter"], completion.choices[0].message)


@dataclass(frozen=True, slots=True)
class _Answer:
    id: str
    adapter: str
    message: ChatCompletionMessage


def calls_of(message: ChatCompletionMessage) -> tuple[ToolCall, ...]:
    """Return the calls that an answer hands to the client."""
    return tuple(
        ToolCall(id=call.id, name=call.function.name, arguments=json.loads(call.function.arguments))
        for call in message.tool_calls or ()
        if call.type == "function"
    )
