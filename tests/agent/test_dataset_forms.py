"""Published forms of data sets: what becomes an example, and what is skipped and why."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tool_registry import ToolCall, ToolSpec
from tooln1_agent.datasets import BenchmarkRow, Skipped, import_rows, read_rows
from tooln1_agent.datasets.forms import Form
from tooln1_agent.errors import DataError
from tooln1_agent.examples import Exact, NoCall
from tooln1_agent.replay.store import ReplayStore

# One sound entry of each form

XLAM = {
    "id": 7,
    "query": "Rain in Oslo and Bergen?",
    "tools": json.dumps(
        [
            {
                "name": "rain",
                "description": "Rain in a town.",
                "parameters": {
                    "town": {"type": "str", "description": "Which town."},
                    "days": {"type": "int, optional", "description": "How many.", "default": 3},
                },
            }
        ]
    ),
    "answers": json.dumps(
        [
            {"name": "rain", "arguments": {"town": "Oslo"}},
            {"name": "rain", "arguments": {"town": "Bergen", "days": 2}},
        ]
    ),
}
FARES = {
    "name": "Fares/find v2.1",
    "description": "Find fares.",
    "parameters": {
        "type": "dict",
        "properties": {
            "to": {"type": "string"},
            "stops": {"type": "array", "items": {"type": "int"}},
            "fast": {"type": "bool"},
        },
        "required": ["to"],
    },
    "required": None,
}
TOOLACE = {
    "system": "You compose functions. The current time is 2031-05-04 10:00.\nHere is a list of "
    f"functions [in JSON] that you can invoke:\n{json.dumps([FARES])}.\nAnswer as [f(a=1)].",
    "conversations": [
        {"from": "user", "value": "To Graz by 2 and 3?"},
        {"from": "assistant", "value": "[Fares/find v2.1(to='Graz', stops=[2, 3], fast=True)]"},
        {"from": "tool", "value": '[{"name": "Fares/find v2.1", "results": {"eur": 20}}]'},
        {"from": "assistant", "value": "20 euros."},
        {"from": "user", "value": "And to Linz?"},
        {"from": "assistant", "value": '[Fares/find v2.1(to="Linz")]'},
    ],
}
LAMP = {
    "type": "function",
    "function": {
        "name": "lamp",
        "description": "Switch a lamp.",
        "parameters": {
            "type": "object",
            "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}},
            "required": ["room", "on"],
        },
    },
}


def lamp_call(room: str, call_id: str = "c1") -> dict[str, Any]:
    function = {"name": "lamp", "arguments": json.dumps({"room": room, "on": True})}
    return {"id": call_id, "type": "function", "function": function}


OPENAI = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Light in the hall"}]},
        {"role": "assistant", "content": None, "tool_calls": [lamp_call("hall")]},
        {"role": "tool", "tool_call_id": "c1", "content": "on"},
        {"role": "assistant", "content": "It is on."},
    ],
    "tools": [LAMP],
    "parallel_tool_calls": False,
}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "Light in hall and attic"},
        {
            "from": "function_call",
            "value": json.dumps(
                [
                    {"name": "lamp", "arguments": {"room": "hall", "on": True}},
                    {"name": "lamp", "arguments": '{"room": "attic", "on": true}'},
                ]
            ),
        },
        {"from": "observation", "value": '["on", {"state": "on"}]'},
        {"from": "gpt", "value": "Both are on."},
    ],
    "system": "Be brief.",
    "tools": json.dumps([LAMP["function"]]),
}
SOUND: dict[Form, dict[str, Any]] = {
    "xlam": XLAM,
    "toolace": TOOLACE,
    "openai": OPENAI,
    "sharegpt": SHAREGPT,
}


def read(
    tmp_path: Path, form: Form, *entries: Any, name: str = "rows.jsonl"
) -> list[BenchmarkRow | Skipped]:
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in entries]
    path = tmp_path / name
    data = b"\n".join(lines)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return list(read_rows(path, form))


def rows(found: list[BenchmarkRow | Skipped]) -> list[BenchmarkRow]:
    return [each for each in found if isinstance(each, BenchmarkRow)]


def skipped(found: list[BenchmarkRow | Skipped]) -> list[Skipped]:
    return [each for each in found if isinstance(each, Skipped)]


def way(row: BenchmarkRow) -> list[tuple[str, dict[str, Any]]]:
    assert isinstance(row.target, Exact)
    (calls,) = row.target.alternatives
    assert not any(call.id for call in calls)
    return [(call.name, call.arguments) for call in calls]


# What is taken


def test_an_xlam_row_is_a_question_with_its_calls(tmp_path: Path) -> None:
    (row,) = rows(read(tmp_path, "xlam", XLAM))
    assert (row.id, row.source) == ("7", "xlam")
    assert [(m.role, m.content) for m in row.messages] == [("user", "Rain in Oslo and Bergen?")]
    assert way(row) == [("rain", {"town": "Oslo"}), ("rain", {"town": "Bergen", "days": 2})]
    assert row.tools[0].parameters == {
        "type": "object",
        "properties": {
            "town": {"type": "string", "description": "Which town."},
            "days": {"type": "integer", "description": "How many.", "default": 3},
        },
        "required": ["town"],
    }


def test_an_xlam_row_without_answers_says_that_nothing_is_called(tmp_path: Path) -> None:
    (row,) = rows(read(tmp_path, "xlam", XLAM | {"answers": "[]"}))
    assert row.target == NoCall()


def test_each_calling_step_of_toolace_is_asked_of_what_led_to_it(tmp_path: Path) -> None:
    found = read(tmp_path, "toolace", TOOLACE)
    first, second = rows(found)
    assert skipped(found) == [Skipped("an answer after tool results", "step 2", "line 1")]
    assert way(first) == [("Fares_find_v2.1", {"to": "Graz", "stops": [2, 3], "fast": True})]
    assert way(second) == [("Fares_find_v2.1", {"to": "Linz"})]
    assert [m.role for m in first.messages] == ["system", "user"]
    assert first.messages[0].content == "The current time is 2031-05-04 10:00."
    roles = ["system", "user", "assistant", "tool", "assistant", "user"]
    assert [m.role for m in second.messages] == roles
    said, came_back = second.messages[2:4]
    assert said.tool_calls[0].id == came_back.tool_call_id
    assert first.tools[0].parameters == {
        "type": "object",
        "properties": {
            "to": {"type": "string"},
            "stops": {"type": "array", "items": {"type": "integer"}},
            "fast": {"type": "boolean"},
        },
        "required": ["to"],
    }


def test_an_openai_conversation_keeps_its_tools_as_they_are(tmp_path: Path) -> None:
    found = read(tmp_path, "openai", OPENAI)
    (row,) = rows(found)
    assert [s.reason for s in skipped(found)] == ["an answer after tool results"]
    assert way(row) == [("lamp", {"room": "hall", "on": True})]
    assert [(m.role, m.content) for m in row.messages] == [
        ("system", "Be brief."),
        ("user", "Light in the hall"),
    ]
    assert row.tools == (ToolSpec.from_openai(LAMP),)


def test_the_results_of_several_sharegpt_calls_go_to_each(tmp_path: Path) -> None:
    again = {"from": "human", "value": "Kitchen too"}
    kitchen = {"name": "lamp", "arguments": {"room": "kitchen", "on": True}}
    call = {"from": "function_call", "value": json.dumps(kitchen)}
    said = [*SHAREGPT["conversations"], again, call]
    first, second = rows(read(tmp_path, "sharegpt", SHAREGPT | {"conversations": said}))
    hall, attic = way(first)
    assert (hall[1]["room"], attic[1]["room"]) == ("hall", "attic")
    assert first.messages[0].content == "Be brief."
    called = second.messages[2].tool_calls
    results = {m.tool_call_id: m.content for m in second.messages if m.role == "tool"}
    assert results == {called[0].id: "on", called[1].id: '{"state": "on"}'}


@pytest.mark.parametrize("form", SOUND)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.json"])
def test_lines_and_lists_are_read_alike(tmp_path: Path, form: Form, name: str) -> None:
    entry = SOUND[form]
    entries = [[entry, entry]] if name == "rows.json" else [entry, b"", entry]
    expected = rows(read(tmp_path, form, entry))
    assert rows(read(tmp_path, form, *entries, name=name)) == expected * 2


@pytest.mark.parametrize("form", SOUND)
def test_imported_rows_are_examples_and_importing_again_adds_nothing(
    tmp_path: Path, form: Form
) -> None:
    found = read(tmp_path, form, SOUND[form])
    with ReplayStore(":memory:") as store:
        assert import_rows(store, found).added == len(rows(found))
        assert import_rows(store, read(tmp_path, form, SOUND[form])).added == 0
        examples = store.examples().examples
    taken = [(row.messages, row.target) for row in rows(found)]
    assert all((example.messages, example.target) in taken for example in examples)
    assert len(examples) == len(rows(found))
    assert all(example.source == "dataset" and example.imported for example in examples)


# What is skipped


def said(*texts: str) -> dict[str, Any]:
    """Make a ToolACE entry: user and assistant in turn."""
    speakers = ("user", "assistant") * len(texts)
    listed = [{"from": s, "value": t} for s, t in zip(speakers, texts, strict=False)]
    return TOOLACE | {"conversations": listed}


def chat(*messages: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x"}, *messages], "tools": [LAMP]} | changes


def called(value: Any) -> dict[str, Any]:
    text = value if isinstance(value, str) else json.dumps(value)
    return SHAREGPT | {
        "conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": text}]
    }


ANSWER = {"role": "assistant", "content": "no"}
TWO = {"role": "assistant", "tool_calls": [lamp_call("a", "c1"), lamp_call("b", "c2")]}

ODD: list[tuple[Form, Any, str]] = [
    ("xlam", b'{"id": 1,', "broken JSON"),
    ("xlam", b'{"id": NaN}', "broken JSON"),
    ("xlam", b"[" * 100_000, "broken JSON"),
    ("xlam", b'{"query": "\xff"}', "not UTF-8"),
    ("xlam", [1], "not of this form"),
    ("xlam", {"id": 1, "query": "x", "tools": "[]"}, "not of this form"),
    ("xlam", XLAM | {"query": 3}, "not of this form"),
    ("xlam", XLAM | {"tools": "[{"}, "a tool cannot be read"),
    ("xlam", XLAM | {"tools": [{"name": 3}]}, "a tool cannot be read"),
    ("xlam", XLAM | {"tools": [{"name": "f", "parameters": {"x": {}, "y": 3}}]}, "a tool cannot"),
    ("xlam", XLAM | {"tools": [{"name": "f"}, {"name": "f ", "description": "x"}]}, "a tool"),
    ("xlam", XLAM | {"answers": "{}"}, "a call cannot be read"),
    ("xlam", XLAM | {"answers": [{"name": "rain", "arguments": [1]}]}, "a call cannot be read"),
    ("xlam", XLAM | {"answers": [{"name": "snow", "arguments": {}}]}, "calls a tool that is not"),
    ("toolace", TOOLACE | {"system": "There are no tools []."}, "a tool cannot be read"),
    ("toolace", TOOLACE | {"system": None}, "not of this form"),
    ("toolace", TOOLACE | {"conversations": []}, "no step of the assistant"),
    ("toolace", TOOLACE | {"conversations": [{"from": "robot", "value": ""}]}, "not of this form"),
    ("toolace", said("x", "Which day?"), "a plain answer"),
    ("toolace", said("x", "[Fares/find v2.1(to=open('x'))]"), "a call cannot be read"),
    ("toolace", said("x", "[Fares/find v2.1('Graz')]"), "a call cannot be read"),
    ("toolace", said("x", "[Fares/find v2.1(to='a', to='b')]"), "a call cannot be read"),
    ("toolace", said("x", "[]"), "a call cannot be read"),
    ("toolace", said("x", "[trains(to='Graz')]"), "calls a tool that is not offered"),
    ("openai", {"messages": "x"}, "not of this form"),
    ("openai", chat({"role": "robot", "content": "x"}), "a message cannot be read"),
    ("openai", chat({"role": "user", "content": [{"type": "image_url"}]}), "a message cannot"),
    ("openai", chat({"role": "tool", "tool_call_id": 3, "content": "x"}), "a message cannot"),
    ("openai", chat(tools=[{"type": "function", "function": {}}]), "a tool cannot be read"),
    ("openai", chat(ANSWER), "a plain answer"),
    ("openai", chat(TWO, parallel_tool_calls=False), "several calls where"),
    ("openai", chat({**TWO, "weight": 0}), "a message of weight 0"),
    ("openai", chat({"role": "assistant", "tool_calls": [{"id": "c"}]}), "a call cannot be read"),
    ("openai", chat(), "no step of the assistant"),
    ("openai", {"messages": [TWO], "tools": [LAMP]}, "no user message before it"),
    ("sharegpt", SHAREGPT | {"tools": "[1]"}, "a tool cannot be read"),
    ("sharegpt", called("lamp()"), "a call cannot be read"),
    ("sharegpt", called([]), "a call cannot be read"),
    ("sharegpt", called({"name": "lamp", "arguments": "{"}), "a call cannot be read"),
    ("sharegpt", called({"name": "fan", "arguments": {}}), "calls a tool that is not offered"),
    ("sharegpt", SHAREGPT | {"conversations": [{"from": "human"}]}, "not of this form"),
]


@pytest.mark.parametrize(("form", "odd", "reason"), ODD)
def test_an_odd_row_is_skipped_with_its_reason_and_line(
    tmp_path: Path, form: Form, odd: Any, reason: str
) -> None:
    sound = SOUND[form]
    usual = read(tmp_path, form, sound)
    found = read(tmp_path, form, sound, odd, sound)
    assert rows(found) == rows(usual) * 2
    (extra,) = [each for each in skipped(found) if each.place == "line 2"]
    assert extra.reason.startswith(reason)


def test_what_comes_before_an_unreadable_call_is_kept(tmp_path: Path) -> None:
    entry = said("a", "[Fares/find v2.1(to='Graz')]", "b", "[f(]", "c", "[Fares/find v2.1(to='z')]")
    found = read(tmp_path, "toolace", entry)
    assert [way(row) for row in rows(found)] == [[("Fares_find_v2.1", {"to": "Graz"})]]
    assert [(s.reason, s.place) for s in skipped(found)] == [("a call cannot be read", "line 1")]


def test_calls_that_break_their_schema_are_skipped_with_their_line(tmp_path: Path) -> None:
    wrong = XLAM | {"id": 8, "answers": [{"name": "rain", "arguments": {"town": 3}}]}
    with ReplayStore(":memory:") as store:
        report = import_rows(store, read(tmp_path, "xlam", XLAM, wrong, b"{"))
    assert report.added == 1
    assert report.skipped == {"the target does not fit the tools": 1, "broken JSON": 1}
    assert {each.place for each in report.first_skipped} == {"line 2", "line 3"}


@pytest.mark.parametrize("form", SOUND)
def test_a_file_of_another_form_is_one_error_that_names_the_likely_form(
    tmp_path: Path, form: Form
) -> None:
    for other, entry in SOUND.items():
        if other != form:
            with pytest.raises(DataError, match=f"not of the form '{form}'; .*'{other}'"):
                read(tmp_path, form, entry, entry)


def test_a_file_that_is_no_json_is_one_error_after_its_first_rows(tmp_path: Path) -> None:
    (tmp_path / "big.jsonl").write_bytes(b"PAR1\n" * 100)
    seen: list[Any] = []
    with pytest.raises(DataError, match=r"big\.jsonl' is not of the form 'xlam' \(line 1: broken"):
        seen.extend(read_rows(tmp_path / "big.jsonl", "xlam"))
    with pytest.raises(DataError, match="begins a JSON list"):
        read(tmp_path, "xlam", b'[{"id": 1},\n{"id"')


def test_odd_rows_at_the_top_do_not_condemn_a_file(tmp_path: Path) -> None:
    found = read(tmp_path, "xlam", b"# xlam", *[{}] * 10, XLAM)
    assert len(rows(found)) == 1
    assert Counter(s.reason for s in skipped(found)) == {"broken JSON": 1, "not of this form": 10}


def test_lines_are_read_only_as_rows_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text((json.dumps(XLAM) + "\n") * 3)
    reading = iter(read_rows(path, "xlam"))
    first = next(reading)
    with path.open("a") as file:  # what comes after the first row has not been read yet
        file.write(json.dumps(XLAM | {"id": "late"}) + "\n")
    assert isinstance(first, BenchmarkRow)
    assert rows(list(reading))[-1].id == "late"


def test_a_call_of_a_tool_by_its_name_in_the_file_is_a_call_of_its_spec(tmp_path: Path) -> None:
    (row,) = rows(read(tmp_path, "toolace", said("x", "[Fares/find v2.1(to='a')]")))
    assert isinstance(row.target, Exact)
    assert row.target.alternatives == ((ToolCall(name=row.tools[0].name, arguments={"to": "a"}),),)
