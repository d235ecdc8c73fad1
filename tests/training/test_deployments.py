"""The deployments of examples/: apart from the training world, real, and honestly judged."""

from __future__ import annotations

import random
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest

from examples.deployments import DEPLOYMENTS
from examples.grounding import Said
from examples.house import Diary
from examples.spelling import (
    read_day,
    read_minutes,
    read_number,
    read_surname_first,
    read_twelve_hours,
)
from tool_registry import RunContext, ToolCall, ToolRetry
from tool_registry.validation import validate_arguments
from tooln1_agent import Agent
from tooln1_agent.examples import Verify
from tooln1_agent.prompt import calls_text
from tooln1_agent.reward import Reward, Score, judge
from tooln1_agent.rules import Outcome
from tooln1_agent.verifier import score_by
from trainer.seed.deployment import Deployment, Request
from trainer.seed.phrasing import CHAT, FRAMES, OPENINGS
from trainer.seed.values import Conventions, Kind, draw
from trainer.seed.words import RESERVED


class House(NamedTuple):
    name: str
    deployment: Deployment
    agent: Agent
    score: Score

    def requests(self, count: int) -> list[Request]:
        return self.deployment.requests(1, count)

    def run(self, call: ToolCall) -> str:
        tool = self.agent.registry.get(call.name)
        return str(tool(RunContext(Diary()), **call.arguments))

    def judge(self, request: Request, *calls: ToolCall) -> Reward:
        reply = f"<think>Done.</think><tool_call>{calls_text(calls)}</tool_call>"
        given = {"messages": [{"role": "user", "content": request.text}]}
        target = Verify(rule="entered_as_asked", given=given)
        return self.score(reply, tools=self.deployment.tools, target=target)


def with_argument(call: ToolCall, name: str, value: Any) -> ToolCall:
    return ToolCall(name=call.name, arguments=call.arguments | {name: value})


def without_argument(call: ToolCall, name: str) -> ToolCall:
    left = {key: value for key, value in call.arguments.items() if key != name}
    return ToolCall(name=call.name, arguments=left)


@pytest.fixture(params=DEPLOYMENTS)
def house(request: pytest.FixtureRequest) -> House:
    return open_house(request.param)


def open_house(name: str) -> House:
    place = DEPLOYMENTS[name]
    module, _, attribute = place.app.partition(":")
    agent = getattr(import_module(module), attribute)
    return House(name, place.deployment, agent, score_by(agent))


def test_every_name_of_a_deployment_is_kept_from_the_training_world(house: House) -> None:
    names = {spec.name for spec in house.deployment.tools}
    names |= {name for spec in house.deployment.tools for name in spec.parameters["properties"]}
    assert names <= RESERVED


def test_no_two_deployments_share_a_name() -> None:
    seen: list[str] = []
    for place in DEPLOYMENTS.values():
        tools = place.deployment.tools
        own = {spec.name for spec in tools}
        seen += own | {name for spec in tools for name in spec.parameters["properties"]}
    assert len(seen) == len(set(seen)) == len(RESERVED)


def test_a_deployment_shares_no_template_with_the_training_world(house: House) -> None:
    openings = (text for texts in OPENINGS.values() for text in texts)
    known = {text.lower().rstrip(".?! ") for text in (*FRAMES, *CHAT, *openings)}
    for errand in house.deployment.errands:
        for template in (*errand.complete, *errand.incomplete):
            assert template.lower().rstrip(".?! ") not in known
    assert not known & {text.lower().rstrip(".?! ") for text in house.deployment.smalltalk}


def test_no_two_deployments_ask_for_values_in_the_same_conventions() -> None:
    conventions = [place.deployment.conventions for place in DEPLOYMENTS.values()]
    assert len(set(conventions)) == len(conventions)


def test_the_agent_offers_just_what_the_people_ask_for(house: House) -> None:
    assert tuple(house.agent.registry.specs) == house.deployment.tools
    assert house.agent.instructions == house.deployment.instructions
    requests = house.requests(120)
    assert {request.tool for request in requests} >= {spec.name for spec in house.deployment.tools}
    assert 0.08 < sum(not request.gold for request in requests) / 120 < 0.28


def test_traffic_and_held_out_requests_never_share_a_text(house: House) -> None:
    users = import_module(f"examples.{house.name}.users")
    live = {request.text for seed in range(3) for request in users.traffic(seed, 100)}
    kept = {request.text for seed in range(3) for request in users.held_out(seed, 50)}
    assert not live & kept
    assert users.traffic(1, 5) == users.traffic(1, 5) != users.traffic(2, 5)


def test_gold_calls_fit_the_schema_run_and_pass_the_rule(house: House) -> None:
    specs = {spec.name: spec for spec in house.deployment.tools}
    for request in house.requests(150):
        assert judge(request.gold, tools=house.deployment.tools, target=request.target).value == 1.0
        for call in request.gold:
            assert validate_arguments(specs[call.name], call.arguments) is None
            assert house.run(call)
            assert house.judge(request, call).value == 1.0, (request, house.judge(request, call))


def wrong_conventions() -> list[tuple[str, str, str]]:
    """Return each spelling that a house does not have, of each kind of value that it takes."""
    ways = get_type_hints(Conventions)
    found: list[tuple[str, str, str]] = []
    for name, place in DEPLOYMENTS.items():
        taken = {kind for errand in place.deployment.errands for kind in errand.kinds.values()}
        for kind in sorted(taken & ways.keys()):
            own = getattr(place.deployment.conventions, kind)
            found += [(name, kind, way) for way in get_args(ways[kind]) if way != own]
    return found


