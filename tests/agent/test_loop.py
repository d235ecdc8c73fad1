"""The agent loop, with scripted models and tools that really run."""

import asyncio
from contextlib import aclosing

import pytest

from tool_registry import RunContext, ToolRetry
from tool_registry.registry import Registry
from tooln1_agent.engines.http import HttpEngine
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.errors import ContextTooLong
from tooln1_agent.limits import Limits
from tooln1_agent.loop import new_interaction, one_turn, run_interaction
from tooln1_agent.messages import Message, Sampling
from tooln1_agent.parsing import parse
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.reply_events import AnswerDelta, CallFinished, ThoughtDelta
from tooln1_agent.run_events import RunResult, ToolsFinished, TurnFinished
from tooln1_agent.transcript import prompt_of_turn

ADD = '<think>add</think><tool_call>[{"name": "add", "arguments": {"a": 1, "b": 2}}]</tool_call>'
ANSWER = "<think>done</think>It is 3."


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@pytest.fixture
def store():
    with ReplayStore(":memory:") as opened:
        yield opened


def begin(engine, registry):
    return new_interaction(
        engine, [Message(role="user", content="1 + 2?")], tools=registry.specs, agent="test"
    )


async def events_of(replies, *tools, **options):
    engine = replies if isinstance(replies, ScriptedEngine) else ScriptedEngine(replies)
    registry = Registry(tools or (add,))
    events = run_interaction(engine, begin(engine, registry), registry=registry, **options)
    return [event async for event in events]


async def result_of(replies, *tools, **options):
    events = await events_of(replies, *tools, **options)
    assert isinstance(events[-1], RunResult)
    return events[-1]


def test_an_interaction_records_the_prompts_of_the_engine_that_serves_it():
    engines = [ScriptedEngine([]), HttpEngine("http://host/v1", "m")]
    versions = [begin(engine, Registry([])).prompt_version for engine in engines]
    assert versions == ["tooln1-chatml-1", "chat-1"]


async def test_calls_run_and_their_results_reach_the_model(store):
    engine = ScriptedEngine([ADD, ANSWER])
    result = await result_of(engine, recorder=store)
    assert (result.output, result.stop) == ("It is 3.", "answer")
    said, came_back = engine.requests[1].messages[-2:]
    assert came_back.content == "3"
    assert came_back.tool_call_id == said.tool_calls[0].id
    assert said.tool_calls[0].id.startswith("call_")


async def test_the_record_is_the_result(store):
    result = await result_of([ADD, ANSWER], recorder=store)
    assert store.interaction(result.interaction.id) == result.interaction


async def test_every_prompt_can_be_rebuilt_from_the_record(store):
    engine = ScriptedEngine([ADD, "<think>x</think><tool_call>oops</tool_call>", ADD, ANSWER])
    result = await result_of(engine, recorder=store)
    record = store.interaction(result.interaction.id)
    shown = [request.messages for request in engine.requests]
    assert shown == [prompt_of_turn(record, index) for index in range(4)]


async def test_events_come_in_order_and_add_up():
    events = await events_of([ADD, ANSWER])
    kinds = [type(event) for event in events]
    call, turn, tools = (kinds.index(k) for k in (CallFinished, TurnFinished, ToolsFinished))
    assert call < turn < tools < kinds.index(AnswerDelta)
    assert kinds[-1] is RunResult
    assert "".join(e.text for e in events if isinstance(e, AnswerDelta)) == "It is 3."
    assert "".join(e.text for e in events if isinstance(e, ThoughtDelta)) == "adddone"


@pytest.mark.parametrize("chunk_chars", [1, 5, 1000])
@pytest.mark.parametrize("text", ["<think>t</think>", "<think>t</think>ends in <to", "plain", ADD])
async def test_streamed_events_and_reply_agree_for_any_cut(text, chunk_chars):
    engine = ScriptedEngine([text], chunk_chars=chunk_chars)
    events = [e async for e in one_turn(engine, begin(engine, Registry([add])))]
    answer = "".join(e.text for e in events if isinstance(e, AnswerDelta))
    (turn,) = events[-1].interaction.turns
    calls = tuple(e.call for e in events if isinstance(e, CallFinished))
    assert (turn.reply.answer or "") == answer
    assert turn.reply.calls == calls
    assert turn.reply.faults == parse(text).faults


class Diary:
    """Writes down the order of things."""

    def __init__(self):
        self.entries = []

    def begin(self, interaction):
        self.entries.append("begin")

    def add_turn(self, interaction_id, index, turn):
        self.entries.append(f"turn {index}")

    def set_results(self, interaction_id, index, results):
        self.entries.append(f"results {index}: {[result.error for result in results]}")

    def finish(self, interaction_id, stop):
        self.entries.append(f"finish {stop}")


async def test_a_turn_is_recorded_before_its_tools_run_and_its_text_is_out():
    diary = Diary()

    def look() -> str:
        """Look."""
        diary.entries.append("tool")
        return "seen"

    call = '<think>go</think><tool_call>[{"name": "look", "arguments": {}}]</tool_call>'
    engine, registry = ScriptedEngine([call, ANSWER]), Registry([look])
    async for event in run_interaction(
        engine, begin(engine, registry), registry=registry, recorder=diary
    ):
        if isinstance(event, CallFinished | AnswerDelta):
            diary.entries.append(type(event).__name__)
    answer_at = diary.entries.index("turn 1")
    assert diary.entries[:5] == ["begin", "turn 0", "CallFinished", "tool", "results 0: [None]"]
    assert diary.entries[answer_at:] == ["turn 1", "AnswerDelta", "finish answer"]


