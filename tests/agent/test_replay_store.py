"""The replay store gives back what it was given, whoever writes and however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from tests.agent.records import NOW, TOOLS, WEATHER, after, answer, asked, call, calling, turn
from tool_registry import ToolCall, ToolResult, ToolSpec
from tooln1_agent.errors import StoreError, StoreTooNew, UnknownRecord
from tooln1_agent.messages import Completion, Message, Sampling, Usage
from tooln1_agent.parsing import Reply
from tooln1_agent.renderers.tooln1 import render
from tooln1_agent.replay import schema
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction, Turn


@pytest.fixture
def store() -> Iterator[ReplayStore]:
    with ReplayStore(":memory:") as opened:
        yield opened


def recorded(store: ReplayStore, interaction: Interaction) -> Interaction:
    """Record an interaction as a run does, step by step."""
    store.begin(interaction.model_copy(update={"turns": (), "stop": None}))
    for index, each in enumerate(interaction.turns):
        store.add_turn(interaction.id, index, each.model_copy(update={"results": ()}))
        store.set_results(interaction.id, index, each.results)
    if interaction.stop is not None:
        store.finish(interaction.id, interaction.stop)
    return interaction


# What comes back

STRINGS = st.text(st.characters(codec=None), max_size=8)  # half surrogate pairs too
NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
FLOATS = st.floats(allow_nan=False) | st.floats(allow_nan=False, width=32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=5,
)
CALLS = st.builds(
    ToolCall,
    id=st.uuids().map(str) | st.just(""),
    name=STRINGS,
    arguments=st.dictionaries(STRINGS, JSON, max_size=3),
)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=STRINGS,
    tool_calls=st.lists(CALLS, max_size=2).map(tuple),
    tool_call_id=st.none() | STRINGS,
)
TOKEN_IDS = st.none() | st.lists(st.integers(0, 2**20) | st.integers(-9, 2**40), max_size=5)
COMPLETIONS = st.builds(
    Completion,
    text=STRINGS,
    finish_reason=st.sampled_from(["stop", "length", "cancelled"]),
    adapter=st.none() | NAMES,
    prompt_ids=TOKEN_IDS,
    completion_ids=TOKEN_IDS,
    logprobs=st.none() | st.lists(FLOATS, max_size=5),
    sampling=st.builds(Sampling, seed=st.none() | st.integers(), stop=st.tuples(STRINGS)),
    usage=st.builds(Usage, prompt_tokens=st.integers(), completion_tokens=st.integers()),
)
REPLIES = st.builds(
    Reply,
    think=STRINGS,
    calls=st.lists(CALLS, max_size=2).map(tuple),
    answer=st.none() | STRINGS,
    faults=st.just(()) | st.just(("missing_think", "bad_json")),
)
RESULTS = st.builds(
    ToolResult,
    call=CALLS,
    content=STRINGS,
    ok=st.booleans(),
    error=st.sampled_from([None, "timeout", "retry"]),
    duration_s=st.floats(0, 1e9),
    truncated=st.booleans(),
)
TURNS = st.builds(
    Turn,
    completion=COMPLETIONS,
    reply=REPLIES,
    results=st.lists(RESULTS, max_size=2).map(tuple),
    complaint=STRINGS,
)
SPECS = st.builds(
    ToolSpec,
    name=st.sampled_from(["f", "g.h", "i-j"]),
    description=STRINGS,
    parameters=st.dictionaries(
        st.sampled_from(["properties", "x-b", "x-a"]), st.just({"b": {}, "a": {}}), max_size=3
    ),
)
INTERACTIONS = st.builds(
    asked,
    st.lists(MESSAGES, max_size=4),
    id=st.uuids().map(str),
    episode=NAMES,
    agent=NAMES,
    principal=NAMES,
    base_model=NAMES,
    tokenizer_hash=NAMES,
    prompt_version=NAMES,
    tools=st.lists(SPECS, max_size=3).map(tuple),
    turns=st.lists(TURNS, max_size=3).map(tuple),
    stop=st.sampled_from([None, "answer", "error"]),
    no_train=st.booleans(),
    created_at=st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),
)


@settings(max_examples=40)
@given(INTERACTIONS)
def test_what_is_read_back_equals_what_was_written(interaction: Interaction) -> None:
    with ReplayStore(":memory:") as store:
        recorded(store, interaction)
        back = store.interaction(interaction.id)
        assert back == interaction
        assert list(store.interactions()) == [interaction]
        # Equal in Python's sense is not enough: 1 == 1.0 == True, and the order of keys is seen.
        assert repr(back) == repr(interaction)


@settings(max_examples=40)
@given(INTERACTIONS)
def test_the_stored_prompt_renders_to_what_the_model_was_shown(interaction: Interaction) -> None:
    with ReplayStore(":memory:") as store:
        recorded(store, interaction)
        back = store.interaction(interaction.id)
    shown = render(interaction.messages, interaction.tools)
    assert render(back.messages, back.tools) == shown


def test_tools_that_differ_in_the_order_of_their_keys_are_kept_apart(store: ReplayStore) -> None:
    def spec(*names: str) -> ToolSpec:
        properties = {name: {"type": "string"} for name in names}
        return ToolSpec(name="f", parameters={"type": "object", "properties": properties})

    one = recorded(store, asked(tools=(spec("a", "b"),)))
    two = recorded(store, asked(tools=(spec("b", "a"),)))
    assert one.tools[0].fingerprint == two.tools[0].fingerprint
    for interaction in (one, two):
        back = store.interaction(interaction.id)
        assert render(back.messages, back.tools) == render(interaction.messages, interaction.tools)


def test_log_probs_of_a_float32_model_come_back_bit_for_bit(store: ReplayStore) -> None:
    completion = Completion(text="x", logprobs=(-0.1, -1e-45, float("-inf"), -0.0, 1e300))
    interaction = asked("q", Turn(completion=completion, reply=Reply()))
    recorded(store, interaction)
    back = store.interaction(interaction.id).turns[0].completion
    assert repr(back.logprobs) == repr(completion.logprobs)


def test_a_killed_run_reads_back_without_a_stop(store: ReplayStore) -> None:
    interaction = asked("q", turn(calling(call(city="Rome"))))
    recorded(store, interaction)
    assert store.interaction(interaction.id).stop is None


# What cannot be


def test_an_unknown_interaction_is_named(store: ReplayStore) -> None:
    for ask in (
        lambda: store.interaction("int_x"),
        lambda: store.add_turn("int_x", 0, answer()),
        lambda: store.set_results("int_x", 0, ()),
        lambda: store.finish("int_x", "answer"),
    ):
        with pytest.raises(UnknownRecord, match="int_x"):
            ask()


def test_turns_come_in_order_and_once(store: ReplayStore) -> None:
    interaction = recorded(store, asked("q", answer()))
    for index in (0, 2, -1):
        with pytest.raises(StoreError, match="the next is turn 1"):
            store.add_turn(interaction.id, index, answer())
    with pytest.raises(UnknownRecord, match="no turn 1"):
        store.set_results(interaction.id, 1, ())
    assert store.interaction(interaction.id) == interaction


def test_an_interaction_begins_once(store: ReplayStore) -> None:
    interaction = recorded(store, asked("q", answer()))
    with pytest.raises(StoreError, match="already"):
        store.begin(interaction)
    assert store.count() == 1


def test_a_name_that_is_not_unicode_is_refused_whole(store: ReplayStore) -> None:
    with pytest.raises(StoreError, match="surrogate"):
        store.begin(asked(principal="\ud800"))
    assert store.count() == 0
    recorded(store, asked())


def test_a_closed_store_says_so() -> None:
    store = ReplayStore(":memory:")
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.count()


# Looking through


def test_interactions_are_found_by_time_and_agent_in_either_order(store: ReplayStore) -> None:
    made = [
        recorded(store, asked(f"q{n}", agent="ab"[n % 2], created_at=after(n))) for n in range(6)
    ]
    ids = [interaction.id for interaction in made]

    def found(**how: Any) -> list[int]:
        return [ids.index(interaction.id) for interaction in store.interactions(**how)]

    assert found() == [0, 1, 2, 3, 4, 5]
    assert found(newest_first=True, limit=2) == [5, 4]
    assert found(since=after(4)) == [4, 5]
    assert found(agent="a", limit=2) == [0, 2]
    assert found(limit=0) == []


def test_many_interactions_are_read_page_by_page_while_others_are_written(
    store: ReplayStore,
) -> None:
    for number in range(450):
        store.begin(asked(f"q{number}"))
    seen = 0
    for interaction in store.interactions():
        seen += 1
        if seen == 1:
            store.finish(interaction.id, "error")
    assert seen == 450


def test_stats_count_what_there_is(store: ReplayStore) -> None:
    served = turn(calling(call(city="Rome")))
    adapted = Turn(completion=Completion(text="", adapter="v0001-x"), reply=Reply())
    recorded(store, asked("q", served, adapted, stop="answer", episode="ep_1"))
    recorded(store, asked("q", episode="ep_1", no_train=True))
    stats = store.stats()
    assert (stats.interactions, stats.episodes, stats.turns, stats.no_train) == (2, 1, 2, 1)
    assert stats.by_stop == {"answer": 1, "unfinished": 1}
    assert stats.by_adapter == {"base": 1, "v0001-x": 1}
    assert stats.labels == 0


# Space


def test_tools_and_shared_beginnings_are_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "replay.db"
    begun = [Message(role="system", content="s"), Message(role="user", content="q")]
    more = [*begun, Message(role="assistant", content="a"), Message(role="user", content="r")]
    with ReplayStore(path) as store:
        for messages in (begun, more, begun, more[:3]):
            recorded(store, asked(messages))
        recorded(store, asked(more, tools=TOOLS[:1]))
    db = sqlite3.connect(path)
    count = {
        table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("interactions", "messages", "tools", "toolsets")
    }
    db.close()
    assert count == {"interactions": 5, "messages": 4, "tools": 2, "toolsets": 2}


# Conversations of clients that run their own tools


def test_call_ids_lead_to_the_conversation_that_minted_them(store: ReplayStore) -> None:
    first = recorded(
        store, asked("q", turn(calling(call(city="Rome"), call("mail", to="x"))), principal="ann")
    )
    minted = [each.id for each in first.turns[0].reply.calls]
    assert store.episode_of_calls(minted, principal="ann") == first.episode
    assert store.episode_of_calls(["call_of_another", minted[1]], principal="ann") == first.episode
    assert store.episode_of_calls([minted[0], "x"], principal="ann") == first.episode
    assert store.episode_of_calls(minted, principal="bob") is None
    assert store.episode_of_calls(["x"], principal="ann") is None
    assert store.episode_of_calls([], principal="ann") is None


def test_a_minted_call_can_be_compared_with_what_a_client_says_it_was(store: ReplayStore) -> None:
    made = recorded(
        store, asked("q", answer(), turn(calling(call(city="Rome"), call(city="Oslo"))))
    )
    minted = made.turns[1].reply.calls[1]
    found = store.call_of(minted.id, principal="")
    assert found is not None
    assert found == (minted, made.id, 1, made.episode)
    assert store.call_of("", principal="") is None


def test_the_requests_of_a_conversation_come_in_order(store: ReplayStore) -> None:
    one = recorded(store, asked("q", episode="ep_1"))
    recorded(store, asked("other", episode="ep_2"))
    two = recorded(store, asked("r", episode="ep_1"))
    assert store.episode("ep_1") == (one, two)
    assert store.episodes() == ("ep_1", "ep_2")
    assert store.episode("ep_9") == ()


# Files


def test_a_store_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "replay.db"
    with ReplayStore(path) as store:
        interaction = recorded(store, asked("q", answer(), stop="answer"))
    with ReplayStore(path, create=False) as store:
        assert store.interaction(interaction.id) == interaction


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to have a header of its own " * 3)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"notes\.txt.*not a replay store"):
        ReplayStore(path)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    Database(path)["people"].insert({"name": "ann"}).db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"other\.db.*not a replay store"):
        ReplayStore(path)
    assert path.read_bytes() == before


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replay.db"
    with ReplayStore(path) as store:
        for number in range(50):
            recorded(store, asked(f"q{number}", answer()))
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = b"\xff" * (len(damaged) - 4096)
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"replay\.db.*damaged"), ReplayStore(path) as store:
        list(store.interactions())


def test_a_store_of_a_newer_version_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "replay.db"
    ReplayStore(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StoreTooNew, match=r"replay\.db.*upgrade tooln1-agent"):
        ReplayStore(path)


def test_an_older_store_is_migrated_with_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "replay.db"
    with ReplayStore(path) as store:
        interaction = recorded(store, asked("q", answer()))

    def add_notes(db: Database) -> None:
        db["notes"].create({"text": str})

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, add_notes))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    with ReplayStore(path) as store:
        assert store.interaction(interaction.id) == interaction
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone()[0] == schema.SCHEMA_VERSION
    assert db.execute("SELECT count(*) FROM notes").fetchone() == (0,)
    db.close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "replay.db"
    with ReplayStore(path) as store:
        interaction = recorded(store, asked("q", answer()))

    def half(db: Database) -> None:
        db["notes"].create({"text": str})
        db.execute("ALTER TABLE nothing ADD COLUMN x")

    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, half))
        patched.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
        with pytest.raises(StoreError, match="nothing"):
            ReplayStore(path)
    with ReplayStore(path) as store:
        assert store.interaction(interaction.id) == interaction
    assert "notes" not in Database(path).table_names()


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "is a directory"), ("missing/replay.db", "create it first")],
)
def test_a_path_that_cannot_be_a_store_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        ReplayStore(tmp_path / name)


def test_a_store_that_must_exist_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "typo.db"
    with pytest.raises(StoreError, match=r"no replay store at .*typo\.db"):
        ReplayStore(path, create=False)
    assert not path.exists()


# Many writers


def test_threads_write_through_one_store(tmp_path: Path) -> None:
    with ReplayStore(tmp_path / "replay.db") as store:
        made = [[asked(f"{w} {n}", answer()) for n in range(20)] for w in range(8)]

        def write(interactions: list[Interaction]) -> None:
            for interaction in interactions:
                recorded(store, interaction)

        threads = [threading.Thread(target=write, args=(part,)) for part in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.count() == 160
        assert all(store.interaction(i.id) == i for part in made for i in part)


def _write_in_process(path: Path, worker: int, count: int) -> None:
    with ReplayStore(path) as store:
        for number in range(count):
            recorded(store, asked(f"{worker} {number}", answer(), id=f"int_{worker}_{number}"))


@pytest.mark.slow
def test_processes_create_one_store_together_and_write_to_it(tmp_path: Path) -> None:
    path = tmp_path / "replay.db"
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_write_in_process, args=(path, w, 30)) for w in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with ReplayStore(path) as store:
        assert store.count() == 90
        assert all(interaction.turns for interaction in store.interactions())


def _write_until_killed(path: Path, written: Any, is_busy: Any) -> None:
    with ReplayStore(path) as store:
        number = 0
        while True:
            interaction = asked(f"q{number}", id=f"int_{number}")
            store.begin(interaction)
            store.add_turn(interaction.id, 0, turn(calling(call(city="Rome"))))
            written.value = number
            number += 1
            if number == 50:
                is_busy.set()


@pytest.mark.slow
def test_nothing_that_was_written_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "replay.db"
    spawn = multiprocessing.get_context("spawn")
    written = spawn.Value("q", -1)
    is_busy = spawn.Event()
    writer = spawn.Process(target=_write_until_killed, args=(path, written, is_busy))
    writer.start()
    assert is_busy.wait(timeout=120)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    with ReplayStore(path) as store:
        assert written.value >= 49
        for number in range(written.value + 1):
            back = store.interaction(f"int_{number}")
            assert len(back.turns) == 1
            assert back.stop is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.slow
def test_a_store_that_was_opened_before_a_fork_refuses_work_in_the_child(tmp_path: Path) -> None:
    with ReplayStore(tmp_path / "replay.db") as store:
        child = os.fork()
        if child == 0:
            try:
                store.count()
            except StoreError as error:
                os._exit(0 if "forked" in str(error) else 2)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert store.count() == 0


def test_a_writer_waits_for_the_writer_of_another_connection(tmp_path: Path) -> None:
    path = tmp_path / "replay.db"
    with ReplayStore(path) as store:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        held = threading.Event()

        def write() -> None:
            held.set()
            recorded(store, asked("q", answer(), id="int_waiting"))

        thread = threading.Thread(target=write)
        thread.start()
        held.wait()
        other.execute("COMMIT")
        other.close()
        thread.join()
        assert store.interaction("int_waiting").turns


def test_the_tools_of_a_stored_interaction_are_specs(store: ReplayStore) -> None:
    interaction = recorded(store, asked(created_at=NOW))
    assert store.interaction(interaction.id).tools[0].fingerprint == WEATHER.fingerprint
