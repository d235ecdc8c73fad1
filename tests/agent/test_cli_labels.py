"""`labels`, `renew` and `find-labels`: what a person sees of labels, and what they may do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.records import WEATHER, after, answer, asked, call, calling, label, turn
from tooln1_agent.cli import main
from tooln1_agent.cli.output import console
from tooln1_agent.errors import LabelRefused
from tooln1_agent.examples import LabelEvent, Verify
from tooln1_agent.replay.found import write_found
from tooln1_agent.replay.hindsight import find_hindsight, hindsight_of
from tooln1_agent.replay.steps import steps_of
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.replay.verified import find_verified
from tooln1_agent.transcript import Interaction

ROME, OSLO = call(city="Rome"), call(city="Oslo")
AGENT = """
from tool_registry import tool
from tooln1_agent import Agent, ScriptedEngine

@tool
def weather(city: str, place: str = "") -> str:
    "Weather in a city, or near it."
    return "sunny"

@tool
def mail(to: str, urgent: bool = False) -> str:
    return "sent"

def is_fine(outcome):
    if any(call.name != "weather" for call in outcome.calls):
        return None
    asked = outcome.given["messages"][-1]["content"]
    if not all(call.arguments["city"] in asked for call in outcome.calls):
        return "another city was asked for"
    return all(result.ok for result in outcome.results)

def breaks(outcome):
    raise RuntimeError("out of order")

agent = Agent(ScriptedEngine([]), tools=[weather, mail], rules=[is_fine, breaks])
shy = Agent(ScriptedEngine([]), tools=[mail])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "agents.py").write_text(AGENT)
    return tmp_path / "replay.db"


@pytest.fixture
def store(path: Path) -> Iterator[ReplayStore]:
    with ReplayStore(path) as opened:
        yield opened


@pytest.fixture
def say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: Path
) -> Callable[..., str]:
    """Run the command beside the agents' module; return what it wrote, errors too."""
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(console, "width", 300)  # a test runner may have set COLUMNS before
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(command: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["tooln1-agent", command, str(path), *map(str, arguments)])
        with pytest.raises(SystemExit):
            main()
        said = capsys.readouterr()
        return said.out + said.err

    return run


def served(store: ReplayStore, *turns: object, text: str = "Weather in Rome?") -> Interaction:
    made = asked(text, *turns)  # type: ignore[arg-type]
    store.begin(made)
    return made


def test_every_label_is_shown_with_who_gave_it_and_why(
    store: ReplayStore, say: Callable[..., str]
) -> None:
    made = served(store, turn(calling(ROME)))
    store.add_label(label(made, [OSLO], author="bob", evidence="she moved", trust=0.5))
    said = say("labels")
    assert f"{made.id} turn 0: " in said
    assert "correction by bob (trust 0.5)" in said
    assert "because: she moved" in said
    assert "Oslo" in said
    assert "1 labelled turns" in said


def test_labels_that_disagree_are_found_on_one_turn_and_between_turns(
    store: ReplayStore, say: Callable[..., str]
) -> None:
    fine = served(store, turn(calling(ROME)), text="Weather at sea?")
    disputed = served(store, turn(calling(ROME)), text="Weather on the moon?")
    twins = [served(store, turn(calling(ROME))) for _ in range(2)]
    store.add_label(label(fine))
    store.add_label(label(disputed, author="ann"))
    store.add_label(label(disputed, "reject", author="bob"))
    store.add_label(label(twins[0], [ROME]))
    store.add_label(label(twins[1], [OSLO]))
    doubted = [served(store, turn(calling(ROME)), text="Weather on Mars?") for _ in range(2)]
    store.add_label(label(doubted[0]))
    store.add_label(label(doubted[1], "reject"))
    ways = [served(store, turn(calling(way)), text="Weather?") for way in (ROME, OSLO)]
    for way in ways:
        store.add_label(label(way))
    found = json.loads(say("labels", "--conflicts", "--json"))
    by_id = {entry["interaction"]: entry for entry in found}
    assert set(by_id) == {disputed.id, *(twin.id for twin in (*twins, *doubted))}
    assert by_id[disputed.id]["disagree"] is True
    assert by_id[twins[0].id]["rivals"] == [{"interaction": twins[1].id, "turn": 0}]
    told = say("labels", "--conflicts")
    assert "by ann" in told
    assert "by bob" in told
    assert "these labels disagree" in told
    assert f"{twins[1].id} turn 0 has the same prompt, and says otherwise" in told


