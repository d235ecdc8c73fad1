"""Both ways of use, through a real socket and the real `openai` client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.agent.served import ANSWER, ASKED, CALL_WEATHER, WEATHER_TOOL, Kit, kit
from tool_registry import RunContext


@pytest.fixture
def served() -> Iterator[tuple[Kit, OpenAI]]:
    made = kit()
    with made.on_socket() as address, OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        yield made, client


def test_agent_mode_runs_the_servers_tools_and_answers(served: tuple[Kit, OpenAI]) -> None:
    made, client = served
    answer = client.chat.completions.create(model="helper", messages=ASKED)
    choice = answer.choices[0]
    assert choice.message.content == "It is sunny in Rome."
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    kept = made.store.interaction(answer.id)
    assert [turn.results[0].content for turn in kept.turns if turn.results] == ["sunny in Rome"]
    assert kept.messages[0].content == "Be brief."
    assert kept.stop == "answer"
    assert answer.usage is not None
    assert answer.usage.total_tokens == sum(
        turn.completion.usage.prompt_tokens + turn.completion.usage.completion_tokens
        for turn in kept.turns
    )


def test_every_answer_carries_the_interaction_and_the_adapter(served: tuple[Kit, OpenAI]) -> None:
    made, client = served
    raw = client.chat.completions.with_raw_response.create(model="helper", messages=ASKED)
    assert raw.headers["x-interaction-id"] == raw.parse().id
    assert raw.headers["x-adapter"] == "base"
    assert raw.parse().system_fingerprint == "scripted@base"
    with client.chat.completions.with_streaming_response.create(
        model="helper", messages=ASKED, stream=True
    ) as streamed:
        assert made.store.interaction(streamed.headers["x-interaction-id"])
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert [line for line in streamed.iter_lines() if line][-1] == "data: [DONE]"


def test_agent_mode_streams_the_answer_and_never_the_thought(served: tuple[Kit, OpenAI]) -> None:
    _, client = served
    stream = client.chat.completions.create(
        model="helper", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(filter(None, deltas)) == "It is sunny in Rome."
    assert len([delta for delta in deltas if delta]) > 1
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


def test_client_mode_hands_calls_over_and_links_the_results(served: tuple[Kit, OpenAI]) -> None:
    made, client = served
    first = client.chat.completions.create(model="helper", messages=ASKED, tools=[WEATHER_TOOL])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls is not None
    call = message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "Rome"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    second = client.chat.completions.create(
        model="helper", messages=[*ASKED, message, result], tools=[WEATHER_TOOL]
    )
    assert second.choices[0].message.content == "It is sunny in Rome."
    one, two = made.store.interaction(first.id), made.store.interaction(second.id)
    assert one.episode == two.episode
    assert one.id != two.id
    assert one.turns[0].reply.calls[0].id == call.id
    assert one.messages[0].role == "user"  # the agent's instructions belong to its own tools


def test_the_streaming_helper_of_the_client_understands_the_calls(
    served: tuple[Kit, OpenAI],
) -> None:
    _, client = served
    with client.chat.completions.stream(
        model="helper", messages=ASKED, tools=[WEATHER_TOOL]
    ) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.name == "weather"


def test_a_changed_call_in_the_history_begins_an_episode_of_its_own(
    served: tuple[Kit, OpenAI],
) -> None:
    made, client = served
    first = client.chat.completions.create(model="helper", messages=ASKED, tools=[WEATHER_TOOL])
    call = first.choices[0].message.tool_calls[0]  # type: ignore[index]
    edited: list[Any] = [
        *ASKED,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "rain"},
    ]
    second = client.chat.completions.create(model="helper", messages=edited, tools=[WEATHER_TOOL])
    assert made.store.interaction(second.id).episode != made.store.interaction(first.id).episode


def test_an_id_that_was_never_minted_begins_an_episode_of_its_own(
    served: tuple[Kit, OpenAI],
) -> None:
    made, client = served
    call = {
        "id": "call_of_another_server",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
    }
    history: list[Any] = [
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "rain"},
    ]
    answer = client.chat.completions.create(model="helper", messages=history, tools=[WEATHER_TOOL])
    assert answer.choices[0].message.content == "It is sunny in Rome."
    assert made.store.interaction(answer.id).episode


def test_tool_choice_none_shows_the_model_no_tools(served: tuple[Kit, OpenAI]) -> None:
    made, client = served
    answer = client.chat.completions.create(
        model="helper", messages=ASKED, tools=[WEATHER_TOOL], tool_choice="none"
    )
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"
    assert made.engine.requests[-1].tools == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"no_train": "true"}},
        {"store": False},
        {"extra_body": {"metadata": {"no_train": True}}},
    ],
)
def test_a_caller_can_keep_an_interaction_from_being_learned_from(
    served: tuple[Kit, OpenAI], fields: dict[str, Any]
) -> None:
    made, client = served
    answer = client.chat.completions.create(model="helper", messages=ASKED, **fields)
    assert made.store.interaction(answer.id).no_train
    plain = client.chat.completions.create(model="helper", messages=ASKED, store=True)
    assert not made.store.interaction(plain.id).no_train


def test_sampling_comes_from_the_request_and_else_from_the_agent(
    served: tuple[Kit, OpenAI],
) -> None:
    made, client = served
    client.chat.completions.create(
        model="helper",
        messages=ASKED,
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=77,
        seed=4,
        stop="###",
    )
    sampling = made.engine.requests[-1].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.5, 0.9, 77)
    assert (sampling.seed, sampling.stop) == (4, ("###",))
    client.chat.completions.create(model="helper", messages=ASKED)
    assert made.engine.requests[-1].sampling.max_tokens == 512


def test_models_are_listed_and_found(served: tuple[Kit, OpenAI]) -> None:
    _, client = served
    assert [model.id for model in client.models.list()] == ["helper", "scripted"]
    assert client.models.retrieve("helper").id == "helper"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_a_reply_cut_by_its_limit_says_length() -> None:
    made = kit(["<think>long</think>" + "word " * 200])
    with made.on_socket() as address, OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        answer = client.chat.completions.create(model="helper", messages=ASKED, max_tokens=20)
    assert answer.choices[0].finish_reason == "length"
    assert (answer.choices[0].message.content or "").startswith("word word")


def test_an_answer_that_is_given_up_is_cut_before_its_tag_in_a_stream() -> None:
    made = kit(["<think>hm</think>Let me look. <tool_call>[1]</tool_call>", ANSWER])
    with made.on_socket() as address, OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        stream = client.chat.completions.create(model="helper", messages=ASKED, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == "Let me look.\n\nIt is sunny in Rome."


def test_what_ends_without_an_answer_is_streamed_as_it_is_sent_whole() -> None:
    nothing_fits = "<think>Nothing here can do that.</think><tool_call>[]</tool_call>"
    made = kit([nothing_fits] * 2)
    with made.on_socket() as address, OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        whole = client.chat.completions.create(model="helper", messages=ASKED)
        stream = client.chat.completions.create(model="helper", messages=ASKED, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert whole.choices[0].message.content == text
    assert "Nothing here can do that." in text


def test_tools_are_given_the_servers_dependencies() -> None:
    def whoami(ctx: RunContext[dict[str, str]]) -> str:
        """Who is asking."""
        return ctx.deps["name"]

    calls = '<think>x</think><tool_call>[{"name": "whoami", "arguments": {}}]</tool_call>'
    made = kit([calls, ANSWER], agent={"tools": [whoami]}, deps={"name": "Ada"})
    with made.on_socket() as address, OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        answer = client.chat.completions.create(model="helper", messages=ASKED)
    assert made.store.interaction(answer.id).turns[0].results[0].content == "Ada"


async def test_many_clients_at_once_get_their_own_answers() -> None:
    def echo(request: Any) -> str:
        return f"<think>x</think>You said {request.messages[-1].content}"

    made = kit(echo)
    with made.on_socket() as address:
        async with AsyncOpenAI(base_url=f"{address}/v1", api_key="none", timeout=60) as client:

            async def ask(number: int) -> str | None:
                asked: list[Any] = [{"role": "user", "content": f"number {number}"}]
                answer = await client.chat.completions.create(model="helper", messages=asked)
                return answer.choices[0].message.content

            said = await asyncio.gather(*map(ask, range(60)))
    assert said == [f"You said number {number}" for number in range(60)]
    assert made.store.count() == 60


def test_client_mode_works_in_an_agent_without_tools() -> None:
    made = kit([CALL_WEATHER], agent={"tools": []})
    with made.on_socket() as address, OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        answer = client.chat.completions.create(
            model="helper", messages=ASKED, tools=[WEATHER_TOOL]
        )
    assert answer.choices[0].finish_reason == "tool_calls"
