"""The chat-server engine, against a server that is a function."""

import json

import httpx
import pytest

from tool_registry import ToolCall, ToolSpec
from tooln1_agent.engines.base import ModelRequest, complete
from tooln1_agent.engines.http import HttpEngine
from tooln1_agent.errors import AdapterError, ConfigError, EngineBusy, EngineDown, EngineError
from tooln1_agent.messages import Completion, Message, Sampling, Usage
from tooln1_agent.parsing import StreamParser, parse

ASK = ModelRequest((Message(role="user", content="hi"),), ())


def sse(*events, done=True):
    lines = [f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]
    body = "".join(lines) + ("data: [DONE]\n\n" if done else "")
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=body.encode())


def delta(text=None, finish_reason=None):
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish_reason}]}


def engine_for(handler, **options):
    transport = httpx.MockTransport(handler)
    return HttpEngine("http://model/v1", "big", transport=transport, back_off_s=0, **options)


async def test_a_streamed_reply_comes_in_pieces_and_then_whole():
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    engine = engine_for(lambda _: sse(delta("<think>a"), delta("</think>b", "stop"), usage))
    *pieces, completion = [piece async for piece in engine.stream(ASK)]
    assert pieces == ["<think>a", "</think>b"]
    assert completion == Completion(
        text="<think>a</think>b", usage=Usage(prompt_tokens=7, completion_tokens=3)
    )
    await engine.aclose()


async def test_line_ends_inside_a_text_do_not_break_the_stream():
    text = "one\u2028two\x85three\r\nfour"
    engine = engine_for(lambda _: sse(delta(text, "stop")))
    assert (await complete(engine, ASK)).text == text


REPLY = '<think>é日</think><tool_call>[{"name": "f", "arguments": {"x": "日本😀"}}]</tool_call>'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_reply_is_read_the_same_wherever_its_bytes_are_cut(size):
    whole = sse(*map(delta, REPLY), delta("", "stop")).content

    async def pieces():
        for start in range(0, len(whole), size):
            yield whole[start : start + size]

    headers = {"Content-Type": "text/event-stream"}
    engine = engine_for(lambda _: httpx.Response(200, headers=headers, content=pieces()))
    parser = StreamParser()
    async for piece in engine.stream(ASK):
        if isinstance(piece, str):
            parser.feed(piece)
    assert parser.close() == parse(REPLY)
    assert parse(REPLY).calls


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        (["a\ud83d", "\ude00b"], "a😀b"),
        (["\ud83d", "", "\ude00"], "😀"),
        (["a\ud83d", "b"], "a\ufffdb"),
        (["a\ud83d"], "a\ufffd"),
        (["\ude00"], "\ufffd"),
    ],
)
async def test_halves_of_a_character_are_joined_and_what_is_no_text_is_marked(contents, text):
    events = [json.dumps(delta(content)) for content in contents]
    events.append(json.dumps(delta("", "stop")))
    body = "".join(f"data: {event}\n\n" for event in events)
    headers = {"Content-Type": "text/event-stream"}
    engine = engine_for(lambda _: httpx.Response(200, headers=headers, content=body))
    assert (await complete(engine, ASK)).text == text


async def test_a_server_that_does_not_stream_is_understood():
    reply = {"choices": [{"message": {"content": "all"}, "finish_reason": "length"}]}
    completion = await complete(engine_for(lambda _: httpx.Response(200, json=reply)), ASK)
    assert (completion.text, completion.finish_reason) == ("all", "length")


