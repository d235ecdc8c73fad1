"""The agent loop: ask the model, record the turn, run its calls, ask again, until it ends.

A turn is recorded before its tools run and before the last piece of its text is passed on, so
whatever was seen outside is in the store, at whichever instant the process is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from tool_registry.calls import ToolResult
from tool_registry.execute import execute
from tool_registry.registry import Registry
from tool_registry.tool import ToolSpec
from tooln1_agent.engines.base import Engine, ModelRequest
from tooln1_agent.ids import new_id
from tooln1_agent.limits import Limits, end_of_limits, end_of_reply, output_of, total_usage
from tooln1_agent.messages import Message, Sampling
from tooln1_agent.model_call import Said, ask
from tooln1_agent.recorder import NullRecorder, Recorder
from tooln1_agent.run_events import RunEvent, RunResult, ToolsFinished, TurnFinished
from tooln1_agent.transcript import Interaction, Stop, Turn, prompt_of_turn


def base_alone() -> str | None:
    """Say that no adapter serves."""
    return None


async def run_interaction(
    engine: Engine,
    interaction: Interaction,
    *,
    registry: Registry | None,
    sampling: Sampling = Sampling(),
    adapter: Callable[[], str | None] = base_alone,
    limits: Limits = Limits(),
    deps: Any = None,
    recorder: Recorder = NullRecorder(),
    whole: bool = False,
) -> AsyncGenerator[RunEvent, None]:
    """Run an interaction to its end; yield what happens, and a `RunResult` last.

    Closing the generator, or cancelling the task that reads it, cancels the run and its tools.

    Args:
        interaction: the prompt and the tools on offer, with no turns yet.
        registry: runs the calls; None hands them to the client, which ends the run.
        adapter: asked before each model call which adapter version serves it.
        deps: handed to tools in their `RunContext`.
        whole: yield nothing of a turn before it is recorded, so that a model call whose engine
            goes away can be made anew.

    Raises:
        EngineError: a model call failed; what happened before it is recorded, with stop "error".
    """
    recorder.begin(interaction)
    stop: Stop | None = None
    try:
        while stop is None:
            index = len(interaction.turns)
            shown = prompt_of_turn(interaction, index)
            request = ModelRequest(shown, interaction.tools, sampling, adapter())
            async with aclosing(ask(engine, request, whole=whole)) as events:
                async for event in events:
                    if isinstance(event, Said):
                        said = event
                    else:
                        yield event
            recorder.add_turn(interaction.id, index, said.turn)
            interaction = _with_turn(interaction, index, said.turn)
            for held in (*said.held, TurnFinished(index, said.turn)):
                yield held
            stop = end_of_reply(interaction, limits, client_runs_calls=registry is None)
            if registry is not None and said.turn.reply.calls:
                interaction = await _run_calls(registry, interaction, limits, deps, recorder)
                yield ToolsFinished(index, interaction.turns[-1].results)
            stop = stop or end_of_limits(interaction, limits)
    except (asyncio.CancelledError, GeneratorExit):
        stop = "cancelled"
        raise
    finally:
        if registry is not None:
            _answer_for_dangling_calls(interaction, recorder)
        recorder.finish(interaction.id, stop or "error")
    interaction = interaction.model_copy(update={"stop": stop})
    yield RunResult(output_of(interaction), stop, interaction, total_usage(interaction))


def one_turn(
    engine: Engine,
    interaction: Interaction,
    *,
    sampling: Sampling = Sampling(),
    adapter: Callable[[], str | None] = base_alone,
    recorder: Recorder = NullRecorder(),
    whole: bool = False,
) -> AsyncGenerator[RunEvent, None]:
    """Make a single model call whose tool calls the client runs; else as `run_interaction`."""
    return run_interaction(
        engine,
        interaction,
        registry=None,
        sampling=sampling,
        adapter=adapter,
        limits=Limits(max_turns=1, max_faulty_replies=0),
        recorder=recorder,
        whole=whole,
    )


def new_interaction(
    engine: Engine,
    messages: Iterable[Message],
    *,
    tools: Iterable[ToolSpec],
    episode: str | None = None,
    agent: str = "",
    principal: str = "",
    no_train: bool = False,
) -> Interaction:
    """Begin the record of a request, stamped with now and with what is going to serve it.

    Args:
        episode: the conversation it belongs to; a new one by default.
    """
    info = engine.info
    return Interaction(
        id=new_id("int"),
        episode=episode or new_id("ep"),
        agent=agent,
        principal=principal,
        base_model=info.base_model,
        tokenizer_hash=info.tokenizer_hash,
        prompt_version=info.prompt_version,
        messages=tuple(messages),
        tools=tuple(tools),
        no_train=no_train,
        created_at=datetime.now(UTC),
    )


def _with_turn(interaction: Interaction, index: int, turn: Turn) -> Interaction:
    return interaction.model_copy(update={"turns": (*interaction.turns[:index], turn)})


async def _run_calls(
    registry: Registry, interaction: Interaction, limits: Limits, deps: Any, recorder: Recorder
) -> Interaction:
    """Run and record the calls of the last turn; return the interaction with their results."""
    *_, turn = interaction.turns
    results = await execute(
        registry,
        turn.reply.calls,
        deps=deps,
        timeout_s=limits.tool_timeout_s,
        max_result_chars=limits.max_result_chars,
        max_concurrency=limits.max_parallel_calls,
        retry=sum(map(_was_corrected, interaction.turns)),
    )
    index = len(interaction.turns) - 1
    recorder.set_results(interaction.id, index, results)
    return _with_turn(interaction, index, turn.model_copy(update={"results": results}))


def _was_corrected(turn: Turn) -> bool:
    """Tell whether the model was asked to do something of this turn again."""
    asked = ("retry", "invalid_arguments", "unknown_tool")
    return bool(turn.complaint) or any(result.error in asked for result in turn.results)


def _answer_for_dangling_calls(interaction: Interaction, recorder: Recorder) -> None:
    """Record a result for each call that will never have another."""
    if not interaction.turns or interaction.turns[-1].results:
        return
    why = "the run was cancelled before this call had returned"
    results = tuple(
        ToolResult(call=call, content=why, ok=False, error="cancelled")
        for call in interaction.turns[-1].reply.calls
    )
    if results:
        recorder.set_results(interaction.id, len(interaction.turns) - 1, results)
