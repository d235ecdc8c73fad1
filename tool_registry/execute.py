"""Runs the calls of one turn: side by side, each isolated, none able to take the run down.

Whatever a call or a tool gets wrong becomes a failed ``ToolResult`` that tells the model what to
do; only cancellation of the whole is raised.
"""

import asyncio
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError

from tool_registry.calls import Failure, ToolCall, ToolResult
from tool_registry.context import RunContext
from tool_registry.errors import ToolRetry
from tool_registry.registry import Registry
from tool_registry.render import MIN_RESULT_CHARS, cut, render
from tool_registry.threads import run_in_thread
from tool_registry.tool import Tool

__all__ = ["execute"]

MAX_ERRORS_SHOWN = 5


async def execute(
    registry: Registry,
    calls: Sequence[ToolCall],
    *,
    deps: Any = None,
    timeout_s: float = 30.0,
    max_result_chars: int = 16_000,
    max_concurrency: int = 8,
    retry: int = 0,
) -> tuple[ToolResult, ...]:
    """Run ``calls`` and return one result for each, in their order.

    Functions written with ``async def`` run on the event loop, others in threads. A thread whose
    time is up is left behind, not stopped. Waiting for a free place does not count as its time.

    Args:
        timeout_s: for a tool that has no limit of its own.
        max_result_chars: longest content of a result, the note on what was cut included.
        retry: handed to tools in their ``RunContext``.
    """
    if timeout_s <= 0 or max_concurrency < 1 or max_result_chars < MIN_RESULT_CHARS:
        raise ValueError(
            "execute needs timeout_s > 0, max_concurrency >= 1 and"
            f" max_result_chars >= {MIN_RESULT_CHARS}, got {timeout_s!r}, {max_concurrency!r},"
            f" {max_result_chars!r}"
        )
    limits = _Limits(timeout_s, max_result_chars, asyncio.Semaphore(max_concurrency))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_result(registry, RunContext(deps, call, retry), call, limits))
            for call in calls
        ]
    return tuple(task.result() for task in tasks)


@dataclass(frozen=True, slots=True)
class _Limits:
    timeout_s: float
    max_result_chars: int
    places: asyncio.Semaphore


class _Outcome(NamedTuple):
    """What running a call came to; data, because a raised StopIteration would be lost."""

    content: str
    error: Failure | None = None


async def _result(
    registry: Registry, context: RunContext[Any], call: ToolCall, limits: _Limits
) -> ToolResult:
    async with limits.places:
        started = time.perf_counter()
        outcome = await _outcome(registry, context, call, limits.timeout_s)
        duration_s = time.perf_counter() - started
    content, truncated = cut(outcome.content, limit=limits.max_result_chars)
    return ToolResult(
        call=call,
        content=content,
        ok=outcome.error is None,
        error=outcome.error,
        duration_s=duration_s,
        truncated=truncated,
    )


async def _outcome(
    registry: Registry, context: RunContext[Any], call: ToolCall, timeout_s: float
) -> _Outcome:
    """Check the call and run it within its time."""
    runnable, problem = registry.validate(call)
    if problem is not None:
        is_known = call.name in registry
        return _Outcome(problem, "invalid_arguments" if is_known else "unknown_tool")
    tool = registry.get(call.name)
    limit_s = timeout_s if tool.timeout_s is None else tool.timeout_s
    keywords = _bind(tool, context, runnable.arguments)
    if isinstance(keywords, _Outcome):
        return keywords
    try:
        async with asyncio.timeout(limit_s):
            return await _run(partial(tool.fn, **keywords), is_async=_is_async(tool.fn))
    except TimeoutError:  # the tool's own were caught inside
        return _Outcome(f"{call.name} did not finish within {limit_s:g} seconds", "timeout")


def _bind(
    tool: Tool, context: RunContext[Any], arguments: dict[str, Any]
) -> dict[str, Any] | _Outcome:
    """The function's keyword arguments, or why its types do not admit them."""
    signature = tool.signature
    if signature is None:
        return arguments
    try:
        keywords = signature.bind(arguments)
    except ValidationError as error:
        return _Outcome(_explain(error), "invalid_arguments")
    except Exception as error:  # a validator is the tool's code too
        return _failure(error)
    if signature.context_name is not None:
        keywords[signature.context_name] = context
    return keywords


async def _run(start: Callable[[], Any], *, is_async: bool) -> _Outcome:
    if is_async:
        return await _attempt_async(start)
    value = await run_in_thread(partial(_attempt, start))
    return value if isinstance(value, _Outcome) else await _attempt_async(lambda: value)


def _is_async(fn: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def _attempt(start: Callable[[], Any]) -> Any:
    """The outcome of a blocking function, or the awaitable that it turned out to return."""
    try:
        value = start()
        return value if inspect.isawaitable(value) else _Outcome(render(value))
    except BaseException as error:  # in a thread no interrupt arrives, and nobody else would see
        return _failure(error)


async def _attempt_async(start: Callable[[], Any]) -> _Outcome:
    try:
        return _Outcome(render(await start()))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # we were asked to stop, by the caller or by the time limit
        return _failure(error)
    except (Exception, SystemExit) as error:
        return _failure(error)


def _failure(error: BaseException) -> _Outcome:
    """What the model is told of an exception: never a traceback, which may hold secrets."""
    try:
        text = str(error)
    except Exception:  # its text is the tool's code too
        text = ""
    if isinstance(error, ToolRetry):
        return _Outcome(text or "try again with other arguments", "retry")
    if isinstance(error, asyncio.CancelledError):
        return _Outcome("the tool cancelled its own work", "cancelled")
    return _Outcome(f"{type(error).__name__}: {text}".removesuffix(": "), "exception")


def _explain(error: ValidationError) -> str:
    """Pydantic's complaints, in the form that those about the schema have."""
    lines = []
    for entry in error.errors(include_url=False, include_context=False)[:MAX_ERRORS_SHOWN]:
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in entry["loc"])
        lines.append(f"arguments{''.join(parts)}: {entry['msg']}, got {entry['input']!r:.80}")
    return "; ".join(lines)
