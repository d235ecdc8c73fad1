"""Running calls: order, isolation, limits, and what the model is told when it goes wrong."""

import asyncio
import contextvars
import datetime
import enum
import functools
import threading
from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel

from tool_registry import Registry, RunContext, Tool, ToolCall, ToolRetry, ToolSpec, tool
from tool_registry.execute import execute

USER = contextvars.ContextVar("USER", default="nobody")


class Size(enum.Enum):
    SMALL = "S"


class Item(BaseModel):
    name: str
    count: int = 1


async def run(fn, arguments=None, **options):
    """The result of one call of one tool."""
    entry = fn if isinstance(fn, Tool) else tool(fn)
    call = ToolCall(id="c1", name=entry.name, arguments=arguments or {})
    (result,) = await execute(Registry([entry]), [call], **options)
    assert result.call == call
    assert result.ok is (result.error is None)
    return result


async def test_results_come_in_the_order_of_the_calls():
    later = asyncio.Event()

    async def first() -> str:
        await later.wait()
        return "1"

    async def second() -> str:
        later.set()
        return "2"

    calls = [ToolCall(name="first", arguments={}), ToolCall(name="second", arguments={})]
    results = await execute(Registry([first, second]), calls)
    assert [(result.call.name, result.content) for result in results] == [
        ("first", "1"),
        ("second", "2"),
    ]
    assert all(result.duration_s > 0 for result in results)
    assert await execute(Registry(), []) == ()


async def test_blocking_functions_run_side_by_side_off_the_loop():
    meeting = threading.Barrier(2, timeout=10)

    def meet(n: int) -> bool:
        meeting.wait()
        return threading.current_thread() is threading.main_thread()

    calls = [ToolCall(name="meet", arguments={"n": n}) for n in range(2)]
    results = await execute(Registry([meet]), calls)
    assert [result.content for result in results] == ["false", "false"]


async def test_no_more_than_the_limit_run_at_once():
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await execute(Registry([work]), [ToolCall(name="work", arguments={})] * 9, max_concurrency=2)
    assert most == 2


async def test_arguments_arrive_as_the_annotated_types():
    seen = {}

    def order(
        item: Item,
        items: list[Item],
        size: Size,
        day: datetime.date,
        pair: tuple[int, int] = (1, 2),
    ) -> None:
        seen.update(item=item, items=items, size=size, day=day, pair=pair)

    arguments = {"item": {"name": "a"}, "items": '[{"name": "b", "count": 2}]', "size": "S"}
    result = await run(order, {**arguments, "day": "2024-02-29"})
    assert (result.ok, result.content) == (True, "null")
    assert seen == {
        "item": Item(name="a"),
        "items": [Item(name="b", count=2)],
        "size": Size.SMALL,
        "day": datetime.date(2024, 2, 29),
        "pair": (1, 2),
    }
    assert result.call.arguments["items"].startswith("[")


async def test_the_context_carries_dependencies_and_the_call():
    def who(ctx: RunContext[str], n: int) -> str:
        return f"{ctx.deps} {ctx.call.id} {ctx.retry} {n}"

    assert (await run(who, {"n": 3}, deps="db", retry=1)).content == "db c1 1 3"


async def test_context_variables_reach_threads():
    def user() -> str:
        return USER.get()

    USER.set("ada")
    assert (await run(user)).content == "ada"


async def test_a_tool_without_a_signature_gets_the_arguments_as_they_are():
    imported = Tool(ToolSpec(name="get", parameters={"type": "object"}), lambda **given: given)
    assert (await run(imported, {"x": [1]})).content == '{"x":[1]}'


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (None, "null"),
        (Item(name="é"), '{"name":"é","count":1}'),
        ({"day": datetime.date(2024, 1, 2), "size": Size.SMALL}, '{"day":"2024-01-02","size":"S"}'),
        ({1}, "[1]"),
        ("half \ud800 pair", "half ? pair"),
    ],
)
async def test_values_are_shown_as_text_or_json(value, content):
    def give():
        return value

    assert (await run(give)).content == content


async def test_a_value_without_a_json_form_fails():
    def give():
        return object()

    result = await run(give)
    assert (result.error, "object" in result.content) == ("exception", True)


@pytest.mark.parametrize("fails", [False, True])
async def test_long_output_is_cut_with_a_note(fails):
    def talk() -> str:
        if fails:
            raise ValueError("x" * 5000)
        return "x" * 5000

    result = await run(talk, max_result_chars=200)
    assert len(result.content) == 200
    assert result.truncated
    assert " of 5,0" in result.content
    assert not (await run(talk)).truncated


