"""`Verify` targets: rules judge results, recorded or fresh; only what is replay-safe runs again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agent.records import TOOLS, calling
from tests.agent.records import call as call_of
from tool_registry import Registry, RunContext, ToolCall, ToolResult, tool
from tooln1_agent.agent import Agent
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.errors import ConfigError
from tooln1_agent.examples import Exact, Verify
from tooln1_agent.limits import Limits
from tooln1_agent.replay.labels import target_problem
from tooln1_agent.reward import Score, judge, score
from tooln1_agent.rules import Outcome, Rule, named_rules
from tooln1_agent.verifier import score_by

ADD = call_of("add", to="shelf", count=2)
OK_SCHEMA = {
    "properties": {
        "calls": {"maxItems": 1, "items": {"properties": {"ok": {"const": True}}}},
    }
}


def result(content: str = "fine", *, call: ToolCall = ADD, ok: bool = True) -> ToolResult:
    return ToolResult(call=call, content=content, ok=ok, error=None if ok else "exception")


def verdict(target: Verify, results: Sequence[ToolResult], *rules: Rule) -> tuple[float, str]:
    calls = [each.call for each in results]
    return judge(calls, tools=TOOLS, target=target, results=results, rules=named_rules(rules))


def holds(outcome: Outcome) -> bool | str:
    """Whether the shelf holds what is wanted."""
    content = outcome.as_json()["calls"][-1]["content"]
    if content.get("shelf") == outcome.given["shelf"]:
        return True
    return f"the shelf holds {content.get('shelf')}, not {outcome.given['shelf']}"


# Rules over results


def test_a_rule_judges_what_came_of_the_calls() -> None:
    target = Verify(rule="holds", given={"shelf": 2})
    assert verdict(target, [result('{"shelf": 2}')], holds) == (1.0, "right")
    assert verdict(target, [result('{"shelf": 4}')], holds) == (
        0.0,
        "rule: the shelf holds 4, not 2",
    )


@pytest.mark.parametrize(
    ("content", "schema", "right"),
    [
        ("fine", OK_SCHEMA, True),
        ("fine", {"properties": {"calls": {"minItems": 2}}}, False),
        (
            '{"left": 3}',
            {"properties": {"calls": {"contains": {"properties": {"content": {
                "properties": {"left": {"const": 3}}, "required": ["left"], "type": "object",
            }}}}}},
            True,
        ),
        (
            "3 left",
            {"properties": {"calls": {"items": {"properties": {"content": {"type": "object"}}}}}},
            False,
        ),
    ],
)  # fmt: skip
def test_a_schema_can_judge_without_any_code(
    content: str, schema: dict[str, Any], right: bool
) -> None:
    value, reason = verdict(Verify(rule="schema", given={"schema": schema}), [result(content)])
    assert (value == 1.0) is right
    assert right or reason.startswith("rule: calls")


def test_content_that_is_no_json_is_text_and_nan_is_none() -> None:
    contents = ["[1, 2]", "plain", "NaN", "[" * 100_000, "9" * 5000]
    data = Outcome(tuple(map(result, contents))).as_json()
    assert [entry["content"] for entry in data["calls"]] == [[1, 2], *contents[1:]]


def test_without_results_nothing_is_right() -> None:
    target = Verify(rule="schema", given={"schema": {}})
    text = calling(ADD)
    for reward in (
        score(text, tools=TOOLS, target=target),
        score(text, tools=TOOLS, target=target, format="tool_n1"),
        judge([ADD], tools=TOOLS, target=target),
    ):
        assert reward.value == 0.0
        assert "not run" in reward.reason


def test_a_reply_without_calls_is_never_right_whatever_the_rule_says() -> None:
    target = Verify(rule="anything")
    rules = named_rules([_anything])
    assert judge([], tools=TOOLS, target=target, results=(), rules=rules).value == 0.0
    assert score("<think>t</think>Done.", tools=TOOLS, target=target).value == 0.0


def _anything(outcome: Outcome) -> bool:
    return True


def test_a_rule_without_an_opinion_accepts_nothing() -> None:
    def silent(outcome: Outcome) -> None:
        return None

    assert verdict(Verify(rule="silent"), [result()], silent)[0] == 0.0


def test_a_rule_that_fails_is_worth_nothing_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    target = Verify(rule="holds", given={})
    value, reason = verdict(target, [result('{"shelf": 2}')], holds)
    assert value == 0.0
    assert "KeyError" in reason
    assert "'holds' failed" in caplog.text


def test_a_rule_that_is_not_known_is_named() -> None:
    value, reason = verdict(Verify(rule="other"), [result()], holds)
    assert (value, reason) == (0.0, "rule: 'other' is not known here; known: schema, holds")


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.text(), st.booleans()), min_size=1, max_size=3),
    st.sampled_from([OK_SCHEMA, {"properties": {"calls": {"uniqueItems": True}}}]),
)
def test_judging_results_never_raises(
    contents: list[tuple[str, bool]], schema: dict[str, Any]
) -> None:
    results = [result(content, ok=ok) for content, ok in contents]
    assert verdict(Verify(rule="schema", given={"schema": schema}), results)[0] in (0.0, 1.0)


def test_rules_need_names_of_their_own() -> None:
    with pytest.raises(ConfigError, match="no name"):
        named_rules([lambda outcome: True])
    with pytest.raises(ConfigError, match="'holds'"):
        named_rules([holds, holds])


@pytest.mark.parametrize("given", [{}, {"schema": "x"}, {"schema": {"type": "array"}}])
def test_a_schema_that_cannot_be_used_is_no_target(given: dict[str, Any]) -> None:
    assert target_problem(Verify(rule="schema", given=given), TOOLS)
    assert target_problem(Verify(rule="schema", given={"schema": OK_SCHEMA}), TOOLS) is None


def test_where_no_tool_was_offered_nothing_can_be_verified() -> None:
    assert target_problem(Verify(rule="holds"), ())


# Running the calls


class Shelf:
    """Dependencies: what lies on a shelf."""

    def __init__(self) -> None:
        self.held = 0
        self.is_open = True


@tool(replay_safe=True)
def add(context: RunContext[Shelf], count: int, to: str = "shelf") -> dict[str, int]:
    """Put things on the shelf."""
    assert context.deps.is_open
    context.deps.held += count
    return {to: context.deps.held}


@tool
def sell(count: int) -> str:
    """Sell things, for good."""
    raise AssertionError("a judge must not run this")


@tool(replay_safe=True)
async def wait(count: int) -> str:
    """Never come back."""
    import asyncio

    await asyncio.Event().wait()
    return "back"


class World:
    """Counts the shelves that were opened."""

    def __init__(self) -> None:
        self.shelves: list[Shelf] = []

    @contextmanager
    def scratch(self) -> Iterator[Shelf]:
        self.shelves.append(Shelf())
        yield self.shelves[-1]
        self.shelves[-1].is_open = False

    def verifier(self, *, limits: Limits = Limits()) -> Score:
        agent = Agent(
            ScriptedEngine([]),
            tools=[add, sell, wait],
            rules=[holds, _anything],
            scratch=self.scratch,
            limits=limits,
        )
        return score_by(agent)


SPECS = Registry([add, sell, wait]).specs
WANTS_2 = Verify(rule="holds", given={"shelf": 2})


def test_the_calls_of_a_reply_are_run_and_judged() -> None:
    verifier = World().verifier()
    right, wrong = calling(call_of("add", count=2)), calling(call_of("add", count=3))
    assert verifier(right, tools=SPECS, target=WANTS_2).value == 1.0
    reward = verifier(wrong, tools=SPECS, target=WANTS_2)
    assert reward == (0.0, "rule: the shelf holds 3, not 2")


async def test_replies_can_be_judged_inside_an_event_loop() -> None:
    text = calling(call_of("add", count=2))
    assert World().verifier()(text, tools=SPECS, target=WANTS_2).value == 1.0


def test_no_reply_sees_what_another_did() -> None:
    world = World()
    verifier = world.verifier()
    for _ in range(3):
        text = calling(call_of("add", count=2))
        assert verifier(text, tools=SPECS, target=WANTS_2).value == 1.0
    assert [(shelf.held, shelf.is_open) for shelf in world.shelves] == [(2, False)] * 3


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([call_of("sell", count=1)], "not marked replay_safe"),
        ([call_of("add", count=2), call_of("sell", count=1)], "'sell' is not marked"),
        ([call_of("burn")], "'burn' is no tool that was offered"),
    ],
)
def test_what_must_not_run_again_is_not_run_nor_anything_beside_it(
    calls: list[ToolCall], reason: str
) -> None:
    world = World()
    target = Verify(rule="_anything")
    reward = world.verifier()(calling(*calls), tools=SPECS, target=target)
    assert reward.value == 0.0
    assert reason in reward.reason
    assert world.shelves == []


def test_a_tool_that_was_not_offered_for_the_request_is_not_run() -> None:
    world = World()
    reward = world.verifier()(calling(call_of("add", count=2)), tools=SPECS[1:], target=WANTS_2)
    assert reward.value == 0.0
    assert world.shelves == []


def test_a_tool_that_hangs_or_is_called_wrongly_is_a_failed_result_for_the_rule() -> None:
    all_ok = Verify(rule="schema", given={"schema": OK_SCHEMA})
    verifier = World().verifier(limits=Limits(tool_timeout_s=0.01))
    for call in (call_of("wait", count=1), call_of("add", count="many")):
        assert verifier(calling(call), tools=SPECS, target=all_ok).value == 0.0


@pytest.mark.parametrize(
    "text",
    ["", "<think>t</think>Done.", "<think>t</think><tool_call>[]</tool_call>", "add(2)", "\ud83d"],
)
def test_a_reply_that_calls_nothing_opens_nothing(text: str) -> None:
    world = World()
    assert world.verifier()(text, tools=SPECS, target=WANTS_2).value == 0.0
    assert world.shelves == []


def test_other_targets_are_judged_as_ever() -> None:
    world = World()
    call = call_of("add", count=2)
    target = Exact(alternatives=((call,),))
    for text in (calling(call), calling(call, call), json.dumps("no reply")):
        assert world.verifier()(text, tools=SPECS, target=target) == score(
            text, tools=SPECS, target=target
        )
    assert world.shelves == []
