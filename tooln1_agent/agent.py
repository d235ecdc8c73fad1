"""What a user builds: a model, tools and instructions, ready to be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self

from typing_extensions import TypeVar

from tool_registry.registry import Registry
from tool_registry.tool import Tool
from tooln1_agent.engines.base import Engine
from tooln1_agent.engines.resolve import resolve
from tooln1_agent.limits import Limits
from tooln1_agent.loop import new_interaction, run_interaction
from tooln1_agent.messages import Message, Sampling
from tooln1_agent.recorder import NullRecorder, Recorder
from tooln1_agent.rules import Rule, named_rules
from tooln1_agent.run_events import RunEvent, RunResult

if TYPE_CHECKING:
    from tooln1_agent.replay.store import ReplayStore

Deps = TypeVar("Deps", default=Any)


class Agent(Generic[Deps]):
    """Answers requests with a model that may call tools. Safe to run many times at once.

    The model and the store are opened at first use. `async with agent:` closes them, or
    `await agent.aclose()`; an engine or a store that was passed in stays open.
    """

    def __init__(
        self,
        model: str | Engine,
        *,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        instructions: str = "",
        store: ReplayStore | str | Path | None = None,
        name: str = "agent",
        deps_type: type[Deps] | None = None,
        limits: Limits = Limits(),
        sampling: Sampling = Sampling(),
        rules: Iterable[Rule] = (),
        scratch: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """Describe the agent.

        Args:
            model: "seed", a model directory, the URL of a chat server, or an engine.
            tools: plain functions, or what `@tool` made of them.
            instructions: the system message.
            store: where every run is kept: a replay store or its path; None keeps nothing.
            deps_type: what `deps` must be an instance of, for a type checker and at run time.
            rules: functions that judge results, named in `Verify` targets by their names.
            scratch: opens `deps` for calls that are run again to be judged, and puts them away.

        Raises:
            InvalidTool: a function cannot be offered to a model.
            ConfigError: a rule has no name of its own.
        """
        self.name, self.instructions = name, instructions
        self.limits, self.sampling = limits, sampling
        self.registry = Registry(tools)
        self.rules, self.scratch = named_rules(rules), scratch
        self._deps_type = deps_type
        self._model = model
        self._engine: Engine | None = None if isinstance(model, str) else model
        self._store = store
        self._recorder: Recorder | None = None
        self._opened: ReplayStore | None = None

    @property
    def model(self) -> str | Engine:
        """What it was given as its model."""
        return self._model

    @property
    def engine(self) -> Engine:
        """The engine that runs the model.

        Raises:
            ConfigError: the model's name is of no known kind.
            ModelNotFound: there is no model at that place.
        """
        if self._engine is None:
            assert isinstance(self._model, str)  # or it would be the engine
            self._engine = resolve(self._model)
        return self._engine

    @property
    def recorder(self) -> Recorder:
        """The replay store, or what takes its place where nothing is kept."""
        if self._recorder is None:
            self._recorder = self._find_recorder()
        return self._recorder

    async def run(
        self,
        prompt: str | Sequence[Message],
        *,
        deps: Deps | None = None,
        principal: str = "",
        no_train: bool = False,
    ) -> RunResult:
        """Answer one request; returns how it ended, also when a limit ended it.

        Args:
            prompt: what the user says, or a conversation that ends with it.
            deps: handed to tools in their `RunContext`.
            principal: who asks, for the record.
            no_train: keep this run out of what a model learns from.

        Raises:
            EngineError: the model could not be asked.
        """
        events = self._events(prompt, deps=deps, principal=principal, no_train=no_train, whole=True)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, RunResult):
                    return event
        raise AssertionError("a run ends with its result or raises")

    def run_sync(
        self,
        prompt: str | Sequence[Message],
        *,
        deps: Deps | None = None,
        principal: str = "",
        no_train: bool = False,
    ) -> RunResult:
        """Do as `run`, where no event loop runs.

        Raises:
            RuntimeError: an event loop runs; says what to write instead.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.run(prompt, deps=deps, principal=principal, no_train=no_train))
        raise RuntimeError(
            "run_sync cannot be used inside an event loop (async code, a notebook); "
            "write `await agent.run(...)`"
        )

    def run_stream(
        self,
        prompt: str | Sequence[Message],
        *,
        deps: Deps | None = None,
        principal: str = "",
        no_train: bool = False,
    ) -> AsyncGenerator[RunEvent, None]:
        """Do as `run`, and yield what happens; the `RunResult` comes last.

        Pieces of text and of calls come as the model writes them (`tooln1_agent.reply_events`);
        what they say of a turn is provisional until its `TurnFinished`. A thought begins anew where
        the server that had it went away and another took over.

        To stop early, close the generator (`contextlib.aclosing`): the run is then cancelled.
        """
        return self._events(prompt, deps=deps, principal=principal, no_train=no_train, whole=False)

    async def _events(
        self,
        prompt: str | Sequence[Message],
        *,
        deps: Deps | None,
        principal: str,
        no_train: bool,
        whole: bool,
    ) -> AsyncGenerator[RunEvent, None]:
        """Run; see `run_interaction` on `whole`."""
        if not (self._deps_type is None or deps is None or isinstance(deps, self._deps_type)):
            raise TypeError(
                f"agent {self.name!r} expects deps of type {self._deps_type.__name__}, "
                f"got {type(deps).__name__}"
            )
        await self.engine.start()
        interaction = new_interaction(
            self.engine,
            self.prompt_messages(prompt),
            tools=self.registry.specs,
            agent=self.name,
            principal=principal,
            no_train=no_train,
        )
        events = run_interaction(
            self.engine,
            interaction,
            registry=self.registry,
            sampling=self.sampling,
            limits=self.limits,
            deps=deps,
            recorder=self.recorder,
            whole=whole,
        )
        async with aclosing(events):
            async for event in events:
                yield event

    def prompt_messages(self, prompt: str | Sequence[Message]) -> tuple[Message, ...]:
        """Return the messages that a prompt begins a run with: the instructions come first."""
        said = (Message(role="user", content=prompt),) if isinstance(prompt, str) else tuple(prompt)
        if not said:
            raise ValueError("the prompt is an empty list; expected at least one message")
        if not self.instructions:
            return said
        return (Message(role="system", content=self.instructions), *said)

    async def aclose(self) -> None:
        """Close the engine and the store, if this agent opened them; it may be used again."""
        if self._engine is not None and isinstance(self._model, str):
            await self._engine.aclose()
            self._engine = None
        if self._opened is not None:
            self._opened.close()
            self._opened = self._recorder = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _find_recorder(self) -> Recorder:
        if self._store is None:
            return NullRecorder()
        if not isinstance(self._store, str | Path):
            return self._store
        from tooln1_agent.replay.store import ReplayStore  # SQLite only for who keeps something

        self._opened = ReplayStore(self._store)
        return self._opened
