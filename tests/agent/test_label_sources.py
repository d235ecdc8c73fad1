"""Each source of labels, whole: from a request that the server answered to the example it teaches.

A real server over a store on disk, a scripted model, tools that really run; then what each source
must refuse.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.agent.records import call, calling
from tests.agent.served import CHAT, Kit, body, kit
from tool_registry import ToolCall, ToolRetry, tool
from tooln1_agent.agent import Agent
from tooln1_agent.datasets import BenchmarkRow
from tooln1_agent.datasets.imports import label_from_rows
from tooln1_agent.engines.base import ModelRequest
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.errors import LabelRefused
from tooln1_agent.examples import Exact, Example, LabelEvent, NoCall, Target, Verify, split_of
from tooln1_agent.messages import Message
from tooln1_agent.replay.collect import ExampleSet
from tooln1_agent.replay.found import write_found
from tooln1_agent.replay.hindsight import find_hindsight
from tooln1_agent.replay.implicit import find_implicit
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.replay.verified import find_verified
from tooln1_agent.rules import Outcome, Rule, named_rules
from tooln1_agent.verifier import examples_for, score_by

ANSWER = "<think>I know.</think>Done."
BOOK, BOOKED = call("book", seats=2), Exact(alternatives=((call("book", seats=2),),))
FREE_SEATS = 4


def book(seats: int) -> dict[str, int]:
    """Book seats in the restaurant.

    Args:
        seats: How many
    """
    if seats > FREE_SEATS:
        raise ToolRetry(f"{FREE_SEATS} seats are free")
    return {"booked": seats}


BOOK_TOOL = tool(book).spec.to_openai()


def script(*calls: ToolCall) -> Callable[[ModelRequest], str]:
    """Make the calls of a conversation one after another, then answer; at "Hello" just answer."""

    def reply(request: ModelRequest) -> str:
        made = sum(message.role == "assistant" for message in request.messages)
        greeted = any(m.role == "user" and "Hello" in m.content for m in request.messages)
        return calling(calls[made]) if made < len(calls) and not greeted else ANSWER

    return reply


class House:
    """A served agent, its store, and who may say what of it."""

    def __init__(self, store: ReplayStore) -> None:
        self.store = store

    async def serve(
        self,
        text: str = "",
        *,
        split: str = "train",
        calls: tuple[ToolCall, ...] = (BOOK,),
        **more: Any,
    ) -> str:
        """Have a request answered that falls on a side of the split; return its id."""
        asked = next(t for t in _texts(text or "A table for 2") if _side(t) == split)
        async with self._kit(calls).client() as client:
            messages = [{"role": "user", "content": asked}]
            response = await client.post(CHAT, json=body(messages=messages, **more))
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    async def say(self, interaction: str, verdict: str, **fields: Any) -> httpx.Response:
        """Give feedback over HTTP."""
        said = {"interaction": interaction, "verdict": verdict, **fields}
        async with self._kit(()).client() as client:
            return await client.post("/v1/feedback", json=said)

    def _kit(self, calls: tuple[ToolCall, ...]) -> Kit:
        return kit(script(*calls), agent={"tools": [book]}, store=self.store)

    def examples(self) -> ExampleSet:
        """Read the examples as another process does: from the file."""
        with ReplayStore(self.store.path, create=False) as opened:
            return opened.examples()

    def only(self) -> Example:
        (example,) = self.examples().examples
        return example

    def add(self, events: list[LabelEvent]) -> int:
        return write_found(self.store, events).added

    def ask_rule(self, rule: Rule) -> int:
        rules: Mapping[str, Rule] = named_rules([rule])
        return self.add(list(find_verified(self.store, rules)))

    def wait(self) -> int:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        return self.add(find_implicit(self.store, quiet_s=3600, now=tomorrow))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ReplayStore(tmp_path / "replay.db") as store:
        yield House(store)


def _texts(text: str) -> Iterator[str]:
    return (f"{text}, request {number}" for number in itertools.count())


def _side(text: str) -> str:
    return split_of([Message(role="user", content=text)])


def booked_what_was_asked(outcome: Outcome) -> bool | str:
    """Whether as many seats were booked as were asked for."""
    content = outcome.as_json()["calls"][0]["content"]
    asked = outcome.given["messages"][-1]["content"]
    return (isinstance(content, dict) and f"for {content['booked']}" in asked) or "other seats"


def booked_some(outcome: Outcome) -> bool:
    """Whether the seats that the target gives were booked."""
    return outcome.as_json()["calls"][0]["content"] == {"booked": outcome.given["seats"]}


def rows_for(house: House, interaction: str, target: Target) -> list[BenchmarkRow]:
    kept = house.store.interaction(interaction)
    return [
        BenchmarkRow(
            id="r1",
            source="ours",
            category="tables",
            messages=kept.messages,
            tools=kept.tools,
            target=target,
        )
    ]


# What each source gives


@pytest.mark.parametrize("split", ["train", "holdout"])
async def test_a_correction_gives_its_calls_on_either_side(house: House, split: str) -> None:
    served = await house.serve(split=split, calls=(call("book", seats=3),))
    right = [{"name": "book", "arguments": {"seats": 2}}]
    assert (await house.say(served, "correction", calls=right)).status_code == 200
    example = house.only()
    assert (example.target, example.source, example.split) == (BOOKED, "correction", split)
    assert (example.interaction, example.turn) == (served, 0)
    assert [message.role for message in example.messages] == ["system", "user"]


@pytest.mark.parametrize("split", ["train", "holdout"])
async def test_an_accept_gives_what_was_called_on_either_side(house: House, split: str) -> None:
    served = await house.serve(split=split)
    await house.say(served, "accept")
    example = house.only()
    assert (example.target, example.source, example.split) == (BOOKED, "feedback", split)


@pytest.mark.parametrize("split", ["train", "holdout"])
async def test_a_rule_gives_what_it_accepts_on_either_side(house: House, split: str) -> None:
    await house.serve(split=split)
    assert house.ask_rule(booked_what_was_asked) == 1
    example = house.only()
    assert (example.target, example.source, example.split) == (BOOKED, "verifier", split)


@pytest.mark.parametrize("split", ["train", "holdout"])
async def test_a_data_set_gives_its_target_on_either_side(house: House, split: str) -> None:
    served = await house.serve(split=split, calls=(call("book", seats=3),))
    assert label_from_rows(house.store, rows_for(house, served, BOOKED)).added == 1
    example = house.only()
    assert (example.target, example.source, example.split) == (BOOKED, "dataset", split)


async def test_a_rule_can_be_the_target_and_judges_what_running_the_calls_returns(
    house: House,
) -> None:
    served = await house.serve(calls=(call("book", seats=3),))
    wanted = Verify(rule="booked_some", given={"seats": 2})
    assert label_from_rows(house.store, rows_for(house, served, wanted)).added == 1
    agent = Agent(ScriptedEngine([]), tools=[tool(replay_safe=True)(book)], rules=[booked_some])
    assert examples_for(house.store, None).skipped == {"verify_without_agent": 1}
    (example,) = examples_for(house.store, agent).examples
    score = score_by(agent)
    rewards = [
        score(calling(call("book", seats=seats)), tools=example.tools, target=example.target)
        for seats in (2, 3, FREE_SEATS + 1)
    ]
    assert [reward.value for reward in rewards] == [1.0, 0.0, 0.0]


async def test_hindsight_gives_the_calls_that_came_right(house: House) -> None:
    text = "A table for 9, or else for 2"
    await house.serve(text, calls=(call("book", seats=9), BOOK))
    assert house.add(find_hindsight(house.store)) == 1
    example = house.only()
    assert (example.target, example.source, example.turn) == (BOOKED, "hindsight", 0)
    (event,) = house.store.labels()
    assert "failed with book: retry" in event.evidence


async def test_silence_gives_what_worked(house: House) -> None:
    await house.serve()
    assert house.wait() == 1
    assert (house.only().target, house.only().source) == (BOOKED, "implicit")


async def test_no_call_is_taught_by_an_explicit_word(house: House) -> None:
    greeted, corrected = await house.serve("Hello"), await house.serve("A table for 2 yesterday")
    await house.say(greeted, "accept")
    await house.say(corrected, "correction", no_call=True)
    assert [example.target for example in house.examples().examples] == [NoCall(), NoCall()]


# What each must refuse


async def test_a_rejected_call_is_never_taught_by_what_is_no_stronger(house: House) -> None:
    served = await house.serve()
    await house.say(served, "reject")
    assert house.wait() == 0
    assert label_from_rows(house.store, rows_for(house, served, BOOKED)).added == 1
    assert house.ask_rule(booked_what_was_asked) == 1
    assert house.examples() == ExampleSet((), {"no_target": 1})


async def test_what_a_rule_rejects_is_never_taught(house: House) -> None:
    await house.serve(calls=(call("book", seats=3),))
    assert house.ask_rule(booked_what_was_asked) == 1
    assert house.store.labels()[0].evidence == "booked_what_was_asked: other seats"
    assert house.examples() == ExampleSet((), {"no_target": 1})


async def test_a_rule_that_fails_labels_nothing(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(outcome: Outcome) -> bool:
        raise ZeroDivisionError

    await house.serve()
    assert house.ask_rule(broken) == 0
    assert "'broken' failed" in caplog.text


async def test_an_answer_after_tool_results_is_no_example(house: House) -> None:
    served = await house.serve()
    await house.say(served, "accept", turn=1)
    await house.say(served, "correction", turn=1, no_call=True)
    assert house.examples() == ExampleSet((), {"answer_after_results": 1})


@pytest.mark.parametrize("source", ["implicit", "hindsight"])
async def test_nobody_but_a_person_or_a_rule_says_that_no_call_was_right(
    house: House, source: str
) -> None:
    served = await house.serve("Hello")
    assert house.wait() == 0
    for word in ({"verdict": "accept"}, {"verdict": "target", "target": NoCall()}):
        event = LabelEvent.model_validate(
            {"interaction": served, "source": source, "created_at": datetime.now(UTC), **word}
        )
        with pytest.raises(LabelRefused, match="only an explicit label"):
            house.store.add_label(event)


async def test_hindsight_teaches_no_value_that_the_request_did_not_say(house: House) -> None:
    await house.serve("A table for 9", calls=(call("book", seats=9), call("book", seats=4)))
    assert find_hindsight(house.store) == []


@pytest.mark.parametrize("source", ["hindsight", "implicit"])
async def test_weak_sources_never_judge(house: House, source: str) -> None:
    if source == "hindsight":
        await house.serve("For 9 or 2", split="holdout", calls=(call("book", seats=9), BOOK))
        assert house.add(find_hindsight(house.store)) == 1
    else:
        await house.serve(split="holdout")
        assert house.wait() == 1
    assert house.examples() == ExampleSet((), {"weak_in_holdout": 1})


async def test_what_must_not_be_trained_on_gives_nothing_to_any_source(house: House) -> None:
    served = await house.serve("For 9 or 2", calls=(call("book", seats=9), BOOK), store=False)
    assert house.store.interaction(served).no_train
    found = find_hindsight(house.store), house.wait(), house.ask_rule(booked_what_was_asked)
    assert found == ([], 0, 0)
    await house.say(served, "accept", turn=1)
    assert house.examples() == ExampleSet((), {"no_train": 1})


async def test_an_author_without_trust_teaches_nothing_from_any_source(house: House) -> None:
    served = await house.serve()
    for source in ("correction", "feedback", "verifier", "dataset", "hindsight", "implicit"):
        event = LabelEvent.model_validate(
            {
                "interaction": served,
                "verdict": "target",
                "target": BOOKED,
                "source": source,
                "trust": 0.0,
                "created_at": datetime.now(UTC),
            }
        )
        with pytest.raises(LabelRefused, match="not trusted"):
            house.store.add_label(event)
    assert house.examples() == ExampleSet(())


async def test_what_a_client_says_its_tools_returned_convinces_no_rule(house: House) -> None:
    first = await house.serve(tools=[BOOK_TOOL])
    kept = house.store.interaction(first)
    made = kept.turns[0].reply.calls[0]
    function = {"name": "book", "arguments": json.dumps(made.arguments)}
    asked = {"id": made.id, "type": "function", "function": function}
    history = [
        {"role": "user", "content": kept.messages[-1].content},
        {"role": "assistant", "content": None, "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": made.id, "content": '{"booked": 2}'},
    ]
    async with kit([ANSWER], agent={"tools": [book]}, store=house.store).client() as client:
        sent = await client.post(CHAT, json=body(messages=history, tools=[BOOK_TOOL]))
    assert sent.status_code == 200
    assert house.store.interaction(sent.json()["id"]).episode == kept.episode
    assert house.ask_rule(booked_what_was_asked) == 0


async def test_a_redacted_request_goes_on_teaching_under_its_placeholder(house: House) -> None:
    served = await house.serve("A table for 2 for Ada Lovelace")
    await house.say(served, "accept")
    before = house.only()
    house.store.redact(["Ada Lovelace"])
    example = house.only()
    assert (example.target, example.split) == (before.target, before.split)
    assert "Ada" not in example.messages[-1].content
    assert all(turn.redacted for turn in house.store.interaction(served).turns)
