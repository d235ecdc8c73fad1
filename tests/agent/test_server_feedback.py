"""Feedback becomes labels: of the right kind, on the right turn, from those who may."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.agent.served import ANSWER, CALL_WEATHER, CHAT, WEATHER_TOOL, Kit, body, kit
from tool_registry.calls import ToolCall
from tooln1_agent.examples import Exact, NoCall

KEYS: Any = (
    {"name": "ada", "secret": "ada-secret-key-000", "rights": ("chat", "label")},
    {"name": "bob", "secret": "bob-secret-key-000", "rights": ("chat", "label")},
    {"name": "ops", "secret": "ops-secret-key-000", "rights": ("admin",)},
)


async def chat(client: httpx.AsyncClient, **fields: Any) -> str:
    response = await client.post(CHAT, json=body(**fields))
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


async def say(client: httpx.AsyncClient, interaction: str, **fields: Any) -> httpx.Response:
    return await client.post("/v1/feedback", json={"interaction": interaction, **fields})


async def test_a_correction_becomes_the_target_of_its_turn() -> None:
    made = kit()
    right = {"name": "weather", "arguments": {"city": "Oslo"}}
    async with made.client() as client:
        served = await chat(client)
        said = await say(client, served, verdict="correction", calls=[right], comment="wrong city")
    assert said.json() == {
        "object": "feedback",
        "interaction": served,
        "turn": 0,
        "verdict": "correction",
        "source": "correction",
    }
    (label,) = made.store.labels(served)
    assert label.target == Exact(alternatives=((ToolCall.model_validate(right),),))
    assert (label.author, label.source, label.evidence) == ("local", "correction", "wrong city")
    (example,) = made.store.examples().examples
    assert example.target == label.target


async def test_no_call_can_be_the_correction_in_client_mode() -> None:
    made = kit([CALL_WEATHER])
    async with made.client() as client:
        served = await chat(client, tools=[WEATHER_TOOL])
        assert (await say(client, served, verdict="correction", no_call=True)).status_code == 200
    assert made.store.labels(served)[0].target == NoCall()


@pytest.mark.parametrize("verdict", ["accept", "reject"])
async def test_a_verdict_is_kept_as_feedback(verdict: str) -> None:
    made = kit()
    async with made.client() as client:
        served = await chat(client)
        await say(client, served, verdict=verdict)
        metrics = (await client.get("/metrics")).text
    (label,) = made.store.labels(served)
    assert (label.verdict, label.source, label.target) == (verdict, "feedback", None)
    assert f'tooln1_labels_total{{source="feedback",verdict="{verdict}"}} 1.0' in metrics


async def test_a_later_turn_can_be_meant() -> None:
    made = kit([CALL_WEATHER, CALL_WEATHER, ANSWER])
    async with made.client() as client:
        served = await chat(client)
        await say(client, served, verdict="accept", turn=1)
        beyond = await say(client, served, verdict="accept", turn=7)
    assert [label.turn for label in made.store.labels(served)] == [1]
    assert beyond.status_code == 404


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"verdict": "correction"}, None),
        (
            {"verdict": "correction", "no_call": True, "calls": [{"name": "w", "arguments": {}}]},
            None,
        ),
        ({"verdict": "accept", "no_call": True}, None),
        ({"verdict": "praise"}, "verdict"),
        ({}, "verdict"),
        ({"verdict": "accept", "turn": -1}, "turn"),
        ({"verdict": "accept", "source": "dataset"}, "source"),
        ({"verdict": "correction", "calls": []}, "calls"),
        ({"verdict": "correction", "calls": [{"name": "weather"}]}, "calls[0].arguments"),
    ],
)
async def test_feedback_that_makes_no_sense_is_refused(
    fields: dict[str, Any], param: str | None
) -> None:
    made = kit()
    async with made.client() as client:
        response = await say(client, await chat(client), **fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert made.store.labels() == ()


@pytest.mark.parametrize(
    "wrong",
    [{"name": "no_such_tool", "arguments": {}}, {"name": "weather", "arguments": {"town": "x"}}],
)
async def test_a_correction_must_fit_the_tools_that_were_offered(wrong: dict[str, Any]) -> None:
    made = kit()
    async with made.client() as client:
        response = await say(client, await chat(client), verdict="correction", calls=[wrong])
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "label_refused"
    assert made.store.labels() == ()


async def test_nobody_labels_what_another_key_asked_but_an_admin_may() -> None:
    made: Kit = kit(api_keys=KEYS)

    def client(name: str) -> httpx.AsyncClient:
        return made.client(authorization=f"Bearer {name}-secret-key-000")

    async with client("ada") as ada, client("bob") as bob, client("ops") as ops:
        served = await chat(ada)
        foreign = await say(bob, served, verdict="reject")
        missing = await say(bob, "int_nothing", verdict="reject")
        own = await say(ada, served, verdict="accept")
        admin = await say(ops, served, verdict="accept")
    assert foreign.status_code == missing.status_code == 404
    assert (
        foreign.json()["error"]["message"].replace(served, "int_nothing")
        == (missing.json()["error"]["message"])
    )
    assert own.status_code == admin.status_code == 200
    assert [label.author for label in made.store.labels(served)] == ["ada", "ops"]


async def test_a_key_that_has_given_its_labels_of_a_day_is_told_to_come_back() -> None:
    made = kit(api_keys=KEYS, labels_per_day=1)
    async with made.client(authorization="Bearer ada-secret-key-000") as ada:
        served = await chat(ada)
        first = await say(ada, served, verdict="accept")
        second = await say(ada, served, verdict="reject")
    async with made.client(authorization="Bearer ops-secret-key-000") as ops:
        other = await say(ops, served, verdict="accept")
    assert first.status_code == other.status_code == 200
    assert second.status_code == 429
    assert second.json()["error"]["code"] == "label_quota"
    assert "'ada' has given 1 labels" in second.json()["error"]["message"]
    assert 1 <= int(second.headers["retry-after"]) <= 24 * 3600
    assert [label.author for label in made.store.labels(served)] == ["ada", "ops"]


async def test_results_of_another_keys_calls_join_no_episode() -> None:
    made = kit(api_keys=KEYS)
    async with made.client(authorization="Bearer ada-secret-key-000") as ada:
        first = (await ada.post(CHAT, json=body(tools=[WEATHER_TOOL]))).json()
    asked = first["choices"][0]["message"]
    history = [
        *body()["messages"],
        asked,
        {"role": "tool", "tool_call_id": asked["tool_calls"][0]["id"], "content": "rain"},
    ]
    async with made.client(authorization="Bearer bob-secret-key-000") as bob:
        second = await chat(bob, messages=history, tools=[WEATHER_TOOL])
    episodes = {made.store.interaction(i).episode for i in (first["id"], second)}
    assert len(episodes) == 2
