"""Exports: our own form without loss, and the forms that others train on."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest

from tests.agent.records import TOOLS, WEATHER, after, answer, asked, call, calling, label, turn
from tool_registry import ToolResult
from tooln1_agent.cli import main
from tooln1_agent.codec import Codec
from tooln1_agent.datasets import BenchmarkRow, read_rows
from tooln1_agent.datasets.export_store import export_examples, export_interactions
from tooln1_agent.datasets.exports import NO_CALL_TEXT
from tooln1_agent.datasets.records import import_records, read_records
from tooln1_agent.datasets.rewards import trl_reward, verl_reward
from tooln1_agent.engines.resolve import SEED_DIR
from tooln1_agent.errors import ConfigError, DataError
from tooln1_agent.examples import AnyCall, Exact, NoCall, Possible, PossibleCall, split_of
from tooln1_agent.messages import Completion, Message, Sampling, Usage
from tooln1_agent.replay.labels import LabelPolicy
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction, Turn

ROME = call(city="Rome")
BOTH = (ROME, call("mail", to="ann"))
HALF = "half a pair: \ud83d, and a \u2028 line"


@pytest.fixture
def store() -> Iterator[ReplayStore]:
    with ReplayStore(":memory:") as opened:
        yield opened


def sampled(text: str) -> Turn:
    """A turn with everything that an engine with ids tells."""
    completion = Completion(
        text=text,
        finish_reason="length",
        adapter="v0003-0123456789ab",
        prompt_ids=(1, 2, 70_000),
        completion_ids=(3, 4),
        logprobs=(-0.1, -1.2345678901234567),
        sampling=Sampling(temperature=0.7, seed=3, stop=("x",)),
        usage=Usage(prompt_tokens=3, completion_tokens=2),
    )
    return turn(text).model_copy(update={"completion": completion})


def full(store: ReplayStore) -> list[Interaction]:
    """Fill a store with one of everything."""
    failed = ToolResult(call=ROME, content=HALF, ok=False, error="timeout", duration_s=0.25)
    first = sampled(calling(*BOTH)).model_copy(update={"results": (failed,)})
    history = (
        Message(role="system", content="Be brief."),
        Message(role="user", content=HALF),
        Message(role="assistant", tool_calls=(ROME.model_copy(update={"id": "call_1"}),)),
        Message(role="tool", content="sunny", tool_call_id="call_1"),
    )
    made = [
        asked("Weather?", first, answer("Sunny."), agent="a", principal="p", base_model="m"),
        asked(history, turn("no thought", complaint="think first"), stop="max_turns"),
        asked("Private", turn(calling(ROME)), no_train=True, tokenizer_hash="h"),
        asked("Still running", tools=(), prompt_version="v", created_at=after(1)),
    ]
    for interaction in made:
        store.begin(interaction)
    told = made[0]
    for event in (
        label(told, trust=0.5, evidence="because"),
        label(told, BOTH, created_at=after(0.123456)),
        label(told, "reject", turn=1, source="feedback"),
        label(told, "target", turn=1, source="verifier", target=NoCall()),
        label(made[2], [ROME]),
        label(made[2], [ROME]),
    ):
        store.add_label(event)
    return made


def read_lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.splitlines()]


# Our own form


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_our_own_form_loses_nothing(store: ReplayStore, tmp_path: Path, name: str) -> None:
    made = full(store)
    assert export_interactions(store, "jsonl", tmp_path / name).written == len(made)
    with ReplayStore(":memory:") as other:
        report = import_records(other, read_records(tmp_path / name))
        assert (report.interactions, report.added, report.skipped) == (len(made), 6, {})
        assert [each.model_dump() for each in other.interactions()] == [
            each.model_dump() for each in store.interactions()
        ]
        for interaction in made:
            assert [event.model_dump() for event in other.labels(interaction.id)] == [
                event.model_dump() for event in store.labels(interaction.id)
            ]
        ours, theirs = store.examples(), other.examples()
    assert ours.skipped == theirs.skipped
    assert [e.model_dump() for e in ours.examples] == [e.model_dump() for e in theirs.examples]
    assert len(ours.examples) == 1


def test_importing_records_again_adds_only_new_labels(store: ReplayStore, tmp_path: Path) -> None:
    told, *_ = full(store)
    path = tmp_path / "all.jsonl"
    with ReplayStore(":memory:") as other:
        export_interactions(store, "jsonl", path)
        import_records(other, read_records(path))
        store.add_label(label(told, "reject", created_at=after(5)))
        export_interactions(store, "jsonl", path)
        report = import_records(other, read_records(path))
        assert (report.interactions, report.added, report.known) == (0, 1, 6)
        assert len(other.labels()) == 7


def test_a_record_that_cannot_be_used_is_skipped_and_nothing_there_is_changed(
    store: ReplayStore, tmp_path: Path
) -> None:
    told, *_ = full(store)
    path = tmp_path / "all.jsonl"
    export_interactions(store, "jsonl", path)
    sound, *rest = read_lines(path)
    changed = {**sound, "interaction": {**sound["interaction"], "agent": "other"}}
    stranger = {**rest[0], "labels": sound["labels"]}
    lacking = {**rest[0], "interaction": {"id": "x"}}
    newer = {**sound, "version": 2}
    odd = [changed, stranger, lacking, newer, {"form": "else"}]
    path.write_text("\n".join(map(json.dumps, odd)) + "\n{\n")
    report = import_records(store, read_records(path))
    assert (report.interactions, report.added) == (0, 0)
    assert report.skipped == {
        "its id is in the store with other content": 1,
        "not a record of ours": 2,
        "not of this form": 2,
        "broken JSON": 1,
    }
    assert store.interaction(told.id) == told


def test_a_label_past_the_quota_or_on_no_turn_is_counted(
    tmp_path: Path, store: ReplayStore
) -> None:
    full(store)
    path = tmp_path / "all.jsonl"
    export_interactions(store, "jsonl", path)
    lines = read_lines(path)
    lines[0]["labels"].append({**lines[0]["labels"][0], "turn": 9})
    path.write_text("\n".join(map(json.dumps, lines)))
    policy = LabelPolicy(max_labels_per_author_per_day=2)
    with ReplayStore(":memory:", policy=policy) as other:
        report = import_records(other, read_records(path))
    assert report.skipped == {"a label is refused": 4}
    assert report.added == 3


def test_a_file_of_another_form_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"query": "x", "answers": "[]"}\n')
    with pytest.raises(DataError, match="not of the form 'tooln1'; it looks like 'xlam'"):
        list(read_records(path))


# For others


def labelled(store: ReplayStore, text: str, target: Any, **changes: Any) -> Interaction:
    interaction = asked(text, **changes)
    store.begin(interaction)
    store.add_label(label(interaction, "target", target=target, source="correction"))
    return interaction


EXACT = Exact(alternatives=(BOTH,))
WAYS = Exact(alternatives=((ROME,), BOTH))
POSSIBLE = Possible(calls=(PossibleCall(name="weather", arguments={"city": ["Rome", "Roma"]}),))


@pytest.fixture
def taught(store: ReplayStore) -> ReplayStore:
    """A store with a target of each kind, and an example that is not to be learned from."""
    for number, target in enumerate((EXACT, NoCall(), WAYS, POSSIBLE, AnyCall())):
        labelled(store, f"Question {number}", target)
    labelled(store, "Private", EXACT, no_train=True)
    return store


def test_openai_chats_end_with_the_target_and_can_be_read_again(
    taught: ReplayStore, tmp_path: Path
) -> None:
    path = tmp_path / "chat.jsonl"
    report = export_examples(taught, "openai", path, split=None)
    assert report.written == 2
    assert report.skipped == {
        "no_train": 1,
        "a target of several ways": 1,
        "a target that is no list of calls": 2,
    }
    calls, no_call = sorted(read_lines(path), key=lambda row: row["messages"][0]["content"])
    assert calls["tools"] == [spec.to_openai() for spec in TOOLS]
    assert calls["messages"][0] == {"role": "user", "content": "Question 0"}
    assert no_call["messages"][-1] == {"role": "assistant", "content": NO_CALL_TEXT}
    found = [each for each in read_rows(path, "openai") if isinstance(each, BenchmarkRow)]
    assert [(row.target, row.tools) for row in found] == [(EXACT, TOOLS)]


def test_openai_chats_say_what_was_answered_where_nothing_was_to_be_called(
    store: ReplayStore, tmp_path: Path
) -> None:
    right, wrong = asked("Hi", answer("Hello!")), asked("Ho", turn(calling(ROME)))
    for interaction in (right, wrong):
        store.begin(interaction)
        store.add_label(label(interaction, "target", target=NoCall(), source="correction"))
    export_examples(store, "openai", tmp_path / "chat.jsonl", split=None)
    rows = read_lines(tmp_path / "chat.jsonl")
    last = {row["messages"][0]["content"]: row["messages"][-1]["content"] for row in rows}
    assert last == {"Hi": "Hello!", "Ho": NO_CALL_TEXT}


def test_openai_chats_keep_the_history_and_refuse_results_without_a_call(
    store: ReplayStore, tmp_path: Path
) -> None:
    made = ROME.model_copy(update={"id": "call_1"})
    history = [
        Message(role="user", content="Weather?"),
        Message(role="assistant", tool_calls=(made,)),
        Message(role="tool", content="sunny", tool_call_id="call_1"),
    ]
    for messages in (history, [history[0], history[2]]):
        interaction = asked(messages)
        store.begin(interaction)
        store.add_label(label(interaction, BOTH))
    report = export_examples(store, "openai", tmp_path / "chat.jsonl", split=None)
    assert report.skipped == {"a tool message that answers no call": 1}
    (row,) = read_lines(tmp_path / "chat.jsonl")
    _, said, came_back, target = row["messages"]
    assert (said["content"], said["weight"]) == (None, 0)
    assert "weight" not in target
    assert said["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert (came_back["role"], came_back["tool_call_id"]) == ("tool", said["tool_calls"][0]["id"])
    assert len({call["id"] for call in target["tool_calls"]}) == 2
    found = list(read_rows(tmp_path / "chat.jsonl", "openai"))
    assert [each.target for each in found if isinstance(each, BenchmarkRow)] == [EXACT]


REPLIES = {
    "calls": calling(*BOTH),
    "wrong": calling(call(city="Oslo")),
    "answer": "<think>No need.</think>Hello.",
    "malformed": "hello",
}
REWARDS = {"calls": [1, 0, 1, 0, 1], "wrong": [0, 0, 0, 0, 1], "answer": [0, 1, 0, 0, 0]}


def verl_rows(store: ReplayStore, path: Path) -> list[dict[str, Any]]:
    """Export for the seed model, and return the rows by their question."""
    report = export_examples(store, "verl", path, split=None, model=SEED_DIR)
    assert (report.written, report.skipped) == (5, {"no_train": 1})
    rows: list[dict[str, Any]] = pq.read_table(path / "train.parquet").to_pylist()
    return sorted(rows, key=lambda row: row["prompt"][-1]["content"])


@pytest.mark.parametrize("reply", REPLIES)
def test_verl_rows_are_scored_by_our_reward(
    taught: ReplayStore, tmp_path: Path, reply: str
) -> None:
    rows = verl_rows(taught, tmp_path / "verl")
    assert sorted(row["extra_info"]["index"] for row in rows) == [0, 1, 2, 3, 4]
    for row in rows:
        assert row.keys() == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]
        assert WEATHER.description in row["prompt"][0]["content"]
        assert row["reward_model"]["style"] == "rule"
    rewards = [
        verl_reward(
            row["data_source"],
            REPLIES[reply],
            row["reward_model"]["ground_truth"],
            row["extra_info"],
        )
        for row in rows
    ]
    assert rewards == REWARDS.get(reply, [0, 0, 0, 0, 0])


def test_verl_pays_for_the_reply_as_it_was_sampled_and_not_if_it_was_cut(
    taught: ReplayStore, tmp_path: Path
) -> None:
    first, *_ = verl_rows(taught, tmp_path / "verl")
    truth, told = first["reward_model"]["ground_truth"], {"reply": REPLIES["calls"]}
    assert verl_reward("", "without its tags", truth, told) == 1.0
    assert verl_reward("", REPLIES["calls"], truth, {"truncated": True}) == 0.0


def test_verl_gets_the_ids_that_are_served(taught: ReplayStore, tmp_path: Path) -> None:
    rows = verl_rows(taught, tmp_path / "verl")
    codec = Codec.load(SEED_DIR)
    served = {
        example.id: codec.prompt_ids(example.messages, example.tools)
        for example in taught.examples().examples
    }
    assert {row["extra_info"]["example"]: row["extra_info"]["prompt_ids"] for row in rows} == served
    script = (tmp_path / "verl" / "train.sh").read_text()
    assert f"data.max_prompt_length={max(map(len, served.values()))}" in script
    assert "data.train_batch_size=5" in script
    assert str(SEED_DIR) in script


def test_verl_gets_a_new_directory_whole_or_not_at_all(
    store: ReplayStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "verl"
    with pytest.raises(DataError, match="nothing to write"):
        export_examples(store, "verl", path, model=SEED_DIR)
    labelled(store, "Question 0", EXACT)
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    with pytest.raises(ConfigError, match="needs the package 'pyarrow'"):
        export_examples(store, "verl", path, split=None, model=SEED_DIR)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    export_examples(store, "verl", path, split=None, model=SEED_DIR)
    written = {each.name: each.read_bytes() for each in path.iterdir()}
    with pytest.raises(ConfigError, match="makes a new directory"):
        export_examples(store, "verl", path, split=None, model=SEED_DIR)
    assert {each.name: each.read_bytes() for each in path.iterdir()} == written
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("to", "model"), [("verl", None), ("trl", SEED_DIR)])
def test_a_model_goes_with_verl_alone(
    taught: ReplayStore, tmp_path: Path, to: Literal["verl", "trl"], model: Path | None
) -> None:
    with pytest.raises(ConfigError, match="--model"):
        export_examples(taught, to, tmp_path / "x", model=model)


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("is_chat", [True, False])
def test_trl_rows_are_scored_by_our_reward(
    taught: ReplayStore, tmp_path: Path, reply: str, is_chat: bool
) -> None:
    path = tmp_path / "trl.jsonl"
    assert export_examples(taught, "trl", path, split=None).written == 5
    rows = sorted(read_lines(path), key=lambda row: row["prompt"][-1]["content"])
    said: Any = [{"role": "assistant", "content": REPLIES[reply]}] if is_chat else REPLIES[reply]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    rewards = trl_reward(completions=[said] * 5, **columns)
    assert rewards == REWARDS.get(reply, [0, 0, 0, 0, 0])


def test_examples_are_written_as_they_are(taught: ReplayStore, tmp_path: Path) -> None:
    report = export_examples(taught, "jsonl", tmp_path / "examples.jsonl", split=None)
    examples = taught.examples().examples
    expected = [json.loads(example.model_dump_json()) for example in examples]
    found = read_lines(tmp_path / "examples.jsonl")
    assert [{**row, "created_at": ""} for row in found] == [
        {**row, "created_at": ""} for row in expected
    ]
    assert report.written == len(examples)


def test_each_side_of_the_split_can_be_written_by_itself(
    store: ReplayStore, tmp_path: Path
) -> None:
    texts = [f"Question {n}" for n in range(40)]
    sides: dict[str, set[str]] = {"train": set(), "holdout": set()}
    for text in texts:
        labelled(store, text, EXACT)
        sides[split_of([Message(role="user", content=text)])].add(text)
    other = {"train": "holdout", "holdout": "train"}
    for side in ("train", "holdout"):
        report = export_examples(store, "trl", tmp_path / "t.jsonl", split=side)  # type: ignore[arg-type]
        rows = read_lines(tmp_path / "t.jsonl")
        assert {row["prompt"][-1]["content"] for row in rows} == sides[side] != set()
        assert report.skipped == {f"in the split '{other[side]}'": len(sides[other[side]])}


# Files


def test_a_failed_export_leaves_the_old_file_and_nothing_else(
    store: ReplayStore, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(DataError, match=r"nothing to write.*out\.jsonl'.*; skipped: nothing"):
        export_examples(store, "trl", path)
    with pytest.raises(DataError, match="nothing to write"):
        export_interactions(store, "jsonl", path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written_is_said(taught: ReplayStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no directory"):
        export_examples(taught, "trl", tmp_path / "none" / "x.jsonl")
    with pytest.raises(ConfigError, match="cannot write"):
        export_examples(taught, "trl", tmp_path)
    with pytest.raises(ConfigError, match="'openai' takes examples"):
        export_interactions(taught, "openai", tmp_path / "x.jsonl")


def test_interactions_and_examples_come_back_from_parquet(
    taught: ReplayStore, tmp_path: Path
) -> None:
    path = tmp_path / "x.parquet"
    examples = {example.id: example for example in taught.examples().examples}
    assert export_examples(taught, "parquet", path, split=None).written == len(examples)
    for row in pq.read_table(path).to_pylist():
        example = examples.pop(row["id"])
        assert json.loads(row["target"]) == json.loads(example.target.model_dump_json())
        assert row["split"] == example.split
    assert not examples
    count = export_interactions(taught, "parquet", path).written
    found = {row["id"] for row in pq.read_table(path).to_pylist()}
    assert found == {interaction.id for interaction in taught.interactions()}
    assert len(found) == count


def test_parquet_without_pyarrow_names_the_package(
    taught: ReplayStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    path = tmp_path / "x.parquet"
    with pytest.raises(ConfigError, match="needs the package 'pyarrow'"):
        export_examples(taught, "parquet", path)
    with pytest.raises(ConfigError, match="needs the package 'pyarrow'"):
        export_interactions(taught, "parquet", path)
    assert list(tmp_path.iterdir()) == []


# The commands


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def running(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tooln1-agent", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return running


def test_a_store_goes_out_and_comes_back_by_command(run: Run) -> None:
    with ReplayStore("a.db") as store:
        made = full(store)
    code, out, _ = run("export", "a.db", "--to", "jsonl", "--out", "a.jsonl")
    assert (code, out) == (0, "interactions written to a.jsonl: 4\n")
    code, out, _ = run("import", "--format", "tooln1", "b.db", "a.jsonl")
    assert (code, out) == (0, "labels added: 6, there already: 0\ninteractions added: 4\n")
    with ReplayStore("b.db") as store:
        assert tuple(store.interactions()) == tuple(made)
    code, out, _ = run("export", "b.db", "--to", "openai", "--out", "c.jsonl", "--split", "all")
    assert code == 0
    assert out.startswith("examples written to c.jsonl: 1\nskipped: ")
    assert "no_train" in out


def test_an_import_says_what_it_took_and_what_it_skipped_and_why(run: Run) -> None:
    answered = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant"}]}
    Path("chat.jsonl").write_text("\n".join([json.dumps(answered)] * 7 + ["{"]))
    code, out, _ = run("import", "--format", "openai", "new.db", "chat.jsonl")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "labels added: 0, there already: 0"
    assert [line.split(maxsplit=1) for line in lines[1:4]] == [
        ["skipped:", "8"],
        ["7", "a plain answer"],
        ["1", "broken JSON"],
    ]
    assert lines[5] == "  line 1: a plain answer: step 1"
    assert len(lines) == 10


@pytest.mark.parametrize(
    "words",
    [
        ("export", "none.db", "--to", "trl", "--out", "x.jsonl"),
        ("export", "none.db", "--to", "verl", "--out", "x", "--model", "none"),
        ("import", "--format", "toolace", "new.db", "chat.jsonl"),
        ("import", "--format", "tooln1", "--label-traffic", "new.db", "chat.jsonl"),
    ],
)
def test_what_cannot_be_done_is_one_line(run: Run, words: tuple[str, ...]) -> None:
    Path("chat.jsonl").write_text('{"messages": []}\n')
    code, _, err = run(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
