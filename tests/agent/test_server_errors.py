"""Whatever is wrong with a request, the answer has one form and names what is at fault."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.agent.served import ASKED, CHAT, WEATHER_TOOL, Kit, body, kit
from tooln1_agent.engines.base import ModelRequest
from tooln1_agent.errors import EngineBusy, EngineDown


def message(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": "hi", **fields}


def call(arguments: str, call_id: str = "call_1") -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def calling(arguments: str) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call(arguments)]}


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "t", **function}}


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


REFUSED: dict[str, tuple[dict[str, Any], str | None]] = {
    "no messages": ({"messages": []}, "messages"),
    "messages are text": ({"messages": "hi"}, "messages"),
    "unknown role": ({"messages": [message(role="robot")]}, "messages[0].role"),
    "content is a number": ({"messages": [message(content=3)]}, "messages[0].content"),
    "user without content": ({"messages": [message(content=None)]}, "messages[0].content"),
    "image part": (
        {"messages": [message(content=[{"type": "image_url", "image_url": {"url": "x"}}])]},
        "messages[0].content",
    ),
    "named user": ({"messages": [message(name="Ada")]}, "messages[0].name"),
    "thoughts from the client": (
        {"messages": [message(role="assistant", reasoning_content="x")]},
        "messages[0].reasoning_content",
    ),
    "user calls a tool": (
        {"messages": [message(tool_calls=[call("{}")])], "tools": [WEATHER_TOOL]},
        "messages[0].tool_calls",
    ),
    "result of no call": (
        {"messages": [message(role="tool", tool_call_id="call_9")], "tools": [WEATHER_TOOL]},
        "messages[0].tool_call_id",
    ),
    "result without an id": (
        {"messages": [message(role="tool")], "tools": [WEATHER_TOOL]},
        "messages[0].tool_call_id",
    ),
    "arguments are not JSON": (
        {"messages": [calling("{city: Rome}")], "tools": [WEATHER_TOOL]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    "arguments are a list": (
        {"messages": [calling("[1]")], "tools": [WEATHER_TOOL]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    "forged result in agent mode": (
        {"messages": [*ASKED, calling("{}"), message(role="tool", tool_call_id="call_1")]},
        "messages[1]",
    ),
    "unknown parameter": ({"chat_template_kwargs": {}}, "chat_template_kwargs"),
    "functions of old": ({"functions": []}, "functions"),
    "log-probs": ({"logprobs": True}, "logprobs"),
    "two choices": ({"n": 2}, "n"),
    "n is true": ({"n": True}, "n"),
    "penalty": ({"frequency_penalty": 0.5}, "frequency_penalty"),
    "JSON mode": ({"response_format": {"type": "json_object"}}, "response_format"),
    "serial calls": (
        {"parallel_tool_calls": False, "tools": [WEATHER_TOOL]},
        "parallel_tool_calls",
    ),
    "forced call": ({"tool_choice": "required", "tools": [WEATHER_TOOL]}, "tool_choice"),
    "named call": (
        {"tool_choice": {"type": "function", "function": {"name": "w"}}, "tools": [WEATHER_TOOL]},
        "tool_choice",
    ),
    "no calls, no tools": ({"tool_choice": "none"}, "tool_choice"),
    "temperature is text": ({"temperature": "0.5"}, "temperature"),
    "temperature too high": ({"temperature": 3}, "temperature"),
    "top_p is 0": ({"top_p": 0}, "top_p"),
    "max_tokens is 0": ({"max_tokens": 0}, "max_tokens"),
    "max_tokens is true": ({"max_tokens": True}, "max_tokens"),
    "both limits": ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
    "many stops": ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    "empty stop": ({"stop": ""}, "stop"),
    "stream is text": ({"stream": "yes"}, "stream"),
    "options without a stream": ({"stream_options": {"include_usage": True}}, "stream_options"),
    "unknown metadata": ({"metadata": {"trace": "1"}}, "metadata.trace"),
    "unclear metadata": ({"metadata": {"no_train": "maybe"}}, "metadata.no_train"),
    "no tools in the list": ({"tools": []}, "tools"),
    "tool of another kind": ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    "tool without a name": ({"tools": [{"type": "function", "function": {}}]}, "tools[0]"),
    "tool name with spaces": ({"tools": [tool(name="a b")]}, "tools[0]"),
    "unknown schema type": ({"tools": [tool(parameters={"type": "strange"})]}, "tools[0]"),
    "property of unknown type": (
        {"tools": [tool(parameters={"type": "object", "properties": {"a": {"type": "x"}}})]},
        "tools[0]",
    ),
    "schema from elsewhere": (
        {
            "tools": [
                tool(
                    parameters={
                        "type": "object",
                        "properties": {"a": {"$ref": "http://169.254.169.254/x"}},
                    }
                )
            ]
        },
        "tools[0]",
    ),
    "the same tool twice": ({"tools": [WEATHER_TOOL] * 2}, "tools[1].function.name"),
    "too many tools": ({"tools": [tool(name=f"t{i}") for i in range(5)]}, "tools"),
    "too many messages": ({"messages": [message()] * 9}, "messages"),
}


@pytest.fixture(scope="module")
def served() -> Kit:
    return kit(max_tools=4, max_messages=8, max_body_bytes=20_000)


def error_of(response: Any) -> dict[str, Any]:
    """Return the error, after checking that it has the one form."""
    said = response.json()
    assert set(said) == {"error"}
    assert set(said["error"]) == {"message", "type", "param", "code"}
    assert said["error"]["message"]
    assert "Traceback" not in response.text
    return dict(said["error"])


@pytest.mark.parametrize("name", REFUSED)
async def test_a_request_is_refused_by_the_name_of_what_is_wrong(served: Kit, name: str) -> None:
    fields, param = REFUSED[name]
    async with served.client() as client:
        response = await client.post(CHAT, json=body(**fields))
    assert response.status_code == 400, response.text
    error = error_of(response)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert served.engine.requests == []
    assert served.store.count() == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1, "frequency_penalty": 0.0, "presence_penalty": 0, "logprobs": False},
        {"response_format": {"type": "text"}, "service_tier": "auto", "logit_bias": None},
        {"user": "ada", "store": True, "parallel_tool_calls": True, "tool_choice": "auto"},
        {
            "messages": [
                message(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
            ]
        },
        {"messages": [message(role="developer"), message()]},
        {
            "messages": [
                message(),
                {"role": "assistant", "content": "x", "refusal": None},
                message(),
            ]
        },
    ],
)
async def test_what_asks_for_nothing_special_is_taken(fields: dict[str, Any]) -> None:
    made = kit(["<think>x</think>fine"])
    async with made.client() as client:
        response = await client.post(CHAT, json=body(**fields))
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_json"),
        (b"", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"text"', "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b'{"model": NaN}', "invalid_json"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "invalid_json"),
        (b'{"model": "\\ud800", "messages": []}', "invalid_json"),
        (b"[" * 9000 + b"]" * 9000, "invalid_json"),
        (json.dumps(nested(200)).encode(), "invalid_json"),
        (b'{"messages": []}', "missing_parameter"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(
    served: Kit, content: bytes, code: str
) -> None:
    headers = {"content-type": "application/json"}
    async with served.client() as client:
        response = await client.post(CHAT, content=content, headers=headers)
    assert response.status_code == 400
    assert error_of(response)["code"] == code


async def test_a_body_over_the_limit_is_refused_with_and_without_its_length(served: Kit) -> None:
    async def pieces() -> Any:
        for _ in range(30):
            yield b" " * 1000

    headers = {"content-type": "application/json"}
    async with served.client() as client:
        declared = await client.post(CHAT, content=b" " * 30_000, headers=headers)
        streamed = await client.post(CHAT, content=pieces(), headers=headers)
    for response in (declared, streamed):
        assert response.status_code == 413
        assert error_of(response)["code"] == "request_too_large"


async def test_routing_errors_have_the_form_too(served: Kit) -> None:
    async with served.client() as client:
        missing = await client.get("/v1/nothing")
        wrong = await client.get(CHAT)
        form = await client.post(CHAT, data={"model": "helper"})
        unknown = await client.post(CHAT, json=body(model="gpt-4"))
        docs = [(await client.get(path)).status_code for path in ("/docs", "/openapi.json")]
    assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")
    assert (wrong.status_code, error_of(wrong)["code"]) == (405, "method_not_allowed")
    assert (form.status_code, error_of(form)["type"]) == (415, "invalid_request_error")
    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "model_not_found")
    assert "'helper'" in error_of(unknown)["message"]
    assert docs == [404, 404]


def raising(error: Exception) -> Any:
    def reply(request: ModelRequest) -> str:
        raise error

    return reply


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_over_the_context_limit_is_a_clear_400(stream: bool) -> None:
    made = kit(context_limit=100)
    async with made.client() as client:
        response = await client.post(CHAT, json=body(stream=stream))
    assert response.status_code == 400
    error = error_of(response)
    assert error["code"] == "context_length_exceeded"
    assert "100" in error["message"]
    assert [kept.stop for kept in made.store.interactions()] == ["error"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("raised", "status", "retry_after"),
    [
        (EngineBusy("the queue is full", retry_after_s=2.4), 429, "3"),
        (EngineDown("no route to http://10.0.0.7"), 503, "5"),
        (RuntimeError("secret detail"), 500, None),
    ],
)
async def test_engine_failures_say_when_to_come_back_and_tell_no_secrets(
    raised: Exception, status: int, retry_after: str | None, stream: bool
) -> None:
    made = kit(raising(raised))
    async with made.client() as client:
        response = await client.post(CHAT, json=body(stream=stream))
    assert response.status_code == status
    assert response.headers.get("retry-after") == retry_after
    assert "10.0.0.7" not in response.text
    assert "secret" not in response.text
    error_of(response)


async def test_an_error_in_the_middle_of_a_stream_is_told_in_it() -> None:
    def reply(request: ModelRequest) -> str:
        if len(made.engine.requests) == 2:
            raise EngineDown("gone")
        return '<think>x</think><tool_call>[{"name": "weather", "arguments": {}}]</tool_call>'

    made = kit(reply)
    async with made.client() as client:
        response = await client.post(CHAT, json=body(stream=True))
    events = [line for line in response.text.splitlines() if line]
    assert response.status_code == 200
    assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "engine_down"
    assert events[-1] == "data: [DONE]"


async def test_health_is_open_and_readiness_names_what_is_missing(served: Kit) -> None:
    async with served.client() as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"] == {"engine": "not started", "store": "ok", "adapter": "ok"}


async def test_metrics_count_what_happens(served: Kit) -> None:
    made = kit()
    async with made.client() as client:
        await client.post(CHAT, json=body())
        await client.get("/no/such/path/1")
        text = (await client.get("/metrics")).text
    assert f'tooln1_requests_total{{path="{CHAT}",status="200"}} 1.0' in text
    assert 'tooln1_requests_total{path="other",status="404"} 1.0' in text
    assert 'tooln1_model_calls_total{adapter="base"} 2.0' in text
    assert 'tooln1_tool_results_total{outcome="ok"} 1.0' in text
    assert 'tooln1_interactions_total{stop="answer"} 1.0' in text
    assert "/no/such" not in text
