"""Redaction: the text is gone from the file, its places agree, and what it taught stays."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from tests.agent.records import (
    TOOLS,
    WEATHER,
    answer,
    asked,
    call,
    calling,
    label,
    turn,
)
from tool_registry import ToolResult
from tooln1_agent.cli import main
from tooln1_agent.errors import ConfigError
from tooln1_agent.examples import Exact, Verify, split_of
from tooln1_agent.messages import Completion, Message
from tooln1_agent.redaction import Redactor, placeholders_for
from tooln1_agent.replay import database, schema
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction, Turn

NAME, PHONE = 'Ada "the Count" Löwe', "5550123"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replay.db"


@pytest.fixture
def store(path: Path) -> Iterator[ReplayStore]:
    with ReplayStore(path) as opened:
        yield opened


def with_ids(made: Turn) -> Turn:
    completion = made.completion.model_copy(
        update={
            "prompt_ids": (1, 2),
            "completion_ids": (3, 4),
            "logprobs": (-0.5, -0.25),
            "sampling_logprobs": (-0.4, -0.2),
        }
    )
    return made.model_copy(update={"completion": completion})


def mail_to_ada() -> Interaction:
    mail = call("mail", to=NAME)
    first = turn(calling(mail))
    came_back = ToolResult(call=mail, content=json.dumps({"sent": NAME}), ok=True)
    first = with_ids(first.model_copy(update={"results": (came_back,)}))
    last = with_ids(turn(f"<think>{NAME} has it.</think>I wrote to {NAME}."))
    return asked(f"Write to {NAME}, phone {PHONE}.", first, last)


def stored_bytes(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def placeholder(store: ReplayStore, *texts: str) -> str:
    return next(iter(store.redact(texts).placeholders.values()))


def test_nothing_of_a_redacted_text_is_left_in_the_file(store: ReplayStore, path: Path) -> None:
    made = mail_to_ada()
    store.begin(made)
    store.add_label(label(made, [call("mail", to=NAME)], evidence=f"{NAME} said so"))
    forms = [NAME, json.dumps(NAME)[1:-1], "Count", "L\\u00f6we", "Löwe", PHONE]
    assert any(form.encode() in stored_bytes(path) for form in forms)
    done = store.redact([NAME, PHONE])
    assert done.is_erased
    assert (done.messages, done.turns, done.labels, done.left_in) == (1, 2, 1, {})
    for form in forms:
        assert form.encode() not in stored_bytes(path)


def test_prompt_call_result_and_label_say_the_same_placeholder(store: ReplayStore) -> None:
    made = mail_to_ada()
    store.begin(made)
    store.add_label(label(made, [call("mail", to=NAME)]))
    name = placeholder(store, NAME)
    kept = store.interaction(made.id)
    assert kept.messages[0].content == f"Write to {name}, phone {PHONE}."
    assert kept.turns[0].reply.calls[0].arguments == {"to": name}
    assert kept.turns[0].results[0].content == json.dumps({"sent": name})
    assert kept.turns[1].reply.answer == f"I wrote to {name}."
    (example,) = store.examples(holdout_share=0).examples
    assert example.target == Exact(alternatives=((call("mail", to=name),),))
    assert name in example.messages[0].content


def test_a_redacted_turn_keeps_its_example_but_has_no_ids_any_more(store: ReplayStore) -> None:
    made, other = mail_to_ada(), asked("Weather?", with_ids(turn(calling(call(city="Rome")))))
    for each in (made, other):
        store.begin(each)
        store.add_label(label(each))
    store.redact([NAME])
    for kept in store.interaction(made.id).turns:
        assert kept.redacted
        told = kept.completion
        assert (told.prompt_ids, told.completion_ids) == (None, None)
        assert (told.logprobs, told.sampling_logprobs) == (None, None)
    assert store.interaction(other.id) == other
    assert len(store.examples(holdout_share=0).examples) == 2
    assert store.stats().redacted_turns == 2


def test_what_stands_before_the_text_keeps_its_ids(store: ReplayStore) -> None:
    first = turn(calling(call(city="Rome")))
    told = ToolResult(call=first.reply.calls[0], content=f"ask {NAME}", ok=True)
    second = turn(calling(call(city="Oslo")))
    made = asked(
        "Weather?",
        with_ids(second),
        with_ids(first.model_copy(update={"results": (told,)})),
        with_ids(answer("Sunny.")),
    )
    store.begin(made)
    store.redact([NAME])
    kept = store.interaction(made.id).turns
    assert [turn.redacted for turn in kept] == [False, True, True]
    assert kept[0] == made.turns[0]


def test_conversations_that_share_messages_are_all_rewritten(store: ReplayStore) -> None:
    begun = (Message(role="system", content="Be brief."), Message(role="user", content=NAME))
    more = (*begun, Message(role="assistant", content="Yes?"), Message(role="user", content="Hi"))
    kept = asked([begun[0], Message(role="user", content="Hi")], answer())
    interactions = [asked(begun, answer()), asked(more, answer()), asked(begun, answer()), kept]
    for each in interactions:
        store.begin(each)
    name = placeholder(store, NAME)
    for before in interactions:
        now = store.interaction(before.id)
        expected = [m.content.replace(NAME, name) for m in before.messages]
        assert [m.content for m in now.messages] == expected
    again = asked([begun[0], Message(role="user", content=name)], answer())
    store.begin(again)
    assert store.interaction(again.id) == again


def test_messages_that_become_the_same_are_one(store: ReplayStore) -> None:
    texts = ("Dear Löwe", "Dear L\\u00f6we")
    tail = Message(role="assistant", content="Hello.")
    made = [asked([Message(role="user", content=text), tail], answer()) for text in texts]
    for each in made:
        store.begin(each)
    name = placeholder(store, "Löwe")
    for each in made:
        told = [message.content for message in store.interaction(each.id).messages]
        assert told == [f"Dear {name}", "Hello."]


@pytest.mark.parametrize("number", range(8))
def test_a_request_stays_on_its_side_of_the_split(store: ReplayStore, number: int) -> None:
    text = f"Write to {NAME}, number {number}"
    made = asked(text, turn(calling(call("mail", to=NAME))))
    store.begin(made)
    store.add_label(label(made))
    side = split_of([Message(role="user", content=text)])
    for _ in range(3):
        store.redact([NAME, "Write to"])
        (example,) = store.examples().examples
        assert example.split == side


def test_a_number_is_redacted_and_a_target_that_then_fits_no_schema_is_left_out(
    store: ReplayStore, path: Path
) -> None:
    dial = WEATHER.model_copy(
        update={
            "name": "dial",
            "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}},
        }
    )
    ring = call("dial", number=int(PHONE))
    made = asked(f"Ring {PHONE}", turn(calling(ring)), tools=(dial,))
    store.begin(made)
    store.add_label(label(made, [ring]))
    store.redact([PHONE])
    assert PHONE.encode() not in stored_bytes(path)
    assert store.examples(holdout_share=0).skipped == {"unfit_target": 1}


def test_what_verify_targets_are_given_is_redacted(store: ReplayStore) -> None:
    made = asked(NAME, turn(calling(call("mail", to=NAME))))
    store.begin(made)
    target = Verify(rule="sent", given={"to": [NAME]})
    store.add_label(label(made, "target", source="dataset", target=target))
    name = placeholder(store, NAME)
    (event,) = store.labels()
    assert event.target == Verify(rule="sent", given={"to": [name]})


def test_where_a_text_is_left_is_told(store: ReplayStore) -> None:
    tools = (WEATHER.model_copy(update={"description": f"Weather for {NAME}"}), *TOOLS[1:])
    made = asked("Hello", answer(), tools=tools, principal=NAME)
    store.begin(made)
    store.add_label(label(made, author=NAME))
    assert store.redact([NAME]).left_in == {
        "names of who asked": 1,
        "authors of labels": 1,
        "tools": 1,
    }


def test_a_text_that_stands_in_every_other_word_is_refused(store: ReplayStore) -> None:
    for texts in ([], ["ab"], ["  "]):
        with pytest.raises(ConfigError):
            store.redact(texts)


def test_an_open_reader_is_told_of_and_redacting_again_erases(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)  # rather than half a minute
    with ReplayStore(path) as store:
        store.begin(mail_to_ada())
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM turns").fetchone()
        assert not store.redact([NAME]).is_erased
        reader.close()
        assert store.redact([NAME]).is_erased
    assert b"Count" not in stored_bytes(path)


def test_a_store_of_the_version_before_can_be_redacted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    schema._create(Database(connection, execute_plugins=False))
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    old = {row[1] for row in connection.execute("PRAGMA table_info(turns)")}
    assert "redacted" not in old
    connection.execute(
        "INSERT INTO messages(id, hash, body) VALUES (1, x'00', ?)",
        (json.dumps({"role": "user", "content": NAME}),),
    )
    connection.execute("INSERT INTO toolsets(id, hash, tools) VALUES (1, x'00', '[]')")
    connection.execute(
        "INSERT INTO interactions(seq, id, episode, last_message, toolset, no_train, created_at,"
        " agent, principal, base_model, tokenizer_hash, prompt_version)"
        " VALUES (1, 'int_1', 'ep_1', 1, 1, 0, '2026-01-01T00:00:00.000000+00:00',"
        " '', '', '', '', '')"
    )
    connection.execute(
        "INSERT INTO turns(interaction, idx, completion, reply, complaint, results)"
        " VALUES (1, 0, ?, ?, '\"\"', '[]')",
        (json.dumps({"text": f"<think>t</think>{NAME}"}), json.dumps({"answer": NAME})),
    )
    connection.close()
    with ReplayStore(path) as store:
        assert not store.interaction("int_1").turns[0].redacted
        name = placeholder(store, NAME)
        kept = store.interaction("int_1")
    assert kept.messages[0].content == name
    assert kept.turns[0].reply.answer == name
    assert kept.turns[0].redacted


def test_redacted_records_come_back_from_a_file_as_they_were(store: ReplayStore) -> None:
    store.begin(mail_to_ada())
    store.redact([NAME])
    (kept,) = store.interactions()
    with ReplayStore(":memory:") as other:
        other.begin(kept)
        assert other.interaction(kept.id) == kept
    assert kept.split_place is not None


def test_the_command_reads_texts_from_a_file_and_never_repeats_them(
    store: ReplayStore,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store.begin(mail_to_ada())
    secrets = path.parent / "secrets.txt"
    secrets.write_text(f"{NAME}\n\n{PHONE}\n")

    def run(*arguments: object) -> str:
        monkeypatch.setattr(
            sys, "argv", ["tooln1-agent", "redact", str(path), *map(str, arguments)]
        )
        with pytest.raises(SystemExit):
            main()
        said = capsys.readouterr()
        return said.out + said.err

    said = run("--file", secrets)
    assert "1 messages" in said
    assert "2 turns lost their token ids" in said
    assert len(re.findall(r"text \d is \[redacted-[0-9a-f]{8}\] now", said)) == 2
    assert NAME not in said
    assert "nothing to redact" in run()


@settings(max_examples=200)
@given(st.text(min_size=3), st.text(), st.text())
def test_no_form_of_a_text_survives(secret: str, before: str, behind: str) -> None:
    if len(secret.strip()) < 3:
        return
    (known,) = placeholders_for([secret])
    redactor = Redactor({known: "\0"})
    told = redactor.message(
        Message(
            role="assistant",
            content=before + known + behind + json.dumps(known),
            tool_calls=(call("mail", to=before + known, copy=[known, {known: 1}]),),
        )
    )
    assert known not in told.content or "\0" in known
    assert "\0" in told.content
    assert told.tool_calls[0].arguments["copy"] == ["\0", {"\0": 1}]


def test_completions_hold_no_field_that_tells_tokens_and_is_kept() -> None:
    kept = Completion.model_fields.keys() - {
        "text", "finish_reason", "adapter", "sampling", "usage",
    }  # fmt: skip
    assert all(name.endswith(("_ids", "logprobs")) for name in kept)
