"""The reply: its grammar, every fault, and that streaming and whole text cannot disagree."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tool_registry import ToolCall
from tooln1_agent.examples import NoCall
from tooln1_agent.faults import Fault
from tooln1_agent.json_scan import MAX_DEPTH
from tooln1_agent.parsing import MAX_CHARS, Reply, StreamParser, parse
from tooln1_agent.reply_events import AnswerDelta, CallFinished, ThoughtDelta
from tooln1_agent.reward import score
from tooln1_agent.verdict import verdict

CALL = '{"name": "f", "arguments": {"x": 1}}'


def calling(body: str, *, think: str = "I call.") -> str:
    return f"<think>{think}</think><tool_call>{body}</tool_call>"


# What is right


def test_a_thought_and_a_list_of_calls_are_read() -> None:
    reply = parse(calling(f'[{CALL}, {{"name": "g", "arguments": {{}}}}]'))
    assert reply == Reply(
        think="I call.",
        calls=(ToolCall(name="f", arguments={"x": 1}), ToolCall(name="g", arguments={})),
    )


def test_a_thought_and_a_plain_answer_are_read_without_the_space_around_them() -> None:
    reply = parse(" \n<think> It is\nknown. </think>\n\n Rome,\n of course. \n")
    assert reply == Reply(think="It is\nknown.", answer="Rome,\n of course.")


def test_an_empty_list_says_that_no_call_fits() -> None:
    assert parse(calling("[]")) == Reply(think="I call.")


def test_space_may_stand_between_the_parts() -> None:
    text = f"<think>a</think>\n <tool_call>\n [ {CALL} ] \n</tool_call>\n"
    assert parse(text) == Reply(think="a", calls=(ToolCall(name="f", arguments={"x": 1}),))


def test_a_call_inside_the_thought_is_never_a_call() -> None:
    reply = parse(f"<think>maybe <tool_call>[{CALL}]</tool_call>?</think>No.")
    assert reply.calls == ()
    assert reply.answer == "No."
    assert reply.faults == ()


def test_closing_tags_inside_a_string_are_text() -> None:
    arguments = {"x": '</tool_call>"<think>]} \\'}
    reply = parse(calling(json.dumps([{"name": "f", "arguments": arguments}])))
    assert reply.faults == ()
    assert reply.calls[0].arguments == arguments


def test_a_pair_of_surrogate_escapes_is_one_character() -> None:
    reply = parse(calling('[{"name": "f", "arguments": {"x": "\\ud83d\\ude00"}}]'))
    assert reply.calls[0].arguments == {"x": "😀"}
    assert reply.faults == ()


# What is wrong: each fault by a text of its own

DEEP = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)

FAULTY: list[tuple[Fault, str]] = [
    ("missing_think", "Rome."),
    ("missing_think", f"<tool_call>[{CALL}]</tool_call>"),
    ("missing_think", f"Well: <think>a</think><tool_call>[{CALL}]</tool_call>"),
    ("missing_think", f"<tool_call>[{CALL}]</tool_call><think>a</think>"),
    ("missing_think", ""),
    ("empty_think", "<think> \n</think>Rome."),
    ("unclosed_think", "<think>a"),
    ("unclosed_think", f"<think>a<tool_call>[{CALL}]</tool_call>"),
    ("unclosed_think", "<think>"),
    ("empty_reply", "<think>a</think>"),
    ("empty_reply", "<think>a</think> \n "),
    ("tag_in_answer", "<think>a</think>Rome</think>"),
    ("tag_in_answer", f"<think>a</think>I call <tool_call>[{CALL}]</tool_call>"),
    ("tag_in_answer", "<think>a</think><think>b</think>Rome."),
    ("unclosed_call", f"<think>a</think><tool_call>[{CALL}]"),
    ("unclosed_call", f"<think>a</think><tool_call>[{CALL}]</tool_"),
    ("unclosed_call", f"<think>a</think><tool_call>[{CALL}"),
    ("unclosed_call", "<think>a</think><tool_call>"),
    ("bad_json", calling("[{'name': 'f', 'arguments': {}}]")),
    ("bad_json", calling(f"[{CALL},]")),
    ("bad_json", calling(f"```json\n[{CALL}]\n```")),
    ("bad_json", calling(f"[{CALL}] [{CALL}]")),
    ("bad_json", calling("")),
    ("bad_json", calling(f"[{CALL}}}")),
    ("bad_json", calling('[{"name": "f", "arguments": {"x": "a\nb"}}]')),
    ("duplicate_key", calling('[{"name": "f", "arguments": {"x": 1, "x": 2}}]')),
    ("duplicate_key", calling('[{"name": "f", "name": "f", "arguments": {}}]')),
    ("non_finite", calling('[{"name": "f", "arguments": {"x": NaN}}]')),
    ("non_finite", calling('[{"name": "f", "arguments": {"x": -Infinity}}]')),
    ("non_finite", calling('[{"name": "f", "arguments": {"x": 1e999}}]')),
    ("huge_integer", calling(f'[{{"name": "f", "arguments": {{"x": {"9" * 5000}}}}}]')),
    ("lone_surrogate", calling('[{"name": "f", "arguments": {"x": "\\ud800"}}]')),
    ("lone_surrogate", calling('[{"name": "f", "arguments": {"\\udc00": 1}}]')),
    ("lone_surrogate", calling('[{"name": "\ud800", "arguments": {}}]')),
    ("too_deep", calling(DEEP)),
    ("too_deep", calling("[" * 100_000)),
    ("not_a_list", calling(CALL)),
    ("not_a_list", calling("3")),
    ("not_a_list", calling('"[]"')),
    ("not_a_list", calling("null")),
    ("bad_call", calling("[3]")),
    ("bad_call", calling('[{"name": "f"}]')),
    ("bad_call", calling('[{"name": 1, "arguments": {}}]')),
    ("bad_call", calling('[{"name": "f", "arguments": []}]')),
    ("bad_call", calling('[{"name": "f", "arguments": "{}"}]')),
    ("bad_call", calling('[{"name": "f", "arguments": {}, "id": "x"}]')),
    ("bad_call", calling(f"[{CALL}, 3]")),
    ("trailing_text", calling(f"[{CALL}]") + "Done."),
    ("trailing_text", calling(f"[{CALL}]") + calling(f"[{CALL}]")),
]


@pytest.mark.parametrize(("fault", "text"), FAULTY)
def test_a_fault_is_named(fault: Fault, text: str) -> None:
    assert fault in parse(text).faults


def test_a_text_past_the_limit_is_cut_and_says_so() -> None:
    parser = StreamParser(max_chars=30)
    parser.feed("<think>a</think>" + "x" * 10)
    parser.feed("y" * 10)
    reply = parser.close()
    assert reply.faults == ("too_long",)
    assert reply.answer == "x" * 10 + "y" * 4


def test_every_fault_there_is_has_a_case_here() -> None:
    assert {fault for fault, _ in FAULTY} | {"too_long"} == set(get_args(Fault))


@pytest.mark.parametrize("text", [text for fault, text in FAULTY if fault == "missing_think"][1:2])
def test_calls_stand_in_spite_of_a_missing_thought(text: str) -> None:
    assert parse(text).calls == (ToolCall(name="f", arguments={"x": 1}),)


def test_calls_stand_in_spite_of_what_follows_them() -> None:
    assert parse(calling(f"[{CALL}]") + "Done.").calls


def test_no_call_of_a_list_stands_where_one_is_bad() -> None:
    assert parse(calling(f"[{CALL}, 3]")).calls == ()


def test_an_unclosed_thought_has_no_calls() -> None:
    assert parse(f"<think>a<tool_call>[{CALL}]</tool_call>").calls == ()


# Streaming

PIECES = st.sampled_from(
    [
        *("<think>", "</think>", "<tool_call>", "</tool_call>", "<thi", "</tool_", "<", ">"),
        *("[", "]", "{", "}", '"', "\\", '\\"', ",", ":", " ", "\n", "1", "-1.5e3", "NaN", "null"),
        *('{"name": "f", "arguments": {}}', CALL, f"[{CALL}]", "a", "é", "😀", "\ud800", "\\ud800"),
    ]
)
TEXTS = st.one_of(
    st.text(),
    st.lists(PIECES, max_size=30).map("".join),
    st.lists(PIECES, max_size=12).map(lambda pieces: calling("".join(pieces))),
    st.sampled_from([text for _, text in FAULTY if len(text) < 1000]),
)


@given(TEXTS)
@example("<think>" * 1000)
def test_no_text_makes_the_parser_raise(text: str) -> None:
    reply = parse(text)
    assert reply.faults or reply.calls or reply.answer or reply.think
    assert Reply.model_validate(reply.model_dump()) == reply


@given(TEXTS, st.lists(st.integers(0, 200), max_size=20))
def test_the_reply_is_the_same_however_the_text_is_cut(text: str, cuts: list[int]) -> None:
    parser = StreamParser()
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    for start, end in pairwise(places):
        parser.feed(text[start:end])
    assert parser.close() == parse(text)


@given(TEXTS)
def test_the_reply_is_the_same_letter_by_letter_and_the_events_add_up_to_it(text: str) -> None:
    parser = StreamParser()
    events = [event for letter in text for event in parser.feed(letter)]
    reply = parser.close()
    assert reply == parse(text)
    thought = "".join(e.text for e in events if isinstance(e, ThoughtDelta))
    assert reply.think.startswith(thought)
    if "unclosed_think" not in reply.faults:  # else what might have become a tag comes at the end
        assert thought == reply.think
    answer = "".join(e.text for e in events if isinstance(e, AnswerDelta))
    assert (reply.answer or "").startswith(answer)
    if reply.calls:  # else those that had finished were given up with their list
        assert tuple(e.call for e in events if isinstance(e, CallFinished)) == reply.calls


def test_an_answer_streams_as_it_comes() -> None:
    parser = StreamParser()
    assert parser.feed("<think>a</think>It ") == [ThoughtDelta("a"), AnswerDelta("It")]
    assert parser.feed("is ") == [AnswerDelta(" is")]
    assert parser.feed("<b>so</b>.") == [AnswerDelta(" <b>so</b>.")]
    assert parser.close().answer == "It is <b>so</b>."


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.builds(
            lambda name, arguments: ToolCall(name=name, arguments=arguments),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
            st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"]), max_size=5), JSON, max_size=3
            ),
        ),
        max_size=3,
    ),
    st.booleans(),
)
def test_calls_that_are_written_are_read_back(calls: list[ToolCall], ascii_only: bool) -> None:
    listed = [{"name": call.name, "arguments": call.arguments} for call in calls]
    reply = parse(calling(json.dumps(listed, ensure_ascii=ascii_only)))
    assert reply.faults == ()
    assert [call.key() for call in reply.calls] == [call.key() for call in calls]


FORMAT_DOC = Path(__file__).parents[2] / "docs" / "reply-format.md"
TOO_LONG_FOR_A_TABLE = {
    "huge_integer": f'<think>t</think><tool_call>[{{"x": {"9" * 401}}}]</tool_call>',
    "too_deep": f"<think>t</think><tool_call>{'[' * 65}",
    "too_long": "x" * (MAX_CHARS + 1),
}
DEEDS = {"calls": "runs the calls", "answer": "takes the answer", "unusable": "complains"}


def documented_faults() -> list[tuple[str, str, str]]:
    """Rows of the table in docs/reply-format.md: fault, example, what the runtime does."""
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| ([\w ]+) \| 0 \|$", FORMAT_DOC.read_text(), re.M)
    return [
        (fault, TOO_LONG_FOR_A_TABLE.get(fault, example.strip("`")), deed)
        for fault, example, deed in rows
    ]


def test_every_fault_is_documented() -> None:
    assert [fault for fault, _, _ in documented_faults()] == list(get_args(Fault))


@pytest.mark.parametrize(("fault", "example", "deed"), documented_faults())
def test_the_documented_examples_are_true(fault: str, example: str, deed: str) -> None:
    reply = parse(example)
    assert fault in reply.faults
    if fault != "too_long":
        assert reply.faults == (fault,)
        assert DEEDS[verdict(reply)] == deed
    assert score(example, tools=(), target=NoCall()).value == 0.0
