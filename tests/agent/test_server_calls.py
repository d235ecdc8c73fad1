"""Calls that are streamed while the model writes them, to the real `openai` client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionChunk

from tests.agent.served import ASKED, CHAT, WEATHER_TOOL, Kit, body, kit, until
from tooln1_agent.engines.base import ModelRequest
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.messages import Completion

ROME = '{"name": "weather", "arguments": {"city": "Rome"}}'
OSLO = '{"arguments" : {"city": "Oslo </tool_call>"}, "name": "weather"}'
ESCAPED = '{"name": "weather", "arguments": {"city": "\\u004fsl\\u006f \\ud83d\\ude00 é"}}'


def calling(body: str) -> str:
    return f"<think>ask</think><tool_call>{body}</tool_call>"


@contextmanager
def client_of(made: Kit) -> Iterator[OpenAI]:
    with made.on_socket() as address, OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        yield client


def ask(client: OpenAI, **options: Any) -> Iterator[ChatCompletionChunk]:
    return iter(
        client.chat.completions.create(
            model="helper", messages=ASKED, tools=[WEATHER_TOOL], stream=True, **options
        )
    )


def put_together(chunks: list[ChatCompletionChunk]) -> list[dict[str, Any]]:
    """Join the deltas of calls by index, as OpenAI's documentation has clients do it."""
    calls: list[dict[str, Any]] = []
    for chunk in chunks:
        for delta in chunk.choices[0].delta.tool_calls or () if chunk.choices else ():
            assert delta.function is not None
            if delta.index == len(calls):
                assert delta.type == "function"
                calls.append({"id": delta.id, "name": delta.function.name, "arguments": ""})
            else:
                assert (delta.index, delta.id) == (len(calls) - 1, None)
                assert delta.function.name is None
            calls[delta.index]["arguments"] += delta.function.arguments
    return calls


@pytest.mark.parametrize("chunk_chars", [1, 7, 1000])
@pytest.mark.parametrize(
    ("written", "cities"),
    [
        (f"[{ROME}]", ["Rome"]),
        (f"[{ROME}, {OSLO}]", ["Rome", "Oslo </tool_call>"]),
        (f" [{OSLO},\n{ESCAPED}]\n", ["Oslo </tool_call>", "Oslo 😀 é"]),
        (ROME, ["Rome"]),
    ],
)
def test_the_pieces_add_up_to_the_calls_on_record(
    written: str, cities: list[str], chunk_chars: int
) -> None:
    made = kit(engine=ScriptedEngine([calling(written)], chunk_chars=chunk_chars))
    with client_of(made) as client:
        chunks = list(ask(client, stream_options={"include_usage": True}))
    calls = put_together(chunks)
    assert [json.loads(call["arguments"]) for call in calls] == [{"city": city} for city in cities]
    kept = made.store.interaction(chunks[0].id)
    recorded = [(call.id, call.name) for call in kept.turns[0].reply.calls]
    assert [(call["id"], call["name"]) for call in calls] == recorded
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    assert chunks[-1].usage is not None
    assert not any(chunk.choices[0].delta.content for chunk in chunks if chunk.choices)


class Paced(ScriptedEngine):
    """Says the first text letter by letter, waits until it may go on, and says the second."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__([])
        self._texts = first, second
        self._may_go_on = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.was_cancelled = False

    def go_on(self) -> None:
        """Say so from another thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._may_go_on.set)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        self._loop = asyncio.get_running_loop()
        for letter in self._texts[0]:
            yield letter
        try:
            await self._may_go_on.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        yield self._texts[1]
        yield Completion(text="".join(self._texts))


def until_in(
    seen: list[ChatCompletionChunk], chunks: Iterator[ChatCompletionChunk], text: str
) -> None:
    """Read on until the arguments of the first call hold `text`."""
    while not (calls := put_together(seen)) or text not in calls[0]["arguments"]:
        seen.append(next(chunks))


