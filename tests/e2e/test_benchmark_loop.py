"""The loop on benchmark rows: what is refused counts, what cannot be learned is said."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.benchmark_loop import main, read_arguments
from examples.benchmark_play import Played, choose, split
from examples.benchmark_results import Results, counts, refusals, show
from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.examples import Exact, Example, NoCall, Target
from tooln1_agent.gate import GateConfig, judge_candidate
from tooln1_agent.messages import Message

UNGUESSABLE = "zq-8841-7720-xkcd-0093"
OVER = "context_length_exceeded"


def row(number: int, *, text: str = "", call: bool = True) -> dict[str, Any]:
    """Write a row whose gold argument stands nowhere in the prompt."""
    tool = {
        "name": "find_room",
        "description": "Find a room.",
        "parameters": {"type": "object", "properties": {"key": {"type": "string"}}},
    }
    gold = [{"name": "find_room", "arguments": {"key": [UNGUESSABLE]}}]
    return {
        "id": f"row-{number}",
        "source": "made",
        "category": "simple",
        "messages": [{"role": "user", "content": text or f"Find me room number {number}, please."}],
        "tools": [{"type": "function", "function": tool}],
        "expected": gold if call else [],
        "match": "exact" if call else "no_call",
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [row(number) for number in range(12)]
    rows.append(row(12, text="word " * 3000))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in rows + rows[:2]))
    return path


def test_rows_are_drawn_once_each_and_the_same_for_the_same_seed(data: Path) -> None:
    assert len(choose(data, n=99, seed=1)) == 13
    assert choose(data, n=5, seed=1) == choose(data, n=5, seed=1) != choose(data, n=5, seed=2)
    traffic, held_out = split(choose(data, n=99, seed=1), holdout_share=0.5)
    assert len(traffic) + len(held_out) == 13
    assert {r.id for r in traffic}.isdisjoint(r.id for r in held_out)


def test_what_the_server_refused_counts_as_wrong() -> None:
    played = [
        Played("a", is_call=True, ok=True, reason="right"),
        Played("b", is_call=True, ok=False, reason="too long", refused=OVER),
        Played("c", is_call=False, ok=False, reason="calls: none was expected"),
    ]
    assert {group: tuple(tally) for group, tally in counts(played).items()} == {
        "all": (1, 3),
        "call": (1, 2),
        "no call": (0, 1),
    }
    assert refusals(played) == {OVER: 1}


def example(number: int, target: Target) -> Example:
    return Example(
        id=f"e{number}",
        messages=(Message(role="user", content=str(number)),),
        tools=(ToolSpec(name="go"),),
        target=target,
        split="holdout",
        source="dataset",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_refused_candidate_is_shown_with_the_reasons_and_the_refused_requests() -> None:
    call = Exact(alternatives=((ToolCall(name="go", arguments={}),),))
    examples = [example(number, call) for number in range(30)] + [example(30, NoCall())]
    right = '<think>a</think><tool_call>[{"name": "go", "arguments": {}}]</tool_call>'
    wrong = "<think>a</think>no"
    report = judge_candidate(
        examples,
        [right] * 20 + [wrong] * 11,
        [right] * 19 + [wrong] * 12,
        config=GateConfig(),
        candidate="v0001-aaaaaaaaaaaa",
        live=None,
        prior_uses=0,
    )
    before = [Played(str(i), is_call=True, ok=i < 20, reason="") for i in range(30)]
    before.append(Played("n", is_call=False, ok=True, reason=""))
    before.append(Played("long", is_call=True, ok=False, reason="", refused=OVER))
    results = Results({"context_limit": 512}, before=before, gate=report, candidate="v0001")
    console = Console(record=True, width=140)
    show(console, results)
    shown = console.export_text()
    assert "gate: refuse" in shown
    assert "call: fell from 20 to 19 right of 30" in shown
    assert "1 requests over the context limit of 512 tokens" in shown
    assert "nothing changed" in shown
    at_gate = results.json()["right"]["candidate at the gate"]
    assert (at_gate["call"]["right"], at_gate["call"]["n"]) == (19, 31)
    assert (at_gate["no call"]["right"], at_gate["no call"]["n"]) == (1, 1)


def test_flags_after_two_dashes_go_to_retrain(tmp_path: Path) -> None:
    config = read_arguments(
        ["--data", "d", "--name", "n", "--out", str(tmp_path), "--", "--group-size", "4"]
    )
    assert config.retrain_command[-2:] == ["--group-size", "4"]
    assert config.context_limit == 2048


def test_a_directory_that_is_in_use_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").touch()
    assert main(["--data", str(data), "--name", "n", "--out", str(tmp_path / "used")]) == 1
    assert "is not empty" in capsys.readouterr().out


def test_a_file_that_is_no_benchmark_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    arguments = ["--data", str(tmp_path / "rows.jsonl"), "--name", "n", "--out"]
    assert main([*arguments, str(tmp_path / "out")]) == 1
    assert "line 1" in capsys.readouterr().out


@pytest.mark.slow
def test_the_loop_on_what_cannot_be_learned_ends_in_words_and_without_an_adapter(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    few = ["--prompts-per-step", "2", "--group-size", "2", "--refill", "0"]
    arguments = ["--data", str(data), "--name", "made", "--out", str(out), "--max-tokens", "48"]
    assert main([*arguments, "--context-limit", "1024", "--steps", "4", "--", *few]) == 0
    found = json.loads((out / "results.json").read_text())
    right = found["right"]
    assert right["traffic"]["all"]["n"] + right["held out, before"]["all"]["n"] == 13
    assert right["traffic"]["all"]["right"] + right["held out, before"]["all"]["right"] == 0
    assert found["refused"] == {OVER: 1}
    assert found["labels"] == {"added": 12, "unmatched": 1, "refused": {}}
    assert found["retrain"]["status"] == 3
    assert "every group was all wrong" in found["retrain"]["said"]
    assert (found["candidate"], found["gate"], found["promoted"]) == (None, None, None)
    assert not list((out / "adapters").glob("v*"))
