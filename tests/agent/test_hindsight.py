"""What a later turn says about an earlier one, and what silence says about both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.agent.records import (
    MAIL,
    WEATHER,
    after,
    answer,
    asked,
    call,
    calling,
    label,
    turn,
)
from tool_registry import ToolCall
from tooln1_agent.examples import Exact, LabelEvent
from tooln1_agent.messages import Message
from tooln1_agent.replay.found import write_found
from tooln1_agent.replay.grounding import Said, ungrounded_value
from tooln1_agent.replay.hindsight import find_hindsight
from tooln1_agent.replay.implicit import find_implicit
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction, Turn, turn_messages

ROME, OSLO = call(city="Rome"), call(city="Oslo")
MALFORMED = "<think>a</think><tool_call>[{]</tool_call>"


@pytest.fixture
def store() -> Iterator[ReplayStore]:
    with ReplayStore(":memory:") as opened:
        yield opened


def ran(store: ReplayStore, text: str, *turns: Turn, **changes: Any) -> Interaction:
    interaction = asked(text, *turns, stop="answer", **changes)
    store.begin(interaction)
    return interaction


def calls_of(event: LabelEvent) -> list[ToolCall]:
    assert isinstance(event.target, Exact)
    (way,) = event.target.alternatives
    return list(way)


def found(store: ReplayStore) -> dict[int, list[ToolCall]]:
    """Return the calls that hindsight gives, by turn."""
    return {event.turn: calls_of(event) for event in find_hindsight(store, now=after(1))}


# Hindsight in agent mode


@pytest.mark.parametrize("failure", ["invalid_arguments", "retry", "exception", "timeout"])
def test_a_failed_call_is_labelled_with_the_one_that_succeeded(
    store: ReplayStore, failure: str
) -> None:
    interaction = ran(
        store,
        "Weather in Rome, please?",
        turn(calling(call(town="Rome")), results=[failure]),
        turn(calling(ROME), results=[True]),
        answer(),
    )
    (event,) = find_hindsight(store, now=after(1))
    assert (event.interaction, event.turn, event.source) == (interaction.id, 0, "hindsight")
    assert calls_of(event) == [ROME]
    assert event.created_at == after(1)
    assert failure in event.evidence
    assert f"turn 1 of {interaction.id}" in event.evidence


def test_a_malformed_reply_is_labelled_with_the_calls_that_came_next(store: ReplayStore) -> None:
    ran(
        store,
        "Weather in Rome?",
        turn(MALFORMED, complaint="Write JSON."),
        turn(calling(ROME), results=[True]),
        answer(),
    )
    assert found(store) == {0: [ROME]}


def test_an_unknown_tool_is_labelled_with_the_one_that_was_meant(store: ReplayStore) -> None:
    ran(
        store,
        "Weather in Rome?",
        turn(calling(call("get_weather", town="Rome")), results=["unknown_tool"]),
        turn(calling(ROME), results=[True]),
    )
    assert found(store) == {0: [ROME]}


def test_an_unknown_tool_is_not_taken_for_one_that_does_something_else(store: ReplayStore) -> None:
    ran(
        store,
        "Weather in Rome? Mail ann.",
        turn(calling(call("forecasting", town="Rome")), results=["unknown_tool"]),
        turn(calling(call("mail", to="ann")), results=[True]),
    )
    assert found(store) == {}


def test_calls_that_had_succeeded_are_kept_in_their_place(store: ReplayStore) -> None:
    mail = call("mail", to="ann")
    ran(
        store,
        "Weather in Oslo and Rome; mail ann.",
        turn(calling(OSLO, call(town="Rome"), mail), results=[True, "invalid_arguments", True]),
        turn(calling(OSLO, ROME), results=[True, True]),
    )
    assert found(store) == {0: [OSLO, ROME, mail]}


def test_each_failed_try_is_labelled(store: ReplayStore) -> None:
    ran(
        store,
        "Weather in Rome?",
        turn(MALFORMED, complaint="Write JSON."),
        turn(calling(call(town="Rome")), results=["invalid_arguments"]),
        turn(calling(ROME), results=[True]),
    )
    assert found(store) == {0: [ROME], 1: [ROME]}


def test_a_value_that_only_came_up_later_is_no_label(store: ReplayStore) -> None:
    ran(
        store,
        "Weather where I live?",
        turn(calling(call(city="?")), results=["retry"]),
        turn(calling(call("mail", to="me")), results=[True]),
        turn(calling(ROME), results=[True]),
    )
    assert found(store) == {}


def test_a_failure_that_was_never_mended_is_no_label(store: ReplayStore) -> None:
    failed = turn(calling(call(town="Rome")), results=["invalid_arguments"])
    ran(store, "Weather in Rome?", failed, failed, answer())
    ran(store, "Weather in Rome?", turn(MALFORMED, complaint="Write JSON."), answer())
    assert found(store) == {}


def test_where_one_of_two_failures_was_never_mended_there_is_no_label(store: ReplayStore) -> None:
    ran(
        store,
        "Weather in Rome and Oslo?",
        turn(calling(call(town="Rome"), call(town="Oslo")), results=["retry", "retry"]),
        turn(calling(ROME), results=[True]),
    )
    assert found(store) == {}


def test_what_must_not_be_trained_on_is_not_labelled(store: ReplayStore) -> None:
    ran(
        store,
        "Weather in Rome?",
        turn(MALFORMED, complaint="Write JSON."),
        turn(calling(ROME), results=[True]),
        no_train=True,
    )
    assert found(store) == {}


# Hindsight in client mode


def client_requests(
    store: ReplayStore, *steps: tuple[Turn, Sequence[str]], last_words: Sequence[Message] = ()
) -> None:
    """Record the requests of a client that runs the calls itself and sends what came back."""
    messages = [Message(role="user", content="Weather in Rome?")]
    for made, results in steps:
        stop = "client_calls" if made.reply.calls else "answer"
        store.begin(asked(messages, made, episode="ep_1", stop=stop))
        messages += turn_messages(made)
        messages += [
            Message(role="tool", content=content, tool_call_id=each.id)
            for each, content in zip(made.reply.calls, results, strict=True)
        ]
        messages += last_words


@pytest.mark.parametrize(
    ("first", "result"),
    [
        (call(town="Rome"), "whatever the client said"),
        (ROME, "Error: the service is down"),
        (ROME, '{"error": {"code": 503}}'),
        (ROME, "Traceback (most recent call last):\n ..."),
    ],
)
def test_a_call_that_failed_at_the_client_is_labelled(
    store: ReplayStore, first: ToolCall, result: str
) -> None:
    client_requests(
        store, (turn(calling(first)), [result]), (turn(calling(ROME)), ["sunny"]), (answer(), [])
    )
    (event,) = find_hindsight(store)
    assert calls_of(event) == [ROME]


def test_a_call_whose_result_never_came_back_succeeded_for_nobody(store: ReplayStore) -> None:
    client_requests(store, (turn(calling(call(town="Rome"))), ["no"]), (turn(calling(ROME)), ["x"]))
    assert find_hindsight(store) == []


def test_after_the_user_has_spoken_again_nothing_is_mended(store: ReplayStore) -> None:
    client_requests(
        store,
        (turn(calling(call(town="Rome"))), ["no"]),
        (turn(calling(ROME)), ["sunny"]),
        (answer(), []),
        last_words=[Message(role="user", content="I meant Rome in Georgia.")],
    )
    assert find_hindsight(store) == []


# Grounding


@pytest.mark.parametrize(
    ("text", "arguments", "grounded"),
    [
        ("Weather in ROME!", {"city": "rome"}, True),
        ("Weather in Rome-Nord", {"city": "Rome Nord"}, True),
        ("Weather in Jerome", {"city": "Rome"}, False),
        ("Weather", {"city": ""}, False),
        ("Rome for 3 days", {"city": "Rome", "days": 3}, True),
        ("Rome for three days", {"city": "Rome", "days": 3}, True),
        ("Rome for 3.0 days", {"city": "Rome", "days": 3}, True),
        ("Rome for 1,000 days", {"city": "Rome", "days": 1000}, True),
        ("Rome for 30 days", {"city": "Rome", "days": 3}, False),
        ("Rome, room B3", {"city": "Rome", "days": 3}, False),
        ("Rome", {"city": "Rome", "days": 1}, True),  # the schema's default
        ("Rome", {"city": "Rome", "unit": "celsius"}, True),  # in the schema's enum
        ("Rome", {"city": "Rome", "unit": "kelvin"}, False),
        ("Rome", {"city": "Rome", "days": None}, True),
        ("Rome", {"city": "Rome", "days": True}, True),
        ("Rome", {"city": "Rome", "extra": {"size": "Rome"}}, False),
        ("Rome extra size", {"city": "Rome", "extra": {"size": ["Rome"]}}, True),
        ("Rome", {"city": "Rome", "days": 10**400}, False),
    ],
)
def test_a_value_is_grounded_if_it_was_said_or_the_schema_offers_it(
    text: str, arguments: dict[str, Any], grounded: bool
) -> None:
    said = Said([Message(role="user", content=text)])
    wrong = ungrounded_value(ToolCall(name="weather", arguments=arguments), said, WEATHER)
    assert (wrong is None) == grounded


def test_what_the_operator_or_the_model_said_grounds_nothing() -> None:
    said = Said(
        [
            Message(role="system", content="Rome"),
            Message(role="assistant", content="Rome"),
            Message(role="tool", content="Oslo"),
        ]
    )
    assert "Rome" not in said
    assert "Oslo" in said


def test_the_value_without_ground_is_named() -> None:
    said = Said([Message(role="user", content="mail")])
    wrong = ungrounded_value(call("mail", to="ann", urgent=True), said, MAIL)
    assert wrong == "mail.to: 'ann'"


# Writing what was found


def test_labels_that_were_found_are_written_once(store: ReplayStore) -> None:
    ran(
        store,
        "Weather in Rome?",
        turn(MALFORMED, complaint="Write JSON."),
        turn(calling(ROME), results=[True]),
    )
    assert write_found(store, find_hindsight(store)) == (1, 0, 0)
    assert write_found(store, find_hindsight(store)) == (0, 1, 0)
    assert len(store.labels()) == 1
    (example,) = store.examples(holdout_share=0).examples
    assert example.source == "hindsight"
    assert example.messages == (Message(role="user", content="Weather in Rome?"),)


def test_labels_that_the_store_refuses_are_counted(store: ReplayStore) -> None:
    interaction = ran(store, "q", turn(calling(ROME)))
    bad = label(interaction, [call("gone")], source="hindsight")
    assert write_found(store, [bad]) == (0, 0, 1)


# Silence


def silent(store: ReplayStore, hours: float = 48) -> list[tuple[str, int]]:
    events = find_implicit(store, quiet_s=24 * 3600, now=after(hours))
    assert all(event.verdict == "accept" and event.source == "implicit" for event in events)
    return [(event.interaction, event.turn) for event in events]


GOOD = (turn(calling(ROME), results=[True]), answer())


def test_what_worked_and_nobody_objected_to_is_accepted_weakly(store: ReplayStore) -> None:
    interaction = ran(store, "Weather in Rome?", *GOOD)
    assert silent(store) == [(interaction.id, 0)]
    write_found(store, find_implicit(store, quiet_s=0, now=after(1)))
    (example,) = store.examples(holdout_share=0).examples
    assert example.target == Exact(alternatives=((ROME,),))
    assert example.source == "implicit"
    assert silent(store) == [(interaction.id, 0)]
    assert write_found(store, find_implicit(store, quiet_s=0, now=after(2))).added == 0


def test_silence_says_nothing_before_its_time(store: ReplayStore) -> None:
    ran(store, "Weather in Rome?", *GOOD)
    assert silent(store, hours=23) == []


def test_silence_says_nothing_where_something_failed(store: ReplayStore) -> None:
    ran(store, "a", turn(calling(call(town="x")), results=["invalid_arguments"]), *GOOD)
    ran(store, "b", turn(MALFORMED, complaint="Write JSON."), *GOOD)
    ran(store, "c", turn(calling(ROME).removeprefix("<think>I call.</think>"), results=[True]))
    assert silent(store) == []


def test_silence_says_nothing_where_no_answer_came(store: ReplayStore) -> None:
    for stop in (None, "max_turns", "cancelled"):
        store.begin(asked("a", *GOOD, stop=stop))
    assert silent(store) == []


def test_where_somebody_spoke_there_is_no_silence(store: ReplayStore) -> None:
    interaction = ran(store, "a", *GOOD)
    store.add_label(label(interaction, "reject"))
    assert silent(store) == []


def test_silence_teaches_neither_answers_nor_what_must_not_be_trained_on(
    store: ReplayStore,
) -> None:
    ran(store, "a", answer())
    ran(store, "b", *GOOD, no_train=True)
    assert silent(store) == []


def test_silence_at_the_end_of_a_clients_conversation_counts(store: ReplayStore) -> None:
    client_requests(store, (turn(calling(ROME)), ["sunny"]), (answer(), []))
    first, _ = store.episode("ep_1")
    assert silent(store) == [(first.id, 0)]
