"""The reward: 1.0 for a well-formed reply with the right calls, 0.0 with a reason for the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tool_registry import ToolCall, ToolSpec
from tooln1_agent.examples import AnyCall, Exact, NoCall, Possible, Target
from tooln1_agent.reward import judge, score

BOOK = ToolSpec(
    name="book",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "nights": {"type": "integer", "default": 1},
            "pets": {"type": "boolean", "default": False},
        },
        "required": ["city"],
    },
)
SEND = ToolSpec(name="send")
TOOLS = (BOOK, SEND)


def book(**arguments: Any) -> ToolCall:
    return ToolCall(name="book", arguments=arguments)


def reply(*calls: ToolCall) -> str:
    listed = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return f"<think>I call.</think><tool_call>{json.dumps(listed)}</tool_call>"


def exactly(*ways: tuple[ToolCall, ...]) -> Exact:
    return Exact(alternatives=ways)


def value(text: str, target: Target) -> float:
    return score(text, tools=TOOLS, target=target).value


ROME = exactly((book(city="Rome", nights=2),))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (book(city="Rome", nights=2), 1.0),
        (book(nights=2, city="Rome"), 1.0),
        (book(city="Rome", nights=2.0), 1.0),
        (book(city="Rome", nights=2, pets=False), 1.0),
        (book(city="Rome", nights="2"), 0.0),
        (book(city="rome", nights=2), 0.0),
        (book(city="Rome"), 0.0),
        (book(city="Rome", nights=2, pets=True), 0.0),
        (book(city="Rome", nights=2, pets=0), 0.0),
        (book(city="Rome", nights=2, extra=None), 0.0),
        (ToolCall(name="Book", arguments={"city": "Rome", "nights": 2}), 0.0),
    ],
)
def test_an_exact_target_takes_the_same_call_and_no_other(call: ToolCall, expected: float) -> None:
    assert value(reply(call), ROME) == expected


def test_a_default_may_be_left_out_or_written() -> None:
    target = exactly((book(city="Rome", nights=1),))
    assert value(reply(book(city="Rome")), target) == 1.0
    assert value(reply(book(city="Rome", nights=True)), target) == 0.0


def test_one_is_not_true_even_inside_a_list() -> None:
    target = exactly((ToolCall(name="send", arguments={"x": [1, {"y": True}]}),))
    right = ToolCall(name="send", arguments={"x": [1.0, {"y": True}]})
    wrong = ToolCall(name="send", arguments={"x": [True, {"y": True}]})
    assert value(reply(right), target) == 1.0
    assert value(reply(wrong), target) == 0.0


def test_a_list_has_an_order() -> None:
    target = exactly((ToolCall(name="send", arguments={"x": [1, 2]}),))
    assert value(reply(ToolCall(name="send", arguments={"x": [2, 1]})), target) == 0.0


def test_calls_have_no_order_but_are_counted() -> None:
    a, b = book(city="Rome"), book(city="Oslo")
    assert value(reply(b, a), exactly((a, b))) == 1.0
    assert value(reply(a, a), exactly((a, b))) == 0.0
    assert value(reply(a, a), exactly((a,))) == 0.0
    assert value(reply(a, a), exactly((a, a))) == 1.0


def test_any_one_of_the_alternatives_is_right_but_no_mixture() -> None:
    a, b, c = book(city="Rome"), book(city="Oslo"), book(city="Bern")
    target = exactly((a, b), (c,))
    assert value(reply(c), target) == 1.0
    assert value(reply(a, b), target) == 1.0
    assert value(reply(a, c), target) == 0.0


def test_no_call_is_met_by_an_answer_and_by_an_empty_list() -> None:
    assert value("<think>No.</think>I cannot.", NoCall()) == 1.0
    assert value(reply(), NoCall()) == 1.0
    assert value(reply(book(city="Rome")), NoCall()) == 0.0


def test_any_call_is_met_by_every_call() -> None:
    assert value(reply(book(city="Rome")), AnyCall()) == 1.0
    assert value("<think>No.</think>I cannot.", AnyCall()) == 0.0


def test_a_possible_target_is_judged_by_acceptable_values() -> None:
    target = Possible.model_validate(
        {"calls": [{"name": "book", "arguments": {"city": ["Rome", "Roma"], "nights": [2, ""]}}]}
    )
    assert value(reply(book(city="roma")), target) == 1.0
    assert value(reply(book(city="Oslo")), target) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        reply(book(city="Rome", nights=2)).removeprefix("<think>I call.</think>"),
        reply(book(city="Rome", nights=2)) + "Done.",
        reply(book(city="Rome", nights=2)).replace("I call.", ""),
        reply(book(city="Rome", nights=2)).removesuffix("</tool_call>"),
    ],
)
def test_right_calls_in_a_faulty_reply_are_worth_nothing(text: str) -> None:
    reward = score(text, tools=TOOLS, target=ROME)
    assert reward.value == 0.0
    assert reward.reason.startswith("format: ")


def test_the_reason_says_what_was_wrong() -> None:
    def reason(text: str, target: Target) -> str:
        return score(text, tools=TOOLS, target=target).reason

    assert reason(reply(book(city="Rome", nights=2)), ROME) == "right"
    assert reason("<think>a</think>No.", ROME) == "calls: one was expected"
    assert reason(reply(ToolCall(name="send", arguments={})), ROME) == (
        "calls: other tools were expected"
    )
    assert reason(reply(book(city="Oslo")), ROME) == "calls: other arguments were expected"
    assert reason(reply(book(city="Oslo")), NoCall()) == "calls: none was expected"


def test_a_call_to_a_tool_that_is_not_on_offer_can_be_judged() -> None:
    call = ToolCall(name="gone", arguments={"x": 1})
    assert judge([call], tools=(), target=exactly((call,))).value == 1.0


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ARGUMENTS = st.dictionaries(st.sampled_from(["city", "nights", "pets", "x"]), SCALARS)
CALLS = st.lists(st.builds(lambda a: book(**a), ARGUMENTS), min_size=1, max_size=3)
TARGETS = st.one_of(
    st.just(NoCall()), st.just(AnyCall()), st.builds(lambda calls: exactly(tuple(calls)), CALLS)
)


@given(st.text(), TARGETS)
def test_no_text_makes_the_score_raise(text: str, target: Target) -> None:
    reward = score(text, tools=TOOLS, target=target)
    assert reward.value in (0.0, 1.0)


@given(CALLS, st.randoms())
def test_neither_the_order_of_calls_nor_that_of_arguments_matters(calls: Any, random: Any) -> None:
    def shuffled(call: ToolCall) -> ToolCall:
        pairs = list(call.arguments.items())
        random.shuffle(pairs)
        return book(**dict(pairs))

    others = [shuffled(call) for call in calls]
    random.shuffle(others)
    assert judge(others, tools=TOOLS, target=exactly(tuple(calls))).value == 1.0


@given(CALLS, CALLS)
def test_exact_agrees_both_ways(a: Any, b: Any) -> None:
    forth = judge(a, tools=TOOLS, target=exactly(tuple(b)))
    back = judge(b, tools=TOOLS, target=exactly(tuple(a)))
    assert forth.value == back.value