def test_a_call_is_out_before_it_is_complete_and_complete_before_the_next_one_is() -> None:
    first, second = f"<think>x</think><tool_call>[{ROME}, {ROME[:-8]}", f"{ROME[-8:]}]</tool_call>"
    made = kit(engine=Paced(first, second))
    seen: list[ChatCompletionChunk] = []
    with client_of(made) as client:
        chunks = ask(client)
        until_in(seen, chunks, '"}')
        assert not made.store.interaction(seen[0].id).turns
        made.engine.go_on()
        seen += chunks
    assert [json.loads(call["arguments"]) for call in put_together(seen)] == [{"city": "Rome"}] * 2
    assert seen[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("chunk_chars", [1, 1000])
@pytest.mark.parametrize(
    ("written", "fault"),
    [
        (f"[{ROME}, {{'name': 1}}]", "bad_json"),
        (f'[{ROME}, {{"name": "weather", "arguments": {{}}, "x": 1}}]', "bad_call"),
        (f'[{ROME}, {{"name": "weather", "arguments": {{"a": 1, "a": 2}}}}]', "duplicate_key"),
        (f"[{ROME}, 3]", "bad_call"),
    ],
)
def test_calls_that_turn_out_malformed_end_in_an_error(
    written: str, fault: str, chunk_chars: int
) -> None:
    made = kit(engine=ScriptedEngine([calling(written)], chunk_chars=chunk_chars))
    seen: list[ChatCompletionChunk] = []
    with client_of(made) as client, pytest.raises(openai.APIError) as raised:
        seen.extend(ask(client))
    assert raised.value.code == "calls_withdrawn"
    assert fault in raised.value.message
    (kept,) = made.store.interactions()
    assert (kept.stop, kept.turns[0].reply.faults) == ("faulty_reply", (fault,))


def test_a_list_that_never_ends_is_withdrawn_too() -> None:
    made = kit([f"<think>x</think><tool_call>[{ROME}"])
    with client_of(made) as client, pytest.raises(openai.APIError) as raised:
        list(ask(client))
    assert "unclosed_call" in raised.value.message


def test_calls_that_are_cut_by_the_limit_end_with_length() -> None:
    made = kit([calling(f"[{ROME}, {ROME}]")])
    with client_of(made) as client:
        chunks = list(ask(client, max_tokens=22))
    assert put_together(chunks)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert "max_tokens" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_malformed_calls_of_which_nothing_went_out_end_in_words() -> None:
    made = kit([calling('[{"name": 1}]')])
    with client_of(made) as client:
        chunks = list(ask(client))
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert "faulty_reply" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_streamed_calls_are_recognised_when_the_client_gives_them_back() -> None:
    made = kit([calling(f"[{ESCAPED}]"), "<think>x</think>It is sunny."])
    with client_of(made) as client:
        chunks = list(ask(client))
        (call,) = put_together(chunks)
        function = {"name": call["name"], "arguments": call["arguments"]}
        said = {"id": call["id"], "type": "function", "function": function}
        history: list[Any] = [
            *ASKED,
            {"role": "assistant", "content": None, "tool_calls": [said]},
            {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
        ]
        answer = client.chat.completions.create(
            model="helper", messages=history, tools=[WEATHER_TOOL]
        )
    first, second = (made.store.interaction(chat.id) for chat in (chunks[0], answer))
    assert first.episode == second.episode


def test_a_client_that_leaves_in_the_middle_of_a_call_cancels_it() -> None:
    made = kit(engine=Paced(calling(f"[{ROME}")[:-16], ""))
    with made.on_socket() as address, httpx.Client(base_url=address, timeout=10) as client:
        asked = body(stream=True, tools=[WEATHER_TOOL])
        with client.stream("POST", CHAT, json=asked) as response:
            lines = response.iter_lines()
            while "tool_calls" not in next(lines):
                pass
        until(lambda: made.engine.was_cancelled)
        until(lambda: [kept.stop for kept in made.store.interactions()] == ["cancelled"])


def test_in_agent_mode_the_calls_stay_inside() -> None:
    made = kit([calling(f"[{ROME}]"), "<think>x</think>It is sunny."])
    with client_of(made) as client:
        stream = client.chat.completions.create(model="helper", messages=ASKED, stream=True)
        chunks = list(stream)
    assert put_together(chunks) == []
    assert chunks[-1].choices[0].finish_reason == "stop"