async def test_what_is_wrong_with_a_call_is_told():
    def order(size: Size, day: datetime.date, items: list[Item] = []) -> None:  # noqa: B006
        raise AssertionError("must not run")

    registry = Registry([order])

    async def told(name, **arguments):
        (result,) = await execute(registry, [ToolCall(name=name, arguments=arguments)])
        return result.error, result.content

    assert await told("oder") == (
        "unknown_tool",
        'unknown tool "oder"; did you mean "order"?; known: "order"',
    )
    assert await told("order", size="S") == ("invalid_arguments", 'missing argument "day"')
    error, content = await told("order", size="S", day="2023-02-29")
    assert (error, content.startswith("arguments.day: Input should be a valid date")) == (
        "invalid_arguments",
        True,
    )


async def test_validators_of_the_tool_are_isolated_too():
    def refuse(value: int) -> int:
        raise ValueError("never") if value else KeyError("bug")

    def fn(value: Annotated[int, AfterValidator(refuse)]) -> int:
        return value

    refused, broken = await run(fn, {"value": 1}), await run(fn, {"value": 0})
    assert (refused.error, "never" in refused.content) == ("invalid_arguments", True)
    assert (broken.error, broken.content) == ("exception", "KeyError: 'bug'")


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("raised", "error", "content"),
    [
        (ToolRetry("give a city"), "retry", "give a city"),
        (ToolRetry(), "retry", "try again with other arguments"),
        (ZeroDivisionError("no"), "exception", "ZeroDivisionError: no"),
        (TimeoutError("peer"), "exception", "TimeoutError: peer"),
        (SystemExit(2), "exception", "SystemExit: 2"),
        (UnspeakableError(), "exception", "UnspeakableError"),
        (asyncio.CancelledError(), "cancelled", "the tool cancelled its own work"),
    ],
)
async def test_exceptions_become_failed_results(raised, error, content, is_async):
    def fail() -> None:
        raise raised

    async def fail_async() -> None:
        raise raised

    result = await run(fail_async if is_async else fail)
    assert (result.error, result.content) == (error, content)


async def test_stop_iteration_in_a_thread_is_an_exception_too():
    def fail() -> None:
        next(iter(()))

    assert (await run(fail)).content == "StopIteration"


async def test_one_failure_leaves_the_others_alone():
    def fail(n: int) -> int:
        return 1 // n

    calls = [ToolCall(name="fail", arguments={"n": n}) for n in (0, 1)]
    assert [result.ok for result in await execute(Registry([fail]), calls)] == [False, True]


async def test_a_tool_of_its_own_limit_is_stopped_when_its_time_is_up():
    stopped = asyncio.Event()

    @tool(timeout_s=0.01)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    result = await run(slow)
    assert (result.error, result.content) == ("timeout", "slow did not finish within 0.01 seconds")
    assert stopped.is_set()


async def test_a_blocking_tool_is_left_behind_when_its_time_is_up():
    release = threading.Event()

    def slow() -> None:
        release.wait(10)

    assert (await run(slow, timeout_s=0.01)).error == "timeout"
    release.set()


@pytest.mark.parametrize("is_async", [False, True])
async def test_cancellation_reaches_the_tools_and_the_caller(is_async):
    started, stopped, release = asyncio.Event(), [], threading.Event()
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append("wait")
            raise

    def block() -> None:
        loop.call_soon_threadsafe(started.set)
        release.wait(10)

    entry = tool(wait if is_async else block)
    task = asyncio.create_task(
        execute(Registry([entry]), [ToolCall(name=entry.name, arguments={})] * 2)
    )
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert stopped == (["wait", "wait"] if is_async else [])
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_wrapped_and_partial_coroutines_are_awaited():
    async def greet(name: str) -> str:
        return f"hi {name}"

    @functools.wraps(greet)
    def wrapped(*args, **kwargs):
        return greet(*args, **kwargs)

    assert (await run(tool(name="hi")(functools.partial(greet, name="bo")))).content == "hi bo"
    assert (await run(wrapped, {"name": "al"})).content == "hi al"


@pytest.mark.parametrize(
    "options", [{"timeout_s": 0}, {"max_concurrency": 0}, {"max_result_chars": 99}]
)
async def test_impossible_limits_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        await execute(Registry(), [], **options)
