"""The scripted engine, and the way from a model's name to an engine."""

import json

import pytest

from tooln1_agent.engines import model_dir, resolve
from tooln1_agent.engines.base import ModelRequest, complete
from tooln1_agent.engines.http import HttpEngine
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.errors import ConfigError, ContextTooLong, EngineError
from tooln1_agent.messages import Completion, Message, Sampling


def ask(text="hi", **options):
    return ModelRequest((Message(role="user", content=text),), (), **options)


async def test_a_reply_streams_in_pieces_that_add_up():
    engine = ScriptedEngine(["abcdefghij"], chunk_chars=4)
    *pieces, completion = [piece async for piece in engine.stream(ask())]
    assert pieces == ["abcd", "efgh", "ij"]
    assert isinstance(completion, Completion)
    assert completion.text == "abcdefghij"


async def test_a_function_sees_the_request():
    engine = ScriptedEngine(lambda request: request.messages[-1].content.upper())
    completion = await complete(engine, ask("hello", adapter="v0001-abc"))
    assert (completion.text, completion.adapter) == ("HELLO", "v0001-abc")
    assert engine.requests == [ask("hello", adapter="v0001-abc")]


async def test_a_used_up_script_says_so():
    engine = ScriptedEngine(["once"])
    await complete(engine, ask())
    with pytest.raises(EngineError, match="1 replies"):
        await complete(engine, ask())


async def test_the_context_limit_counts_the_wanted_tokens():
    engine = ScriptedEngine(["x"], context_limit=100)
    with pytest.raises(ContextTooLong) as caught:
        await complete(engine, ask(sampling=Sampling(max_tokens=90)))
    assert caught.value.limit == 100
    assert engine.requests == []


@pytest.mark.parametrize(
    ("sampling", "text", "reason"),
    [
        (Sampling(max_tokens=1), "abcd", "length"),
        (Sampling(stop=("ef", "cd")), "ab", "stop"),
        (Sampling(), "abcdefgh", "stop"),
    ],
)
async def test_limits_and_stop_strings_cut_a_reply(sampling, text, reason):
    completion = await complete(ScriptedEngine(["abcdefgh"]), ask(sampling=sampling))
    assert (completion.text, completion.finish_reason) == (text, reason)


def test_one_text_in_place_of_a_list_is_refused():
    with pytest.raises(TypeError, match="list of texts"):
        ScriptedEngine("one text")


async def test_a_script_is_read_from_a_file(tmp_path):
    path = tmp_path / "script.json"
    path.write_text(json.dumps(["first"]))
    assert (await complete(resolve(f"scripted:{path}"), ask())).text == "first"


@pytest.mark.parametrize("content", ['{"a": 1}', "[1]", "not json", None])
def test_a_bad_script_is_named(tmp_path, content):
    path = tmp_path / "script.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"script\.json"):
        resolve(f"scripted:{path}")


def test_a_url_names_server_and_model():
    engine = resolve("https://model.example/v1#org/big")
    assert isinstance(engine, HttpEngine)
    assert engine.info.base_model == "org/big"


def test_an_unknown_model_lists_what_is_possible():
    with pytest.raises(ConfigError, match=r"unknown model 'sead'.*\"seed\""):
        resolve("sead")


def test_a_directory_stands_for_itself(tmp_path):
    assert model_dir(tmp_path) == tmp_path
    assert (model_dir("seed") / "config.json").is_file()