def test_an_expired_label_names_its_tool_and_can_be_renewed(
    store: ReplayStore, say: Callable[..., str], path: Path
) -> None:
    made = served(store, turn(calling(ROME)))
    store.add_label(label(made))
    agent = ("--agent", "agents.py:agent")
    assert "tool 'weather' is gone or has changed" in say("labels", "--expired", *agent)
    assert "renewed turn 0" in say("renew", made.id, *agent, "--author", "ann")
    assert "0 labelled turns" in say("labels", "--expired", *agent)
    (example,) = store.examples(holdout_share=0).examples
    assert "near it" in example.tools[0].description
    assert (example.source, example.target) == ("correction", label(made, [ROME]).target)
    assert "has not expired" in say("renew", made.id, *agent)


def test_what_calls_a_tool_that_is_gone_cannot_be_renewed(
    store: ReplayStore, say: Callable[..., str]
) -> None:
    made = served(store, turn(calling(ROME)))
    store.add_label(label(made))
    assert "no more" in say("renew", made.id, "--agent", "agents.py:shy")
    assert "no label" in say("renew", made.id, "--agent", "agents.py:shy", "--turn", 1)
    assert len(store.labels()) == 1


def test_expired_labels_cannot_be_told_without_the_tools(say: Callable[..., str]) -> None:
    assert "--agent" in say("labels", "--expired")


def test_a_tool_that_was_not_offered_cannot_be_renewed(store: ReplayStore) -> None:
    made = asked("Hello?", answer(), tools=(WEATHER,))
    store.begin(made)
    other = WEATHER.model_copy(update={"name": "other"})
    with pytest.raises(LabelRefused, match="'other' was not offered"):
        store.add_label(label(made, [ROME], renewed=(other,)))
    with pytest.raises(ValueError, match="renews no tools"):
        label(made, "accept", renewed=(WEATHER,))


# Searching traffic


def test_hindsight_is_shown_with_its_evidence_and_written_when_asked(
    store: ReplayStore, say: Callable[..., str]
) -> None:
    wrong = turn(calling(call(town="Rome")), results=["invalid_arguments"])
    made = served(store, wrong, turn(calling(ROME), results=[True]), answer())
    seen = say("find-labels", "hindsight")
    assert f"{made.id} turn 0: " in seen
    assert f"failed with weather: invalid_arguments; turn 1 of {made.id} succeeded" in seen
    assert store.labels() == ()
    assert "1 added" in say("find-labels", "hindsight", "--add")
    assert [event.source for event in store.labels()] == ["hindsight"]
    assert "0 of them new" in say("find-labels", "hindsight", "--add")
    assert len(store.labels()) == 1


def test_rules_accept_and_reject_what_tools_returned(
    store: ReplayStore, say: Callable[..., str]
) -> None:
    right = served(store, turn(calling(ROME), results=[True]))
    wrong = served(store, turn(calling(OSLO), results=[True]))
    others = served(store, turn(calling(call("mail", to="ann")), results=[True]))
    agent = ("--agent", "agents.py:agent")
    assert "another city was asked for" in say("find-labels", "verifier", *agent)
    assert "2 added" in say("find-labels", "verifier", *agent, "--add")
    assert "0 of them new" in say("find-labels", "verifier", *agent, "--add")
    told = {e.interaction: (e.verdict, e.source, e.evidence) for e in store.labels()}
    assert told == {
        right.id: ("accept", "verifier", "'is_fine' accepts the results"),
        wrong.id: ("reject", "verifier", "is_fine: another city was asked for"),
    }
    assert others.id not in told


