"""The events of calls: what they say while the list arrives, and that the reply agrees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tool_registry import ToolCall
from tooln1_agent.call_list import read_calls
from tooln1_agent.parsing import Reply, StreamParser
from tooln1_agent.reply_events import (
    AnswerDelta,
    ArgumentDelta,
    CallEvent,
    CallFinished,
    CallStarted,
    CallsWithdrawn,
    ThoughtDelta,
)

OPEN = "<think>t</think><tool_call>"
CLOSE = "</tool_call>"
F = '{"name": "f", "arguments": {"x": 1}}'


def events_of(pieces: Sequence[str]) -> tuple[list[CallEvent], Reply]:
    """Feed the pieces; return the events about calls, and the reply."""
    parser = StreamParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    said = [e for e in events if not isinstance(e, ThoughtDelta | AnswerDelta)]
    return said, parser.close()


def test_arguments_come_as_they_are_written() -> None:
    parser = StreamParser()
    assert parser.feed(OPEN + '[{"name": "f"')[1:] == [CallStarted(0, "f")]
    assert parser.feed(', "arguments": {"x"') == [ArgumentDelta(0, '{"x"')]
    assert parser.feed(": [1, ") == [ArgumentDelta(0, ": [1, ")]
    assert parser.feed("2]}") == [ArgumentDelta(0, "2]}")]
    finished = CallFinished(0, ToolCall(name="f", arguments={"x": [1, 2]}))
    assert parser.feed("}, ") == [finished]
    assert parser.feed('{"name": "g", ') == [CallStarted(1, "g")]


def test_arguments_wait_for_a_name_that_comes_after_them() -> None:
    parser = StreamParser()
    assert parser.feed(OPEN + '[{"arguments": {"x": 1}, "na')[1:] == []
    started = [CallStarted(0, "g"), ArgumentDelta(0, '{"x": 1}')]
    assert parser.feed('me": "g"') == started
    assert parser.feed("}") == [CallFinished(0, ToolCall(name="g", arguments={"x": 1}))]


def test_a_name_and_keys_may_be_written_with_escapes() -> None:
    said, reply = events_of(list(OPEN + '[{"n\\u0061me": "\\u00e9", "arguments": {}}]' + CLOSE))
    assert said[0] == CallStarted(0, "é")
    assert reply.calls == (ToolCall(name="é", arguments={}),)


def test_a_name_inside_the_arguments_is_no_name() -> None:
    said, _ = events_of([OPEN, '[{"arguments": {"name": "rm", "arguments": {}}, "name": "ls"}]'])
    assert [e.name for e in said if isinstance(e, CallStarted)] == ["ls"]


@pytest.mark.parametrize(
    "after",
    [
        ', "name": "g"',  # twice
        ', "arguments": {}, "arguments": {}',
        ', "id": "1"',  # a third key
        ', "arguments": []',
        ', "arguments": "{}"',
        ', "arguments": {"x": NaN}}',
        ', "arguments": {"x": "\\ud800"}}',
        ', "arguments": {"x": [}]}',
        ', "arguments" {}',
        ' "arguments": {}',
        ', "arguments": {},}',
        ', "arguments": {}]',
        ', "arguments": {}} {',
        ', "arguments": {}}, 3]',
        ', "arguments": {}}; ]',
        ', "arguments": ' + '{"a":' * 70,
    ],
)
def test_a_malformed_list_withdraws_what_was_begun(after: str) -> None:
    text = OPEN + '[{"name": "f"' + after
    for pieces in ([text], list(text)):
        said, reply = events_of(pieces)
        assert said[0] == CallStarted(0, "f")
        assert said[-1] == CallsWithdrawn()
        assert said.count(CallsWithdrawn()) == 1
        assert reply.calls == ()


def test_nothing_is_withdrawn_where_nothing_was_begun() -> None:
    said, reply = events_of([OPEN, '[{"name": 1, "arguments": {}}]', CLOSE])
    assert said == []
    assert reply.faults == ("bad_call",)


def test_calls_stand_in_spite_of_what_follows_the_list() -> None:
    said, reply = events_of([OPEN, f"[{F}]", CLOSE, "Done."])
    assert reply.faults == ("trailing_text",)
    assert [e.call for e in said if isinstance(e, CallFinished)] == list(reply.calls)
    assert CallsWithdrawn() not in said


SPACE = st.sampled_from(["", " ", "\n", "\t\r"])
VALUE = st.sampled_from(
    [
        "1",
        "-0.5e3",
        "null",
        '"]}"',
        '"\\ud83d\\ude00"',
        '"\\u00e9é😀"',
        '[{"name": "x"}]',
        '"\\\\\\""',
    ]
)


@st.composite
def written_calls(draw: st.DrawFn) -> str:
    """Write a list of calls in one of the many ways of JSON."""

    def joined(parts: list[str], between: str) -> str:
        return f"{draw(SPACE)}{between}{draw(SPACE)}".join(parts)

    def call() -> str:
        values = draw(st.lists(VALUE, max_size=3))
        pairs = [joined([json.dumps(f"k{i}"), value], ":") for i, value in enumerate(values)]
        arguments = "{" + draw(SPACE) + joined(pairs, ",") + draw(SPACE) + "}"
        name_key = draw(st.sampled_from(['"name"', '"n\\u0061me"']))
        name = draw(st.sampled_from(['"f"', '"gé"', '"\\u0066"', '""']))
        parts = [joined([name_key, name], ":"), joined(['"arguments"', arguments], ":")]
        return "{" + draw(SPACE) + joined(draw(st.permutations(parts)), ",") + draw(SPACE) + "}"

    calls = [call() for _ in range(draw(st.integers(0, 3)))]
    return f"{draw(SPACE)}[{draw(SPACE)}{joined(calls, ',')}{draw(SPACE)}]{draw(SPACE)}"


@st.composite
def marred(draw: st.DrawFn) -> str:
    """Write a list of calls and change a few characters of it."""
    text = draw(written_calls())
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 3)))
        marks = [
            "",
            *'[]{}",:<\\x1',
            "\xa0",
            "\ud800",
            "NaN",
            F,
            '"name"',
            '"arguments": {}',
            CLOSE,
        ]
        text = text[:start] + draw(st.sampled_from(marks)) + text[end:]
    return text


def cut(text: str, places: list[int]) -> list[str]:
    bounds = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(bounds)]


PLACES = st.lists(st.integers(0, 300), max_size=12)


@given(written_calls(), PLACES)
def test_the_events_of_a_faultless_reply_are_its_calls(body: str, places: list[int]) -> None:
    text = OPEN + body + CLOSE
    for pieces in (cut(text, places), list(text), [text]):
        said, reply = events_of(pieces)
        assert reply.faults == ()
        assert [e.call for e in said if isinstance(e, CallFinished)] == list(reply.calls)
        started = [(e.position, e.name) for e in said if isinstance(e, CallStarted)]
        assert started == [(at, call.name) for at, call in enumerate(reply.calls)]
        written = [""] * len(reply.calls)
        for event in said:
            if isinstance(event, ArgumentDelta):
                assert event.text
                assert event.text in body
                written[event.position] += event.text
        assert [json.loads(text) for text in written] == [call.arguments for call in reply.calls]
        assert CallsWithdrawn() not in said


@given(marred(), PLACES)
@example(f"[{F}] [{F}]", [])
@example(F, [])
def test_whatever_is_written_the_events_never_contradict_the_reply(
    body: str, places: list[int]
) -> None:
    text = OPEN + body + CLOSE
    for pieces in (cut(text, places), list(text)):
        said, reply = events_of(pieces)
        kinds = [type(event) for event in said]
        if CallsWithdrawn in kinds:
            assert kinds.index(CallsWithdrawn) == len(kinds) - 1
            assert reply.calls == ()
        finished = [event for event in said if isinstance(event, CallFinished)]
        if reply.calls:
            assert [event.call for event in finished] == list(reply.calls)
        open_call: CallStarted | None = None
        written = ""
        for event in said:
            match event:
                case CallStarted():
                    assert open_call is None
                    open_call, written = event, ""
                case ArgumentDelta():
                    assert open_call is not None
                    assert event.position == open_call.position
                    written += event.text
                case CallFinished():
                    assert open_call is not None
                    assert (open_call.position, open_call.name) == (event.position, event.call.name)
                    assert json.loads(written) == event.call.arguments
                    open_call = None


@given(marred())
def test_the_calls_are_those_of_the_json_decoded_whole(body: str) -> None:
    _, reply = events_of([OPEN, body, CLOSE])
    calls, faults = read_calls(body)
    if calls or not faults:
        assert reply == Reply(think="t", calls=calls, faults=tuple(faults))