async def test_tools_calls_and_results_are_sent_as_plain_text():
    sent = []

    def handler(request):
        sent.append(json.loads(request.content))
        return sse(delta("ok", "stop"))

    call = ToolCall(id="call_1", name="add", arguments={"a": 1})
    messages = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="add"),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="2", tool_call_id="call_1"),
        Message(role="tool", content="Your last reply could not be used."),
        Message(role="user", content="go on"),
    )
    sampling = Sampling(temperature=0.5, top_k=7, max_tokens=9, seed=3, stop=("X",))
    request = ModelRequest(messages, (ToolSpec(name="add", description="Adds."),), sampling)
    await complete(engine_for(handler), request)
    body = sent[0]
    system, asked, called, results = body["messages"]
    assert system["content"].startswith("Be brief.")
    assert '"name": "add"' in system["content"]
    assert asked == {"role": "user", "content": "add"}
    assert called["content"] == '<tool_call>[{"name": "add", "arguments": {"a": 1}}]</tool_call>'
    assert results["role"] == "user"
    assert "Result of add:\n2" in results["content"]
    assert results["content"].endswith("could not be used.\n\ngo on")
    assert "tools" not in body
    wanted = {"model": "big", "temperature": 0.5, "max_tokens": 9, "seed": 3, "stop": ["X"]}
    wanted["top_k"] = 7
    assert wanted.items() <= body.items()


async def test_the_api_key_is_sent():
    seen = []

    def handler(request):
        seen.append(request.headers["Authorization"])
        return sse(delta("ok", "stop"))

    await complete(engine_for(handler, api_key="k-123"), ASK)
    assert seen == ["Bearer k-123"]


async def test_connecting_is_tried_again():
    attempts = []

    def handler(request):
        attempts.append(request)
        if len(attempts) < 3:
            raise httpx.ConnectError("refused")
        return sse(delta("ok", "stop"))

    assert (await complete(engine_for(handler, retries=2), ASK)).text == "ok"


async def test_a_server_that_stays_away_is_down():
    attempts = []

    def handler(request):
        attempts.append(request)
        raise httpx.ConnectError("refused")

    with pytest.raises(EngineDown, match=r"http://model/v1.*refused"):
        await complete(engine_for(handler, retries=1), ASK)
    assert len(attempts) == 2


@pytest.mark.parametrize(
    ("response", "is_well"),
    [
        (httpx.Response(200, json={"data": []}), True),
        (httpx.Response(404), True),  # it need not list its models
        (httpx.Response(503), False),
        (httpx.Response(500), False),
    ],
)
async def test_a_server_is_back_when_it_answers(response, is_well):
    engine = engine_for(lambda _: response)
    if is_well:
        await engine.check()
        return
    with pytest.raises((EngineBusy, EngineDown)):
        await engine.check()


async def test_a_lost_connection_is_not_asked_again():
    attempts = []

    def handler(request):
        attempts.append(request)
        raise httpx.ReadError("lost")

    with pytest.raises(EngineDown, match="lost"):
        await complete(engine_for(handler), ASK)
    assert len(attempts) == 1


async def test_a_reply_without_its_end_is_not_taken_for_a_reply():
    engine = engine_for(lambda _: sse(delta("half"), done=False))
    with pytest.raises(EngineDown, match="in the middle"):
        await complete(engine, ASK)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_says_when_to_come_back(status):
    engine = engine_for(lambda _: httpx.Response(status, headers={"Retry-After": "7"}))
    with pytest.raises(EngineBusy) as caught:
        await complete(engine, ASK)
    assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (httpx.Response(400, json={"error": {"message": "bad model"}}), "400.*bad model"),
        (httpx.Response(401, text="no key"), "401.*no key"),
        (httpx.Response(200, text="<html>"), "no JSON"),
        (httpx.Response(200, json=[1]), "JSON object"),
        (sse({"error": {"message": "out of memory"}}), "out of memory"),
    ],
)
async def test_what_the_server_complains_about_is_passed_on(response, said):
    with pytest.raises(EngineError, match=said):
        await complete(engine_for(lambda _: response), ASK)


async def test_adapters_are_refused_with_advice(tmp_path):
    engine = engine_for(lambda _: sse(delta("ok", "stop")))
    with pytest.raises(AdapterError, match="local engine"):
        await engine.load_adapter("v0001-abc", tmp_path)
    with pytest.raises(AdapterError, match="v0001-abc"):
        await complete(engine, ModelRequest(ASK.messages, (), adapter="v0001-abc"))


def test_a_url_without_a_model_is_refused():
    with pytest.raises(ConfigError, match="#MODEL"):
        HttpEngine("http://model/v1", "")
