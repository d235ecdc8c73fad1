"""Benchmark files: their form, what is refused, and how rows become examples."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.records import NOW, after, answer, asked, call, calling, turn
from tool_registry import ToolCall
from tooln1_agent.datasets import (
    BenchmarkRow,
    Skipped,
    import_rows,
    label_from_rows,
    read_benchmark,
)
from tooln1_agent.errors import DataError
from tooln1_agent.examples import AnyCall, Exact, NoCall, Possible, PossibleCall, Verify
from tooln1_agent.replay.store import ReplayStore

WEATHER = {
    "type": "function",
    "function": {
        "name": "geo.weather",
        "description": "Weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


def line(**changes: Any) -> dict[str, Any]:
    return {
        "id": "row-1",
        "source": "made-up",
        "category": "simple",
        "messages": [{"role": "user", "content": "Weather in Rome?"}],
        "tools": [WEATHER],
        "expected": [{"name": "geo.weather", "arguments": {"city": ["Rome"]}}],
        "match": "exact",
    } | changes


def written(tmp_path: Path, *lines: Any, name: str = "rows.jsonl") -> Path:
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def row(tmp_path: Path, **changes: Any) -> BenchmarkRow:
    (found,) = read_benchmark(written(tmp_path, line(**changes)))
    return found


@pytest.fixture
def store() -> Iterator[ReplayStore]:
    with ReplayStore(":memory:") as opened:
        yield opened


# Reading


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_file_is_read_row_by_row_plain_or_compressed(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, line(id="a"), "", line(id="b"), name=name)
    rows = list(read_benchmark(path))
    assert [found.id for found in rows] == ["a", "b"]
    assert rows[0].source == "made-up"
    assert rows[0].tools[0].name == "geo.weather"
    assert rows[0].messages[0].content == "Weather in Rome?"


def test_the_history_of_a_prompt_is_read_with_its_calls(tmp_path: Path) -> None:
    function = {"name": "geo.weather", "arguments": '{"city": "Rome"}'}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rome?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c0", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c0", "content": "sunny"},
    ]
    _, _, called, came_back = row(tmp_path, messages=messages).messages
    made = ToolCall(id="c0", name="geo.weather", arguments={"city": "Rome"})
    assert (called.content, called.tool_calls) == ("", (made,))
    assert (came_back.tool_call_id, came_back.content) == ("c0", "sunny")


def test_each_way_of_matching_is_its_own_kind_of_target(tmp_path: Path) -> None:
    expected = [{"name": "geo.weather", "arguments": {"city": ["Rome", "Roma"], "days": [1, ""]}}]
    listed = [{"name": "geo.weather", "arguments": {"city": [["Rome"]]}}]

    def target(**changes: Any) -> Any:
        return row(tmp_path, **changes).target

    rome = ToolCall(name="geo.weather", arguments={"city": "Rome"})
    inside = ToolCall(name="geo.weather", arguments={"city": ["Rome"]})
    possible = PossibleCall(name="geo.weather", arguments=expected[0]["arguments"])
    assert target() == Exact(alternatives=((rome,),))
    assert target(expected=listed) == Exact(alternatives=((inside,),))
    assert target(expected=[]) == NoCall()
    assert target(expected=expected, match="bfcl_possible_answers") == Possible(calls=(possible,))
    assert target(expected=[], match="no_call") == NoCall()
    assert target(expected=[], match="any_call") == AnyCall()
    given = {"rule": "sold", "given": {"count": 2}}
    assert target(expected=given, match="verify") == Verify(rule="sold", given={"count": 2})


BAD: list[tuple[Any, str]] = [
    ("{", "Expecting property name"),
    ("[]", "the line: expected an object"),
    ({"id": "a"}, "the key 'messages' is missing"),
    (line(match="fuzzy"), "match is 'fuzzy'; expected 'exact'"),
    (line(id=3), "id: Input should be a valid string"),
    (line(messages=[{"role": "robot", "content": "x"}]), "role: Input should be"),
    (line(messages="x"), "messages: expected a list of objects"),
    (line(messages=[{"content": "x"}]), "the key 'role' is missing"),
    (line(messages=[{"role": "user", "tool_calls": [{"function": 3}]}]), "function: expected an"),
    (line(tools=[{"name": "f"}]), "a tool must be"),
    (line(tools=[{"type": "function", "function": {"name": "a b"}}]), "tool name 'a b'"),
    (line(expected=[{"name": "f"}]), "the key 'arguments' is missing"),
    (line(expected=["f"]), "expected: expected a list of objects"),
    (line(expected=[{"name": "f", "arguments": {"x": [1, 2]}}]), "argument 'x' of 'f' is a list"),
    (line(expected=[{"name": "f", "arguments": 3}]), "arguments: expected an object, got 3"),
    (line(expected=[], match="bfcl_possible_answers"), "at least 1 item"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_a_bad_line_is_named_with_what_is_wrong(tmp_path: Path, bad: Any, message: str) -> None:
    path = written(tmp_path, line(), bad)
    rows = read_benchmark(path)
    next(rows)
    with pytest.raises(DataError, match=r"rows\.jsonl', line 2: ") as caught:
        next(rows)
    assert message in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.jsonl"):
        list(read_benchmark(tmp_path / "missing.jsonl"))
    plain = written(tmp_path, line()).rename(tmp_path / "plain.jsonl.gz")
    with pytest.raises(DataError, match=r"plain\.jsonl\.gz"):
        list(read_benchmark(plain))
    cut = written(tmp_path, line(), name="cut.jsonl.gz")
    cut.write_bytes(cut.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz"):
        list(read_benchmark(cut))
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"id": "\xe9"}')
    with pytest.raises(DataError, match=r"latin\.jsonl"):
        list(read_benchmark(latin))


# Importing prompts


def test_an_imported_row_is_an_example(tmp_path: Path, store: ReplayStore) -> None:
    found = row(tmp_path)
    report = import_rows(store, [found], now=NOW)
    assert (report.added, report.known, report.skipped) == (1, 0, {})
    (example,) = store.examples().examples
    assert (example.messages, example.tools) == (found.messages, found.tools)
    assert (example.target, example.source) == (found.target, "dataset")
    (interaction,) = store.interactions()
    assert (interaction.turns, interaction.stop, interaction.agent) == ((), "imported", "made-up")
    assert store.labels()[0].evidence == "made-up simple row-1"


def test_importing_again_changes_nothing(tmp_path: Path, store: ReplayStore) -> None:
    found = row(tmp_path)
    import_rows(store, [found], now=NOW)
    again = import_rows(store, [found, found], now=after(1))
    assert (again.added, again.known) == (0, 2)
    assert (store.count(), len(store.labels())) == (1, 1)


def test_a_row_whose_target_cannot_be_right_is_reported_and_left_out(
    tmp_path: Path, store: ReplayStore
) -> None:
    wrong = row(tmp_path, expected=[{"name": "geo.weather", "arguments": {"city": [3]}}])
    report = import_rows(store, [wrong])
    assert report.added == 0
    assert report.skipped == {"the target does not fit the tools": 1}
    (skipped,) = report.first_skipped
    assert skipped.place == "row-1"
    assert "'geo.weather' do not fit" in skipped.detail
    assert store.count() == 0


def test_an_import_that_was_cut_short_is_finished_by_the_next(
    tmp_path: Path, store: ReplayStore
) -> None:
    found = row(tmp_path)
    import_rows(store, [found], now=NOW)
    (whole,) = store.interactions()
    with ReplayStore(":memory:") as cut:
        cut.begin(whole)  # and then the machine stopped, before the label
        assert import_rows(cut, [found], now=after(1)).added == 1
        assert len(cut.labels()) == 1


def test_only_the_first_skipped_rows_are_kept_but_all_are_counted(store: ReplayStore) -> None:
    rows = (Skipped("a plain answer", "step 1", f"line {n}") for n in range(1000))
    report = import_rows(store, rows)
    assert report.skipped == {"a plain answer": 1000}
    assert [skipped.place for skipped in report.first_skipped] == [f"line {n}" for n in range(5)]


# Labelling traffic


def test_traffic_that_asked_the_prompt_of_a_row_is_labelled(
    tmp_path: Path, store: ReplayStore
) -> None:
    found = row(tmp_path)
    other = found.model_copy(update={"id": "row-2", "messages": (*found.messages,) * 2})
    rome = call("geo.weather", city="Rome")
    right = asked(found.messages, turn(calling(rome)), tools=found.tools)
    wrong = asked(found.messages, answer(), tools=found.tools)
    unasked = asked(found.messages, answer())
    for interaction in (right, wrong, unasked, asked(found.messages, tools=found.tools)):
        store.begin(interaction)
    report = label_from_rows(store, [found, other], author="bench", now=NOW)
    assert (report.added, report.known, report.unmatched) == (2, 0, 1)
    assert [event.interaction for event in store.labels()] == [right.id, wrong.id]
    assert {event.author for event in store.labels()} == {"bench"}
    (example,) = store.examples(holdout_share=0).examples
    assert example.target == found.target
    again = label_from_rows(store, [found, other], now=after(1))
    assert (again.added, again.known) == (0, 2)


def test_traffic_is_not_labelled_with_what_cannot_be_right(
    tmp_path: Path, store: ReplayStore
) -> None:
    wrong = row(tmp_path, expected=[{"name": "geo.weather", "arguments": {"city": [3]}}])
    store.begin(asked(wrong.messages, answer(), tools=wrong.tools))
    report = label_from_rows(store, [wrong])
    assert list(report.refused) == ["row-1"]
    assert store.labels() == ()
