"""BFCL's rule of acceptable values: by hand-worked cases, and against BFCL's own verdicts."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tool_registry import ToolCall, ToolSpec
from tooln1_agent.datasets import read_benchmark
from tooln1_agent.examples import Possible, PossibleCall
from tooln1_agent.possible import matches_possible

SPEC = ToolSpec(
    name="f",
    parameters={
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "size": {"type": "number"},
            "flag": {"type": "boolean"},
            "names": {"type": "array", "items": {"type": "string"}},
            "sizes": {"type": "array", "items": {"type": "number"}},
            "place": {"type": "object", "properties": {}},
            "places": {"type": "array", "items": {"type": "object"}},
            "any": {},
            "mixed": {"type": ["string", "null"]},
        },
        "required": [],
    },
)


def f(**arguments: Any) -> ToolCall:
    return ToolCall(name="f", arguments=arguments)


def wants(**arguments: list[Any]) -> PossibleCall:
    return PossibleCall(name="f", arguments=arguments)


def ok(calls: list[ToolCall], *wanted: PossibleCall) -> bool:
    return matches_possible(calls, tools=[SPEC], target=Possible(calls=wanted)) is None


@pytest.mark.parametrize(
    ("name", "value", "options", "expected"),
    [
        ("text", "New-York, N.Y.", ["new york ny"], True),
        ("text", "it's", ['it"s'], True),
        ("text", "Rome", ["Oslo", "ROME"], True),
        ("text", "Rome!", ["Rome"], False),
        ("text", "Rome\n", ["Rome"], False),
        ("text", "", ["Rome", ""], True),
        ("text", ["Rome"], ["Rome"], False),
        ("text", 5, ["5"], False),
        ("text", 5, [5], True),  # the expected value itself breaks the schema
        ("count", 2, [1, 2], True),
        ("count", 2.0, [2], False),
        ("count", "2", [2], False),
        ("count", True, [1], False),
        ("count", "n", ["n"], True),  # a variable's name
        ("size", 2, [2.0], True),
        ("size", 2.5, [2.5], True),
        ("size", 2.5000001, [2.5], False),
        ("flag", True, [True], True),
        ("flag", 1, [True], False),
        ("names", ["a B", "C"], [["ab", "c"]], True),
        ("names", ["c", "ab"], [["ab", "c"]], False),
        ("names", ["c", "ab"], [["ab", "c"], ["c", "ab"]], True),
        ("names", [], [["a"]], False),
        ("names", [], [["a"], ""], True),
        ("names", ["1"], [[1]], False),
        ("names", '["a"]', [["a"]], False),
        ("sizes", [1.5, 2.0], [[1.5, 2.0]], True),
        ("sizes", [1.5, 2], [[1.5, 2.0]], False),
        ("place", {"city": "ROME"}, [{"city": ["Rome"], "zip": ["", 1]}], True),
        ("place", {"city": "Rome", "zip": 2}, [{"city": ["Rome"], "zip": ["", 1]}], False),
        ("place", {"city": "Rome", "x": 1}, [{"city": ["Rome"]}], False),
        ("place", {}, [{"city": ["Rome"]}], False),
        ("place", {"zip": 1.0}, [{"zip": [1]}], True),
        ("places", [{"city": "Rome"}], [[{"city": ["rome"]}]], True),
        ("places", [{"city": "Oslo"}], [[{"city": ["rome"]}]], False),
        ("places", [{"city": "Rome"}] * 2, [[{"city": ["rome"]}]], False),
        ("any", "ROME", ["Rome"], True),
        ("any", 3, [3], True),
        ("any", True, [1], False),
        ("mixed", "ROME", ["Rome"], True),
        ("mixed", None, [None], True),
        ("mixed", None, ["Rome"], False),
    ],
)
def test_a_value_is_acceptable_or_not(
    name: str, value: Any, options: list[Any], expected: bool
) -> None:
    assert ok([f(**{name: value})], wants(**{name: options})) is expected


def test_an_argument_may_be_left_out_only_where_that_is_acceptable() -> None:
    wanted = wants(text=["a"], count=[1, ""])
    assert ok([f(text="a")], wanted)
    assert not ok([f(count=1)], wanted)
    assert not ok([f(text="a", count=2)], wanted)


def test_an_argument_that_nobody_expects_is_wrong() -> None:
    assert not ok([f(text="a", count=1)], wants(text=["a"]))
    assert not ok([f(text="a", other=1)], wants(text=["a"], other=[1]))


def test_what_the_schema_requires_cannot_be_left_out() -> None:
    spec = ToolSpec(
        name="f",
        parameters={
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
    )
    target = Possible(calls=(wants(text=["a", ""]),))
    assert matches_possible([f()], tools=[spec], target=target) == "a required argument is missing"


def test_calls_come_in_any_order_and_each_meets_one() -> None:
    a, b = wants(text=["a"]), wants(text=["b"])
    assert ok([f(text="b"), f(text="a")], a, b)
    assert not ok([f(text="a"), f(text="a")], a, b)
    assert not ok([f(text="a")], a, b)
    assert not ok([f(text="a"), f(text="b"), f(text="a")], a, b)
    assert not ok([], a)


def test_calls_are_taken_greedily_as_bfcl_does() -> None:
    either, only_a = wants(text=["a", "b"]), wants(text=["a"])
    assert ok([f(text="b"), f(text="a")], either, only_a)
    assert not ok([f(text="a"), f(text="b")], either, only_a)


def test_another_tool_is_wrong() -> None:
    assert not ok([ToolCall(name="F", arguments={"text": "a"})], wants(text=["a"]))


def test_a_tool_that_is_not_on_offer_is_judged_by_its_values() -> None:
    target = Possible(calls=(wants(text=["A"]),))
    assert matches_possible([f(text="a")], tools=[], target=target) is None


@pytest.mark.parametrize(
    "parameters",
    [{"properties": 3}, {"properties": {"text": 3}}, {"required": 3}, {"properties": {"text": {}}}],
)
def test_an_odd_schema_is_no_reason_to_fail(parameters: dict[str, Any]) -> None:
    spec = ToolSpec(name="f", parameters=parameters)
    target = Possible(calls=(wants(text=["a"]),))
    assert matches_possible([f(text="b")], tools=[spec], target=target) is not None


# Against BFCL's own checker

DATA = Path(
    os.environ.get("TOOLN1_BENCHMARK_DATA")
    or Path(__file__).resolve().parents[3] / "shared" / "data"
)
VERDICTS = DATA / "bfcl_checker_verdicts.jsonl.gz"
ELSEWHERE = ("simple_java", "simple_javascript")
"""Categories with rules for the types of another language."""
ERASED = "func_dot_to_underscore"
"""The files write tool names with underscores for dots, so this mutation cannot be told."""


def _verdicts() -> Iterator[dict[str, Any]]:
    with gzip.open(VERDICTS, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["category"] not in ELSEWHERE and row["mutation"] != ERASED:
                yield row


def _calls(row: dict[str, Any]) -> list[ToolCall]:
    calls = []
    for entry in row["calls"]:
        ((name, arguments),) = entry.items()
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        calls.append(ToolCall(name=name.replace(".", "_"), arguments=arguments))
    return calls


@pytest.mark.slow
@pytest.mark.skipif(not VERDICTS.exists(), reason="benchmark data absent")
def test_verdicts_agree_with_bfcls_own_checker() -> None:
    files = (DATA / "bfcl_non_live.jsonl.gz", DATA / "bfcl_live.jsonl.gz")
    gold = {row.id: row for path in files for row in read_benchmark(path)}
    total, different = 0, []
    for verdict in _verdicts():
        row = gold[verdict["id"]]
        assert isinstance(row.target, Possible)
        wrong = matches_possible(_calls(verdict), tools=row.tools, target=row.target)
        total += 1
        if (wrong is None) != verdict["valid"]:
            different.append((verdict["id"], verdict["mutation"], wrong))
    assert total > 50_000
    assert different == []