def test_a_rule_that_changed_its_mind_has_the_last_word(store: ReplayStore) -> None:
    made = served(store, turn(calling(ROME), results=[True]))

    def write(right: bool, hours: float) -> int:
        rules = {"rule": lambda outcome: right}
        return write_found(store, find_verified(store, rules, now=after(hours))).added

    assert [write(True, 0), write(False, 1), write(True, 2), write(True, 3)] == [1, 1, 1, 0]
    (example,) = store.examples(holdout_share=0).examples
    assert example.interaction == made.id


@pytest.mark.parametrize(
    "changes",
    [
        {"turns": (turn(calling(ROME)),)},  # the client ran it, and may say what it likes
        {"turns": (turn(calling(ROME), results=["cancelled"]),)},
        {"turns": (answer(),)},
        {"turns": (turn(calling(ROME), results=[True]),), "no_train": True},
    ],
)
def test_rules_say_nothing_without_results_of_tools_that_ran_here(
    store: ReplayStore, say: Callable[..., str], changes: dict[str, object]
) -> None:
    store.begin(asked("Weather in Rome?", **changes))
    assert "0 found" in say("find-labels", "verifier", "--agent", "agents.py:agent")


def test_a_rule_is_to_judge_what_is_sampled_for_requests_that_nobody_labelled(
    store: ReplayStore, say: Callable[..., str]
) -> None:
    silent = served(store, turn(calling(OSLO), results=[True]))
    spoken = served(store, turn(calling(ROME)), text="Weather in Bonn?")
    store.add_label(label(spoken))
    store.begin(asked("Weather in Genoa?", turn(calling(ROME)), no_train=True))
    flags = ("rule", "--agent", "agents.py:agent", "--rule")
    assert "'is_good' is no rule of the agent" in say("find-labels", *flags, "is_good")
    assert "1 added" in say("find-labels", *flags, "is_fine", "--add")
    assert "0 found" in say("find-labels", *flags, "is_fine")
    (event,) = store.labels(silent.id)
    assert event.source == "verifier"
    assert isinstance(event.target, Verify)
    assert (event.target.rule, event.target.given["messages"][-1]["content"]) == (
        "is_fine",
        "Weather in Rome?",
    )


def test_silence_is_found_after_its_time(store: ReplayStore, say: Callable[..., str]) -> None:
    made = asked("Weather in Rome?", turn(calling(ROME), results=[True]), answer(), stop="answer")
    store.begin(made)
    assert f"{made.id} turn 0: accept" in say("find-labels", "implicit", "--add")
    assert [event.source for event in store.labels()] == ["implicit"]
    assert "0 found" in say("find-labels", "implicit", "--quiet-hours", 10_000_000)


def test_the_query_for_failures_misses_no_hindsight_and_skips_what_went_well(
    store: ReplayStore,
) -> None:
    wrong = call(town="Rome")
    episodes: dict[str, list[Interaction]] = {
        "fine": [asked("Weather in Rome?", turn(calling(ROME), results=[True]), answer())],
        "alone": [asked("Weather in Rome?", turn(calling(wrong), results=["retry"]))],
        "failed": [
            asked(
                "Weather in Rome?",
                turn(calling(wrong), results=["exception"]),
                turn(calling(ROME), results=[True]),
            )
        ],
        "malformed": [
            asked(
                "Weather in Rome?",
                turn("no thought <tool_call>", complaint="think"),
                turn(calling(ROME), results=[True]),
            )
        ],
    }
    expected: list[LabelEvent] = []
    for name, interactions in episodes.items():
        for made in interactions:
            store.begin(made.model_copy(update={"episode": name}))
    assert store.failed_episodes() == ("failed", "malformed")
    for name in store.episodes():
        expected += hindsight_of(steps_of(store.episode(name)), now=after(1))
    assert find_hindsight(store, now=after(1)) == expected
    assert len(expected) == 2
