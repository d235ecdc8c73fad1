"""Which labels the store takes, and the examples they become."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agent.records import (
    MAIL,
    NOW,
    TOOLS,
    WEATHER,
    after,
    answer,
    asked,
    call,
    calling,
    label,
    turn,
)
from tool_registry import ToolCall, ToolSpec
from tooln1_agent.errors import LabelRefused, StoreError, UnknownRecord
from tooln1_agent.examples import AnyCall, Exact, NoCall, Possible, Target, Verify, split_of
from tooln1_agent.messages import Message
from tooln1_agent.replay.collect import ExampleSet
from tooln1_agent.replay.labels import LabelPolicy
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction

ROME, OSLO = call(city="Rome"), call(city="Oslo")


@pytest.fixture
def store() -> Iterator[ReplayStore]:
    with ReplayStore(":memory:") as opened:
        yield opened


def served(store: ReplayStore, interaction: Interaction) -> Interaction:
    store.begin(interaction)
    return interaction


def question(split: str, number: int = 0) -> str:
    """Return a text that falls on that side of the split."""
    texts = (f"Question {n}?" for n in range(10_000))
    found = [t for t in texts if split_of([Message(role="user", content=t)]) == split]
    return found[number]


def only_target(found: ExampleSet) -> Target:
    (example,) = found.examples
    return example.target


# What is taken and what is refused


def test_labels_are_kept_in_the_order_they_came(store: ReplayStore) -> None:
    one = served(store, asked("a", turn(calling(ROME))))
    two = served(store, asked("b", turn(calling(ROME))))
    events = (
        label(one, "accept", created_at=after(1)),
        label(two, [OSLO]),
        label(one, "reject", source="verifier", trust=0.5, evidence="\ud800 odd"),
        label(one, "target", target=NoCall(), source="dataset"),
        label(one, "target", target=AnyCall(), source="dataset"),
    )
    for event in events:
        store.add_label(event)
    assert store.labels() == events
    assert store.labels(two.id) == events[1:2]
    assert store.labels("int_x") == ()


def test_a_label_names_what_it_cannot_find(store: ReplayStore) -> None:
    with pytest.raises(UnknownRecord, match="int_x"):
        store.add_label(label("int_x"))
    interaction = served(store, asked("a", answer()))
    with pytest.raises(UnknownRecord, match="has 1 turns, counted from 0"):
        store.add_label(label(interaction, turn=1))


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([call("gone", x=1)], r"'gone' was not offered to it; offered: mail, weather"),
        ([call("weather")], r"arguments for 'weather' do not fit: .*city"),
        ([call(city=3)], r"arguments for 'weather' do not fit: .*city"),
        ([ROME, call("mail", to="x", urgent="yes")], r"arguments for 'mail' do not fit: .*urgent"),
        ([call(city="Rome", where="x")], r"do not fit: .*where"),
        ([], "use a no_call target"),
    ],
)
def test_a_target_that_cannot_be_right_is_refused(
    store: ReplayStore, calls: list[ToolCall], message: str
) -> None:
    interaction = served(store, asked("a", turn(calling(ROME))))
    with pytest.raises(LabelRefused, match=message):
        store.add_label(label(interaction, calls))
    assert store.labels() == ()


def test_the_names_in_acceptable_calls_are_checked(store: ReplayStore) -> None:
    interaction = served(store, asked("a", turn(calling(ROME))))
    possible = Possible.model_validate({"calls": [{"name": "gone", "arguments": {}}]})
    with pytest.raises(LabelRefused, match="'gone' was not offered"):
        store.add_label(label(interaction, "target", target=possible, source="dataset"))


def test_a_turn_without_tools_can_only_be_told_not_to_call(store: ReplayStore) -> None:
    interaction = served(store, asked("a", answer(), tools=()))
    with pytest.raises(LabelRefused, match="offered: no tools"):
        store.add_label(label(interaction, [ROME]))
    store.add_label(label(interaction, "target", target=NoCall(), source="correction"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<think>a</think><tool_call>[", "malformed"),
        (calling(call("gone")), "'gone' was not offered"),
        (calling(call(city=3)), "do not fit"),
    ],
)
def test_what_could_not_run_cannot_be_accepted_but_can_be_rejected(
    store: ReplayStore, text: str, message: str
) -> None:
    interaction = served(store, asked("a", turn(text)))
    with pytest.raises(LabelRefused, match=message):
        store.add_label(label(interaction, "accept"))
    store.add_label(label(interaction, "reject"))
    assert store.examples().examples == ()


def test_an_author_without_trust_cannot_label(store: ReplayStore) -> None:
    interaction = served(store, asked("a", turn(calling(ROME))))
    with pytest.raises(LabelRefused, match="'eve' is not trusted"):
        store.add_label(label(interaction, author="eve", trust=0.0))


def test_a_schema_that_cannot_be_used_is_no_ground_for_a_label(store: ReplayStore) -> None:
    broken = ToolSpec(
        name="broken", parameters={"type": "object", "properties": {"x": {"type": "nonsense"}}}
    )
    interaction = served(store, asked("a", turn(calling(ROME)), tools=(*TOOLS, broken)))
    with pytest.raises(LabelRefused, match="schema cannot be used"):
        store.add_label(label(interaction, [call("broken", x=1)]))


def test_what_one_author_can_teach_in_a_day_is_bounded() -> None:
    policy = LabelPolicy(max_labels_per_author_per_day=2)
    with ReplayStore(":memory:", policy=policy) as store:
        interaction = served(store, asked("a", turn(calling(ROME))))
        store.add_label(label(interaction))
        store.add_label(label(interaction, "reject", created_at=after(11)))
        with pytest.raises(LabelRefused, match=r"'ann' has given 2 labels on 2026-05-01"):
            store.add_label(label(interaction, created_at=after(1)))
        store.add_label(label(interaction, author="bob"))
        store.add_label(label(interaction, created_at=after(12)))
        store.add_label(label(interaction, source="dataset"))
        assert len(store.labels()) == 5


# Prompts that were never served


def test_a_prompt_that_was_never_served_can_be_given_a_target(store: ReplayStore) -> None:
    interaction = served(store, asked("a"))
    store.add_label(label(interaction, [ROME], source="dataset"))
    assert only_target(store.examples(holdout_share=0)) == Exact(alternatives=((ROME,),))


def test_there_is_nothing_to_accept_in_a_prompt_that_was_never_served(store: ReplayStore) -> None:
    interaction = served(store, asked("a"))
    for verdict in ("accept", "reject"):
        with pytest.raises(LabelRefused, match="never served"):
            store.add_label(label(interaction, verdict))
    with pytest.raises(UnknownRecord):
        store.add_label(label(interaction, [ROME], turn=1))


# Examples


def test_an_example_is_the_prompt_its_turn_saw(store: ReplayStore) -> None:
    first = turn(calling(ROME), results=[True])
    interaction = served(store, asked(question("train"), first, turn(calling(OSLO))))
    store.add_label(label(interaction, [call("mail", to="x")], turn=1, created_at=after(2)))
    (example,) = store.examples().examples
    (made,) = first.reply.calls
    assert example.messages == (
        Message(role="user", content=question("train")),
        Message(role="assistant", tool_calls=(made,)),
        Message(role="tool", content="fine", tool_call_id=made.id),
    )
    assert example.tools == TOOLS
    assert (example.interaction, example.turn) == (interaction.id, 1)
    assert (example.split, example.source, example.is_call) == ("train", "correction", True)
    assert example.created_at == after(2)


def test_a_rejected_call_is_never_a_target(store: ReplayStore) -> None:
    interaction = served(store, asked("a", turn(calling(ROME))))
    store.add_label(label(interaction, "reject"))
    found = store.examples()
    assert found.examples == ()
    assert found.skipped == {"no_target": 1}


def test_no_train_is_honoured(store: ReplayStore) -> None:
    interaction = served(store, asked("a", turn(calling(ROME)), no_train=True))
    store.add_label(label(interaction))
    assert store.examples() == ExampleSet((), {"no_train": 1})


def test_an_answer_after_tool_results_is_no_example(store: ReplayStore) -> None:
    interaction = served(store, asked("a", turn(calling(ROME), results=[True]), answer()))
    store.add_label(label(interaction, "accept", turn=1))
    assert store.examples(holdout_share=0) == ExampleSet((), {"answer_after_results": 1})


def test_an_answer_to_a_question_that_needs_no_tool_is_an_example(store: ReplayStore) -> None:
    interaction = served(store, asked("a", answer()))
    store.add_label(label(interaction, "accept"))
    assert only_target(store.examples(holdout_share=0)) == NoCall()


@pytest.mark.parametrize("source", ["hindsight", "implicit"])
def test_weak_labels_teach_but_never_judge(store: ReplayStore, source: str) -> None:
    for split in ("train", "holdout"):
        interaction = served(store, asked(question(split), turn(calling(ROME))))
        store.add_label(label(interaction, [ROME], source=source))
    found = store.examples()
    assert [example.split for example in found.examples] == ["train"]
    assert found.skipped == {"weak_in_holdout": 1}


def test_sure_labels_fall_on_both_sides(store: ReplayStore) -> None:
    for split in ("train", "holdout"):
        interaction = served(store, asked(question(split), turn(calling(ROME))))
        store.add_label(label(interaction, "accept"))
    assert sorted(example.split for example in store.examples().examples) == ["holdout", "train"]


def test_an_example_expires_when_a_tool_it_calls_has_changed(store: ReplayStore) -> None:
    interaction = served(store, asked("a", turn(calling(ROME))))
    store.add_label(label(interaction))
    changed = WEATHER.model_copy(update={"description": "Other."})
    other = MAIL.model_copy(update={"description": "Other."})

    def found(*tools: ToolSpec) -> ExampleSet:
        return store.examples(holdout_share=0, tools_now=tools)

    assert len(found(WEATHER, MAIL).examples) == 1
    assert len(found(WEATHER, other).examples) == 1
    assert found(changed, MAIL) == ExampleSet((), {"tool_changed": 1})
    assert found(MAIL) == ExampleSet((), {"tool_changed": 1})
    assert len(store.examples(holdout_share=0).examples) == 1


def test_tools_that_are_none_of_the_agents_do_not_expire_unless_they_must_be_run(
    store: ReplayStore,
) -> None:
    other = WEATHER.model_copy(update={"name": "other"})
    interaction = served(store, asked("a", turn(calling(ROME))))
    store.add_label(label(interaction))
    assert len(store.examples(holdout_share=0, tools_now=[other]).examples) == 1
    wanted = Verify(rule="schema", given={"schema": {}})
    store.add_label(label(interaction, "target", source="correction", target=wanted))
    assert store.examples(holdout_share=0, tools_now=[other]).skipped == {"tool_changed": 1}


def test_a_prompt_that_is_asked_again_is_one_example(store: ReplayStore) -> None:
    for _ in range(3):
        store.add_label(label(served(store, asked("a", turn(calling(ROME))))))
    found = store.examples(holdout_share=0)
    assert len(found.examples) == 1
    assert found.skipped == {"duplicate": 2}


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        (("correction", 0), ("correction", 1), 1),
        (("correction", 1), ("correction", 0), 0),
        (("correction", 0), ("dataset", 9), 0),
        (("hindsight", 9), ("feedback", 0), 1),
    ],
)
def test_where_labels_of_one_prompt_differ_the_strongest_then_the_newest_counts(
    store: ReplayStore, first: tuple[str, int], second: tuple[str, int], winner: int
) -> None:
    targets = (ROME, OSLO)
    for (source, hours), made in zip((first, second), targets, strict=True):
        interaction = served(store, asked("a", turn(calling(ROME))))
        store.add_label(label(interaction, [made], source=source, created_at=after(hours)))
    found = store.examples(holdout_share=0)
    assert only_target(found) == Exact(alternatives=((targets[winner],),))
    assert found.skipped == {"conflict": 1}


def test_calls_that_were_accepted_for_one_prompt_are_ways_beside_each_other(
    store: ReplayStore,
) -> None:
    for hours, made in enumerate((ROME, OSLO, ROME)):
        interaction = served(store, asked("a", turn(calling(made))))
        store.add_label(label(interaction, created_at=after(hours)))
    found = store.examples(holdout_share=0)
    assert only_target(found) == Exact(alternatives=((ROME,), (OSLO,)))
    assert found.skipped["joined"] >= 1


@pytest.mark.parametrize(
    ("accept", "reject", "is_taught"),
    [
        (("feedback", 0), ("feedback", 1), False),
        (("feedback", 1), ("feedback", 0), True),
        (("implicit", 9), ("feedback", 0), False),
        (("feedback", 0), ("verifier", 9), True),
    ],
)
@pytest.mark.parametrize("reject_first", [True, False])
def test_what_was_rejected_for_a_prompt_is_rejected_wherever_it_was_asked(
    store: ReplayStore,
    accept: tuple[str, int],
    reject: tuple[str, int],
    is_taught: bool,
    reject_first: bool,
) -> None:
    words = [("accept", *accept), ("reject", *reject)]
    for verdict, source, hours in reversed(words) if reject_first else words:
        interaction = served(store, asked("a", turn(calling(ROME))))
        event = label(interaction, verdict, source=source, created_at=after(hours))
        store.add_label(event)
    found = store.examples(holdout_share=0)
    assert bool(found.examples) is is_taught
    if not is_taught:
        assert found.skipped == {"no_target": 1, "rejected_elsewhere": 1}


def test_other_ways_outlive_one_that_was_rejected_for_the_same_prompt(store: ReplayStore) -> None:
    for hours, (made, verdict) in enumerate(((ROME, "accept"), (OSLO, "accept"), (ROME, "reject"))):
        interaction = served(store, asked("a", turn(calling(made))))
        store.add_label(label(interaction, verdict, created_at=after(hours)))
    assert only_target(store.examples(holdout_share=0)) == Exact(alternatives=((OSLO,),))


def test_a_set_counts_what_it_holds(store: ReplayStore) -> None:
    two = [ROME, call("mail", to="x")]
    store.add_label(label(served(store, asked("a", turn(calling(*two))))))
    store.add_label(label(served(store, asked("b", turn(calling(ROME)))), [OSLO]))
    store.add_label(label(served(store, asked("c", answer())), created_at=after(-1)))
    found = store.examples(holdout_share=0)
    assert found.by_tool == {"weather": 2, "mail": 1}
    assert found.by_source == {"feedback": 2, "correction": 1}
    assert (found.calls, found.no_calls) == (2, 1)
    assert found.examples[0].created_at == after(-1)


def test_the_same_store_gives_the_same_examples(store: ReplayStore) -> None:
    for number in range(20):
        interaction = served(store, asked(f"q{number}", turn(calling(ROME))))
        store.add_label(label(interaction, created_at=NOW))
    assert store.examples() == store.examples()


def test_a_label_that_cannot_be_written_leaves_nothing(store: ReplayStore) -> None:
    interaction = served(store, asked("a", turn(calling(ROME))))
    with pytest.raises(StoreError, match="surrogate"):
        store.add_label(label(interaction, author="\ud800"))
    assert store.labels() == ()