async def test_an_empty_list_ends_with_a_plain_refusal():
    result = await result_of(
        ["<think>Hm.\nNo tool books flights.</think><tool_call>[]</tool_call>"]
    )
    assert result.stop == "no_call"
    assert result.output == "No function fits this request. No tool books flights."


async def test_the_limit_on_turns_ends_with_what_there_is():
    result = await result_of([ADD] * 3, limits=Limits(max_turns=2))
    assert result.stop == "max_turns"
    assert "- add: 3" in result.output
    assert [bool(turn.results) for turn in result.interaction.turns] == [True, True]


async def test_the_limit_on_tokens_forbids_another_turn():
    result = await result_of([ADD] * 3, limits=Limits(max_total_tokens=10))
    assert (result.stop, len(result.interaction.turns)) == ("max_tokens", 1)


async def test_a_reply_that_is_cut_ends_the_run_with_what_was_said():
    long = "<think>t</think>" + "word " * 50
    result = await result_of([long], sampling=Sampling(max_tokens=10))
    assert result.stop == "max_tokens"
    assert result.output.startswith("word word")
    assert result.interaction.turns[0].complaint == ""


async def test_a_faulty_reply_is_complained_about_and_never_repeated():
    engine = ScriptedEngine(["<think>x</think><tool_call>[{'name'}]</tool_call>", ANSWER])
    result = await result_of(engine)
    assert result.stop == "answer"
    complaint = engine.requests[1].messages[-1]
    assert complaint.role == "tool"
    assert "bad_json" in complaint.content
    assert "{'name'}" not in str(engine.requests[1].messages)


async def test_replies_that_stay_faulty_end_the_run():
    result = await result_of(["<think>x</think>"] * 5, limits=Limits(max_faulty_replies=1))
    assert (result.stop, len(result.interaction.turns)) == ("faulty_reply", 2)


async def test_an_answer_that_holds_a_tag_is_not_passed_off_as_one():
    result = await result_of([f"<think>x</think>Sure. {ADD}", ANSWER])
    assert result.output == "It is 3."


@pytest.mark.parametrize("text", [ADD.removeprefix("<think>add</think>"), ADD + " bye"])
async def test_clear_calls_run_in_spite_of_a_fault_that_stays_in_the_log(text):
    result = await result_of([text, ANSWER])
    turn = result.interaction.turns[0]
    assert turn.reply.faults
    assert turn.results[0].content == "3"


async def test_tools_are_told_how_often_the_model_was_corrected():
    seen = []

    def guess(context: RunContext, n: int) -> str:
        """Guess."""
        seen.append((context.retry, context.deps))
        if n < 3:
            raise ToolRetry("higher")
        return "right"

    def reply(n):
        call = f'{{"name": "guess", "arguments": {{"n": {n}}}}}'
        return f"<think>{n}</think><tool_call>[{call}]</tool_call>"

    await result_of([reply(1), reply(2), reply(3), ANSWER], guess, deps="mine")
    assert seen == [(0, "mine"), (1, "mine"), (2, "mine")]


async def test_each_model_call_asks_which_adapter_serves():
    versions = iter(["v0001-a", "v0002-b"])
    result = await result_of([ADD, ANSWER], adapter=lambda: next(versions))
    assert [t.completion.adapter for t in result.interaction.turns] == ["v0001-a", "v0002-b"]


async def test_an_engine_error_is_recorded_and_raised(store):
    engine = ScriptedEngine([ADD], context_limit=10)
    registry = Registry([add])
    interaction = begin(engine, registry)
    with pytest.raises(ContextTooLong):
        async for _ in run_interaction(engine, interaction, registry=registry, recorder=store):
            pass
    assert store.interaction(interaction.id).stop == "error"


async def test_cancelling_leaves_no_call_without_a_result(store):
    started, ended = asyncio.Event(), []

    async def wait() -> str:
        """Wait."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return "never"

    call = '<think>w</think><tool_call>[{"name": "wait", "arguments": {}}]</tool_call>'
    engine, registry = ScriptedEngine([call]), Registry([wait])
    interaction = begin(engine, registry)

    async def consume():
        async for _ in run_interaction(engine, interaction, registry=registry, recorder=store):
            pass

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    record = store.interaction(interaction.id)
    assert ended == [True]
    assert record.stop == "cancelled"
    assert [result.error for result in record.turns[0].results] == ["cancelled"]


async def test_a_reader_who_leaves_cancels_the_run_and_closes_the_model_call():
    diary, closed = Diary(), []

    class Watched(ScriptedEngine):
        async def stream(self, request):
            try:
                async for piece in super().stream(request):
                    yield piece
            finally:
                closed.append(True)

    engine, registry = Watched(["<think>a long thought</think>" + "x" * 100]), Registry([add])
    run = run_interaction(engine, begin(engine, registry), registry=registry, recorder=diary)
    async with aclosing(run):
        async for event in run:
            if isinstance(event, AnswerDelta):
                break
    assert closed == [True]
    assert diary.entries == ["begin", "finish cancelled"]


async def test_in_client_mode_calls_are_handed_over_unrun(store):
    engine = ScriptedEngine([ADD])
    interaction = begin(engine, Registry([add]))
    events = [event async for event in one_turn(engine, interaction, recorder=store)]
    assert events[-1].stop == "client_calls"
    (turn,) = store.interaction(interaction.id).turns
    assert turn.results == ()
    assert [e.call for e in events if isinstance(e, CallFinished)] == list(turn.reply.calls)


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        (ANSWER, "answer"),
        ("<think>n</think><tool_call>[]</tool_call>", "no_call"),
        ("<think>n</think>", "faulty_reply"),
    ],
)
async def test_a_client_turn_ends_after_one_model_call(text, stop):
    engine = ScriptedEngine([text])
    events = [event async for event in one_turn(engine, begin(engine, Registry([add])))]
    assert events[-1].stop == stop
