"""Label events to targets, prompts to examples, conversations to sides of the split."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.agent.records import NOW, TOOLS, WEATHER, after, call, calling, label
from tool_registry import ToolCall, ToolSpec
from tooln1_agent.effective import effective_target
from tooln1_agent.examples import (
    STRENGTH,
    Exact,
    LabelEvent,
    NoCall,
    Possible,
    Target,
    example_id,
    split_of,
)
from tooln1_agent.messages import Message
from tooln1_agent.parsing import Reply, parse

ROME, OSLO, BERN = call(city="Rome"), call(city="Oslo"), call(city="Bern")
SAID_ROME = parse(calling(ROME))
ACCEPT, REJECT = label("i", "accept"), label("i", "reject")


def exactly(*ways: ToolCall) -> Exact:
    return Exact(alternatives=tuple((way,) for way in ways))


def target_of(*events: LabelEvent, reply: Reply = SAID_ROME) -> Target | None:
    found = effective_target(events, reply)
    return None if found is None else found.target


def test_without_labels_there_is_no_target() -> None:
    assert effective_target([], SAID_ROME) is None


def test_an_accepted_turn_is_its_own_target() -> None:
    found = effective_target([ACCEPT], SAID_ROME)
    assert found is not None
    assert found.target == exactly(ROME)
    assert found.source == "feedback"
    assert found.created_at == NOW


def test_the_call_ids_of_a_turn_are_no_part_of_its_target() -> None:
    reply = Reply(calls=(ToolCall(id="call_1", name="weather", arguments={"city": "Rome"}),))
    assert target_of(ACCEPT, reply=reply) == exactly(ROME)


def test_an_accepted_answer_means_no_call() -> None:
    assert target_of(ACCEPT, reply=parse("<think>a</think>Hi.")) == NoCall()


def test_an_accepted_reply_that_cannot_be_read_means_nothing() -> None:
    assert target_of(ACCEPT, reply=parse("<think>a</think><tool_call>[")) is None


def test_a_reject_alone_never_makes_a_target() -> None:
    assert target_of(REJECT) is None
    assert target_of(REJECT, reply=parse("<think>a</think>Hi.")) is None


def test_the_newer_of_two_opinions_counts() -> None:
    assert target_of(ACCEPT, label("i", "reject", created_at=after(1))) is None
    assert target_of(label("i", "accept", created_at=after(1)), REJECT) == exactly(ROME)


def test_a_weak_accept_does_not_outweigh_an_older_reject() -> None:
    weak = label("i", "accept", source="implicit", created_at=after(1))
    assert target_of(REJECT, weak) is None


def test_a_correction_is_the_target_whatever_was_rejected() -> None:
    assert target_of(REJECT, label("i", [OSLO])) == exactly(OSLO)
    assert target_of(label("i", [OSLO]), label("i", "reject", created_at=after(1))) == exactly(OSLO)


def test_an_accept_is_another_way_beside_a_correction() -> None:
    assert target_of(label("i", [OSLO]), ACCEPT) == exactly(OSLO, ROME)
    assert target_of(label("i", [ROME]), ACCEPT) == exactly(ROME)


def test_an_implicit_accept_adds_nothing_to_a_correction() -> None:
    weak = label("i", "accept", source="implicit", created_at=after(1))
    assert target_of(label("i", [OSLO]), weak) == exactly(OSLO)


def test_the_stronger_source_wins_over_the_newer() -> None:
    dataset = label("i", [OSLO], source="dataset", created_at=after(9))
    assert target_of(dataset, label("i", [BERN])) == exactly(BERN)


def test_of_two_corrections_the_newer_wins() -> None:
    newer = label("i", [BERN], created_at=after(1))
    assert target_of(newer, label("i", [OSLO])) == exactly(BERN)


def test_an_accept_wins_over_a_weaker_target() -> None:
    assert target_of(label("i", [OSLO], source="hindsight"), ACCEPT) == exactly(ROME)


@pytest.mark.parametrize("source", ["dataset", "hindsight", "verifier"])
def test_a_rejected_call_is_taken_out_of_a_weaker_target(source: str) -> None:
    both = label("i", "target", target=exactly(ROME, OSLO), source=source, created_at=after(1))
    assert target_of(both, REJECT) == exactly(OSLO)
    assert target_of(label("i", [ROME], source=source), REJECT) is None


def test_a_reject_takes_an_answer_out_of_a_weaker_no_call() -> None:
    no_call = label("i", "target", target=NoCall(), source="dataset")
    assert target_of(no_call, REJECT, reply=parse("<think>a</think>Hi.")) is None
    assert target_of(no_call, REJECT) == NoCall()


def test_a_target_that_is_newer_than_a_reject_of_its_strength_stands() -> None:
    given_later = label("i", [ROME], source="feedback", created_at=after(1))
    assert target_of(REJECT, given_later) == exactly(ROME)
    given_before = label("i", [ROME], source="feedback", created_at=after(-1))
    assert target_of(given_before, REJECT) is None


EVENTS = st.lists(
    st.builds(
        lambda verdict, source, hours: label("i", verdict, source=source, created_at=after(hours)),
        st.sampled_from(["accept", "reject", [ROME], [OSLO]]),
        st.sampled_from(sorted(STRENGTH)),
        st.integers(0, 100),
    ),
    max_size=6,
    unique_by=lambda event: event.created_at,
)


@given(EVENTS, st.randoms())
def test_the_target_does_not_depend_on_the_order_in_which_events_are_read(
    events: list[LabelEvent], random: object
) -> None:
    before = effective_target(events, SAID_ROME)
    random.shuffle(events)  # type: ignore[attr-defined]
    assert effective_target(events, SAID_ROME) == before


@given(EVENTS)
def test_without_a_positive_event_there_is_no_target(events: list[LabelEvent]) -> None:
    rejects = [event for event in events if event.verdict == "reject"]
    assert effective_target(rejects, SAID_ROME) is None
    found = effective_target(events, SAID_ROME)
    if found is not None:
        assert found.source in {event.source for event in events if event.verdict != "reject"}


# Records


def test_a_target_goes_with_its_verdict_only() -> None:
    with pytest.raises(ValidationError, match="needs a target"):
        label("i", "target")
    with pytest.raises(ValidationError, match="take none"):
        label("i", "accept", target=NoCall())


def test_times_are_brought_to_utc() -> None:
    there = timezone(timedelta(hours=5, minutes=30))
    event = label("i", created_at=datetime(2026, 5, 1, 17, 30, tzinfo=there))
    assert event.created_at == NOW
    assert event.created_at.utcoffset() == timedelta(0)
    assert label("i", created_at=datetime(2026, 5, 1, 12)).created_at == NOW


def test_an_empty_list_among_acceptable_calls_is_refused() -> None:
    with pytest.raises(ValidationError):
        Possible(calls=())


# Prompts


def user(text: str) -> Message:
    return Message(role="user", content=text)


def test_equal_prompts_are_one_example_whatever_the_call_ids() -> None:
    def prompt(call_id: str) -> list[Message]:
        made = ToolCall(id=call_id, name="weather", arguments={"city": "Rome"})
        return [
            user("Rome?"),
            Message(role="assistant", tool_calls=(made,)),
            Message(role="tool", content="sunny", tool_call_id=call_id),
        ]

    assert example_id(prompt("a"), TOOLS) == example_id(prompt("b"), TOOLS)


def test_another_text_or_another_tool_is_another_example() -> None:
    changed = WEATHER.model_copy(update={"description": "Other."})
    ids = {
        example_id([user("Rome?")], TOOLS),
        example_id([user("Rome")], TOOLS),
        example_id([Message(role="system", content="Rome?")], TOOLS),
        example_id([user("Rome?")], (changed, *TOOLS[1:])),
        example_id([user("Rome?")], TOOLS[:1]),
        example_id([user("Rome?")], ()),
    }
    assert len(ids) == 6


def test_text_with_half_a_surrogate_pair_has_an_id_and_a_side() -> None:
    assert len(example_id([user("a\ud800")], [ToolSpec(name="f")])) == 16
    assert split_of([user("a\ud800")]) in ("train", "holdout")


@given(st.text(), st.lists(st.text(), max_size=2), st.floats(0, 1))
def test_a_conversation_stays_on_its_side_as_it_goes_on(
    first: str, later: list[str], share: float
) -> None:
    begun = [Message(role="system", content="s"), user(first)]
    more = [*begun, Message(role="assistant", content="a"), *map(user, later)]
    assert split_of(begun, holdout_share=share) == split_of(more, holdout_share=share)


def test_case_and_space_do_not_move_a_question_to_the_other_side() -> None:
    for number in range(50):
        asked, again = f"Is it {number}?", f"  is  IT\n{number}? "
        assert split_of([user(asked)]) == split_of([user(again)])


def test_the_share_held_out_is_about_what_was_asked_for() -> None:
    sides = [split_of([user(f"Question {n}")], holdout_share=0.25) for n in range(4000)]
    assert 900 < sides.count("holdout") < 1100
    assert split_of([user("x")], holdout_share=0.0) == "train"
    assert split_of([user("x")], holdout_share=1.0) == "holdout"