@pytest.mark.parametrize(("name", "kind", "way"), wrong_conventions())
def test_a_wrong_spelling_is_refused_by_tool_and_rule(name: str, kind: str, way: str) -> None:
    house = open_house(name)
    changed: dict[str, Any] = {kind: way}
    other = replace(house.deployment.conventions, **changed)
    misspelled = replace(house.deployment, conventions=other).requests(1, 60)
    tried = 0
    for request, wrong in zip(house.requests(60), misspelled, strict=True):
        assert request.text == wrong.text
        if request.gold != wrong.gold:
            tried += 1
            with pytest.raises(ToolRetry):
                house.run(wrong.gold[0])
            reward = house.judge(request, *wrong.gold)
            assert (reward.value, "refused it" in reward.reason) == (0.0, True), (wrong, reward)
    assert tried > 2


def test_a_value_that_nobody_said_fails_the_rule(house: House) -> None:
    tried: set[tuple[str, str]] = set()
    by_tool = sorted((r for r in house.requests(120) if r.gold), key=lambda request: request.tool)
    for request, other in pairwise(by_tool):
        (right,), (foreign,) = request.gold, other.gold
        for name, value in foreign.arguments.items():
            if right.name == foreign.name and right.arguments.get(name, value) != value:
                wrong = with_argument(right, name, value)
                assert house.judge(request, wrong).value == 0.0, (request, wrong)
                tried.add((right.name, name))
    properties = [
        (s.name, name) for s in house.deployment.tools for name in s.parameters["properties"]
    ]
    assert tried == set(properties)


def test_what_was_said_and_not_entered_fails_the_rule(house: House) -> None:
    specs = {spec.name: spec for spec in house.deployment.tools}
    tried = 0
    for request in house.requests(150):
        for call in request.gold:
            schema = specs[call.name].parameters
            for name in call.arguments.keys() - set(schema["required"]):
                if call.arguments[name] != schema["properties"][name]["default"]:
                    tried += 1
                    assert house.judge(request, without_argument(call, name)).value == 0.0
    assert tried > 2


def test_a_call_made_up_for_a_request_that_lacks_a_value_fails_the_rule(house: House) -> None:
    requests = house.requests(300)
    calls = {call.name: call for request in requests for call in request.gold}
    lacking = [request for request in requests if request.tool and not request.gold]
    assert len(lacking) > 5
    for request in lacking:
        assert house.judge(request, calls[request.tool]).value == 0.0


def test_a_call_that_is_made_twice_fails_the_rule(house: House) -> None:
    request = next(request for request in house.requests(20) if request.gold)
    assert house.judge(request, *request.gold, *request.gold).value == 0.0


def test_a_tool_that_takes_the_same_values_fails_the_rule_if_nobody_named_it() -> None:
    house = open_house("marina")
    request = Request("Pack a basket with bread for Ana Silva.", (), "")
    call = ToolCall(name="dry_sail", arguments={"sail_owner": "Silva, Ana"})
    assert house.run(call)
    assert "nobody asked for dry_sail" in house.judge(request, call).reason


@pytest.mark.parametrize("asked", [0, 2])
def test_the_rule_says_nothing_of_what_was_not_asked_in_one_message(
    house: House, asked: int
) -> None:
    messages = [{"role": "user", "content": "Dim the lights."}] * asked
    assert house.agent.rules["entered_as_asked"](Outcome((), {"messages": messages})) is None


def test_calls_that_are_run_to_be_judged_leave_the_house_as_it_is(house: House) -> None:
    diary = import_module(f"examples.{house.name}.tools").DIARY
    before = list(diary.lines)
    request = next(request for request in house.requests(20) if request.gold)
    assert house.judge(request, *request.gold).value == 1.0
    assert diary.lines == before
    house.agent.registry.get(request.tool)(RunContext(None), **request.gold[0].arguments)
    assert len(diary.lines) == len(before) + 1


@pytest.mark.parametrize("kind", ["date", "time", "amount", "duration"])
def test_however_people_say_a_fact_it_is_understood(kind: Kind) -> None:
    for seed in range(200):
        value = draw(random.Random(seed), kind)
        said = Said.read(f"Kiln 77, {value.said}, for Ana Silva with 'red clay'.")
        assert said.facts == {77, value.truth, "red clay"}, value
        assert said.has("ana silva")


@pytest.mark.parametrize(
    ("request_text", "is_on"),
    [("with heat", True), ("Heat, please", True), ("no heat", False), ("without heat", False),
     ("", False), ("preheated", False), ("say 'heat'", False)],
)  # fmt: skip
def test_a_switch_is_on_where_its_word_is_said_and_not_denied(
    request_text: str, is_on: bool
) -> None:
    assert Said.read(request_text).is_on("heat") is is_on


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (lambda text: read_day(text, "%d.%m.%Y"), "4.3.2025"),
        (lambda text: read_day(text, "%m/%d/%Y"), "31/01/2025"),
        (read_twelve_hours, "02:30 PM"),
        (read_twelve_hours, "2:30 pm"),
        (read_twelve_hours, "14:30 PM"),
        (read_surname_first, "Silva, ana"),
        (read_surname_first, "Silva,Ana"),
        (read_number, "48 21"),
        (read_number, "\u0664"),
        (read_minutes, "25 m"),
    ],
)  # fmt: skip
def test_near_misses_of_a_spelling_are_refused(reader: Any, text: str) -> None:
    with pytest.raises(ToolRetry, match="cannot read"):
        reader(text)
