"""The embedded engine: what is true of many requests at once on one model."""

import asyncio
import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.agent.served import CHAT, body, kit
from tooln1_agent.codec import Codec
from tooln1_agent.engines import resolve
from tooln1_agent.engines.base import ModelRequest, complete
from tooln1_agent.engines.local.adapted import AdaptedModel
from tooln1_agent.engines.local.engine import LocalEngine
from tooln1_agent.engines.local.model import base_name, load_base
from tooln1_agent.engines.local.scheduler import Scheduler
from tooln1_agent.engines.text_stream import TextStream
from tooln1_agent.errors import (
    AdapterError,
    ConfigError,
    ContextTooLong,
    EngineBusy,
    EngineDown,
    ModelNotFound,
)
from tooln1_agent.messages import Completion, Message, Sampling
from tooln1_agent.parsing import StreamParser, parse
from tooln1_agent.prompt import Segment


def byte_tokenizer():
    """Return a tokenizer of single bytes, so that a character can be several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: n for n, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return tokenizer


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """Return the directory of a random two-layer model over single bytes."""
    path = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=2048,
        initializer_range=0.3,
        eos_token_id=257,
        pad_token_id=0,
    )
    Qwen3ForCausalLM(config).save_pretrained(path)
    byte_tokenizer().save(str(path / "tokenizer.json"))
    return path


def adapter_dir(model_dir, path, seed):
    """Write a LoRA adapter that changes what the model says."""
    torch.manual_seed(seed)
    targets = ["q_proj", "v_proj", "down_proj"]
    config = LoraConfig(r=4, lora_alpha=64, target_modules=targets, init_lora_weights=False)
    get_peft_model(load_base(model_dir), config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def adapters(model_dir, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    return {f"v000{n}-abc123def456": adapter_dir(model_dir, root / str(n), seed=n) for n in (1, 2)}


@pytest.fixture
async def engine(model_dir):
    made = LocalEngine(model_dir, threads=1)
    yield made
    await made.aclose()


def ask(text="hello", *, adapter=None, max_tokens=24, **sampling):
    return ModelRequest(
        (Message(role="user", content=text),),
        (),
        Sampling(max_tokens=max_tokens, **sampling),
        adapter,
    )


async def test_a_completion_carries_ids_text_and_logprobs(engine, model_dir):
    request = ask()
    *pieces, completion = [piece async for piece in engine.stream(request)]
    codec = Codec.load(model_dir)
    assert completion.prompt_ids == tuple(codec.prompt_ids(request.messages, ()))
    assert completion.text == codec.decode(completion.completion_ids)
    assert "".join(pieces) == completion.text
    assert len(completion.logprobs) == len(completion.completion_ids)
    assert completion.usage.prompt_tokens == len(completion.prompt_ids)
    assert (len(completion.completion_ids), completion.finish_reason) == (24, "length")


async def test_requests_at_once_get_what_each_would_get_alone(engine):
    texts = ["a", "hello there, how are you?", "x" * 100, "yes"]
    alone = [await complete(engine, ask(text)) for text in texts]
    together = await asyncio.gather(*(complete(engine, ask(text)) for text in texts * 10))
    assert [c.completion_ids for c in together] == [c.completion_ids for c in alone] * 10


async def test_a_seed_repeats_a_completion_whoever_else_is_served(engine):
    seeded = ask(temperature=1.0, seed=5)
    alone = await complete(engine, seeded)
    crowd = [complete(engine, ask(str(n), temperature=1.0)) for n in range(12)]
    _, *others, among = await asyncio.gather(*crowd, complete(engine, seeded))
    assert among.completion_ids == alone.completion_ids
    assert len({other.completion_ids for other in others}) > 1


async def test_each_request_is_served_by_its_own_adapter(engine, adapters):
    for version, path in adapters.items():
        await engine.load_adapter(version, path)
    served = [None, *adapters] * 4
    completions = await asyncio.gather(*(complete(engine, ask(adapter=v)) for v in served))
    assert [completion.adapter for completion in completions] == served
    by_version = {}
    for version, completion in zip(served, completions, strict=True):
        by_version.setdefault(version, set()).add(completion.completion_ids)
    assert all(len(said) == 1 for said in by_version.values())
    assert len(set.union(*by_version.values())) == 3


async def test_the_base_alone_is_untouched_by_adapters_that_come_and_go(engine, adapters):
    before = await complete(engine, ask())
    for version, path in adapters.items():
        await engine.load_adapter(version, path)
    beside = await complete(engine, ask())
    for version in adapters:
        await engine.unload_adapter(version)
    after = await complete(engine, ask())
    assert before.logprobs == pytest.approx(beside.logprobs, abs=1e-6)
    assert before.completion_ids == beside.completion_ids == after.completion_ids


@pytest.mark.parametrize("is_loaded_again", [False, True])
async def test_an_adapter_is_unloaded_only_after_requests_that_wait_for_it(
    engine, adapters, is_loaded_again
):
    version, path = next(iter(adapters.items()))
    await engine.load_adapter(version, path)
    expected = await complete(engine, ask(adapter=version))
    endless = engine.stream(ask(max_tokens=1900))
    await anext(endless)  # everything after it has to wait
    waiting = [asyncio.create_task(complete(engine, ask(adapter=version))) for _ in range(20)]
    await asyncio.sleep(0)  # they queue
    errands = [asyncio.create_task(engine.unload_adapter(version))]
    await asyncio.sleep(0)
    with pytest.raises(AdapterError, match=f"{version}.*not loaded"):
        await complete(engine, ask(adapter=version))
    if is_loaded_again:
        errands.append(asyncio.create_task(engine.load_adapter(version, path)))
        await asyncio.sleep(0)
    await endless.aclose()
    await asyncio.gather(*errands)
    if is_loaded_again:
        waiting.append(asyncio.create_task(complete(engine, ask(adapter=version))))
    done = await asyncio.gather(*waiting)
    assert {completion.completion_ids for completion in done} == {expected.completion_ids}


def test_an_adapter_that_does_not_fit_leaves_nothing_behind(model_dir, adapters, tmp_path):
    source = next(iter(adapters.values()))
    shutil.copytree(source, tmp_path / "a")
    weights = load_file(tmp_path / "a" / "adapter_model.safetensors")
    wrong = {name: torch.zeros(3, 5) for name in weights}
    save_file(wrong, tmp_path / "a" / "adapter_model.safetensors")
    base = load_base(model_dir)
    names = [name for name, _ in base.named_parameters()]
    model = AdaptedModel(base)
    with pytest.raises(AdapterError, match="does not fit this base"):
        model.load("v0009-a", tmp_path / "a")
    with model.using(None) as left:
        assert [name for name, _ in left.named_parameters()] == names
    with pytest.raises(AdapterError, match="not loaded"), model.using("v0009-a"):
        pass


async def test_loading_an_adapter_twice_does_nothing(engine, adapters):
    version, path = next(iter(adapters.items()))
    await engine.load_adapter(version, path)
    await engine.load_adapter(version, path)
    await engine.unload_adapter(version)
    await engine.unload_adapter(version)


async def test_a_pickled_or_absent_adapter_is_refused(engine, adapters, tmp_path):
    source = next(iter(adapters.values()))
    shutil.copytree(source, tmp_path / "a")
    weights = tmp_path / "a" / "adapter_model.safetensors"
    torch.save(load_file(weights), tmp_path / "a" / "adapter_model.bin")
    weights.unlink()
    with pytest.raises(AdapterError, match=r"no adapter_model\.safetensors"):
        await engine.load_adapter("v0009-a", tmp_path / "a")
    await complete(engine, ask())


async def test_an_adapter_for_another_base_is_refused_and_harms_nobody(engine, adapters, tmp_path):
    version, source = next(iter(adapters.items()))
    shutil.copytree(source, tmp_path / "a")
    weights = load_file(tmp_path / "a" / "adapter_model.safetensors")
    wrong = {name: torch.zeros(3, 5) for name in weights}
    save_file(wrong, tmp_path / "a" / "adapter_model.safetensors")
    before = await complete(engine, ask())
    with pytest.raises(AdapterError, match="does not fit this base"):
        await engine.load_adapter("v0009-a", tmp_path / "a")
    await engine.load_adapter(version, source)
    with pytest.raises(AdapterError, match="does not fit this base"):
        await engine.load_adapter("v0009-a", tmp_path / "a")
    after = await complete(engine, ask())
    assert before.completion_ids == after.completion_ids
    assert (await complete(engine, ask(adapter=version))).completion_ids != after.completion_ids


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
async def test_an_adapter_with_some_weights_missing_is_refused(engine, adapters, tmp_path):
    source = next(iter(adapters.values()))
    shutil.copytree(source, tmp_path / "a")
    weights = load_file(tmp_path / "a" / "adapter_model.safetensors")
    half = {name: weight for name, weight in weights.items() if "layers.0." in name}
    save_file(half, tmp_path / "a" / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=r"missing or unknown.*layers\.1"):
        await engine.load_adapter("v0009-a", tmp_path / "a")


async def test_a_prompt_over_the_limit_is_refused_and_harms_nobody(engine):
    short = [complete(engine, ask(str(n))) for n in range(4)]
    results = await asyncio.gather(
        *short, complete(engine, ask("x" * 3000)), return_exceptions=True
    )
    *fine, refused = results
    assert isinstance(refused, ContextTooLong)
    assert (refused.max_tokens, refused.limit) == (24, 2048)
    assert all(isinstance(completion, Completion) for completion in fine)


def test_a_context_limit_above_the_models_own_is_refused(model_dir):
    with pytest.raises(ConfigError, match="2048"):
        LocalEngine(model_dir, context_limit=4000)


async def test_a_cancelled_request_frees_its_place(model_dir):
    engine = LocalEngine(model_dir, threads=1, max_batch=1, queue_limit=1)
    await engine.start()
    endless = engine.stream(ask(max_tokens=1900))
    await anext(endless)  # it runs
    waiting = asyncio.create_task(complete(engine, ask("two")))
    await asyncio.sleep(0.01)
    with pytest.raises(EngineBusy, match="1 requests are waiting"):
        await complete(engine, ask("three"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    fourth = asyncio.create_task(complete(engine, ask("four", max_tokens=2)))
    await asyncio.sleep(0)
    await endless.aclose()
    assert len((await fourth).completion_ids) == 2
    await engine.aclose()


async def test_the_oldest_request_leads_so_none_starves(model_dir, adapters):
    engine = LocalEngine(model_dir, threads=1, max_batch=2)
    version, path = next(iter(adapters.items()))
    await engine.load_adapter(version, path)
    order = []

    async def one(name, adapter):
        await complete(engine, ask(adapter=adapter))
        order.append(name)

    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(one(f"base {n}", None))
        group.create_task(one("adapted", version))
        for n in range(3, 9):
            group.create_task(one(f"base {n}", None))
    assert order.index("adapted") <= 4
    await engine.aclose()


async def test_a_worker_that_dies_tells_everybody(engine, monkeypatch):
    def explode(self):
        raise RuntimeError("a bug of ours")

    await engine.start()
    monkeypatch.setattr(Scheduler, "tick", explode)
    results = await asyncio.gather(
        *(complete(engine, ask(str(n))) for n in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, EngineDown) for result in results)
    with pytest.raises(EngineDown, match=r"a bug of ours.*restart"):
        await complete(engine, ask())


async def test_closing_tells_who_still_waits(engine):
    running = asyncio.create_task(complete(engine, ask(max_tokens=1900)))
    await engine.start()
    await asyncio.sleep(0.01)
    await engine.aclose()
    with pytest.raises(EngineDown, match="closed"):
        await running
    with pytest.raises(EngineDown, match="closed"):
        await complete(engine, ask())


def test_an_engine_serves_one_event_loop_after_another(model_dir):
    engine = LocalEngine(model_dir, threads=1)
    said = {asyncio.run(complete(engine, ask())).completion_ids for _ in range(2)}
    assert len(said) == 1
    asyncio.run(engine.aclose())


async def test_a_stop_string_ends_the_text_before_it(engine):
    whole = (await complete(engine, ask(max_tokens=60))).text
    stop = whole[10:13]
    place = whole.find(stop)
    *pieces, completion = [piece async for piece in engine.stream(ask(max_tokens=60, stop=(stop,)))]
    assert completion.text == whole[:place] == "".join(pieces)
    assert completion.finish_reason == "stop"


async def test_over_http_a_full_line_gets_429_and_when_to_come_back(model_dir):
    engine = LocalEngine(model_dir, threads=1, max_batch=1, queue_limit=1)
    made = kit(engine=engine, agent={"tools": [], "instructions": ""})
    endless = engine.stream(ask(max_tokens=1900))
    await anext(endless)  # it runs
    waiting = asyncio.create_task(complete(engine, ask(max_tokens=2)))
    await asyncio.sleep(0)  # it is in line
    async with made.client() as client:
        refused = await client.post(CHAT, json=body(max_tokens=2))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["code"] == "busy"
        await endless.aclose()
        await waiting
        assert (await client.post(CHAT, json=body(max_tokens=2))).status_code == 200
    await engine.aclose()


async def test_what_was_drawn_from_is_asked_for_over_http_and_kept_in_the_store(engine):
    made = kit(engine=engine, agent={"tools": [], "instructions": ""})
    async with made.client() as client:
        wanted = {"temperature": 0.7, "top_k": 3, "top_p": 0.9, "seed": 3, "max_tokens": 8}
        asked = [await client.post(CHAT, json=body(**wanted)) for _ in range(2)]
        plain = await client.post(CHAT, json=body(temperature=1.0, max_tokens=4))
        refused = await client.post(CHAT, json=body(top_k=0))
    assert refused.json()["error"]["param"] == "top_k"
    first, again, plainly = (
        made.store.interaction(response.headers["x-interaction-id"]).turns[0].completion
        for response in (*asked, plain)
    )
    assert (first.sampling.top_k, first.sampling.top_p) == (3, 0.9)
    assert first.completion_ids == again.completion_ids
    assert len(first.sampling_logprobs) == len(first.logprobs) == 8
    assert sum(first.sampling_logprobs) > sum(first.logprobs)
    assert plainly.sampling_logprobs is None


def test_a_budget_that_cannot_hold_one_request_is_refused(model_dir):
    with pytest.raises(ConfigError, match="token_budget 100 cannot hold one request of 2048"):
        LocalEngine(model_dir, token_budget=100)


@pytest.mark.parametrize("text", ["héllo", "日本語のテキスト", "a😀b👩‍👩‍👧c", "\ufffd!", "plain"])
def test_text_grows_by_whole_characters_only(text):
    codec = Codec(byte_tokenizer().to_str())
    stream = TextStream(codec)
    pieces = [stream.push(token) for token in codec.encode([Segment(text, trusted=False)])]
    rest, whole = stream.end()
    assert whole == text
    assert "".join(pieces) + rest == text
    assert all(piece in text for piece in pieces)


@pytest.mark.parametrize("text", ["é日😀", '[{"name": "é", "arguments": {"x": "日😀"}}]'])
def test_a_reply_is_read_the_same_from_tokens_that_are_parts_of_characters(text):
    reply = f"<think>日</think><tool_call>{text}</tool_call>"
    codec = Codec(byte_tokenizer().to_str())
    stream, parser = TextStream(codec), StreamParser()
    for token in codec.encode([Segment(reply, trusted=False)]):
        parser.feed(stream.push(token))
    parser.feed(stream.end()[0])
    assert parser.close() == parse(reply)


def test_a_stop_string_is_found_across_pieces_and_never_released():
    codec = Codec(byte_tokenizer().to_str())
    stream = TextStream(codec, stop=("cde", "x"))
    released = ""
    for token in codec.encode([Segment("abcd cd cdef", trusted=False)]):
        released += stream.push(token)
        assert released == "abcd cd "[: len(released)]
        if stream.stopped:
            break
    assert stream.stopped
    assert released + stream.end()[0] == stream.end()[1] == "abcd cd "


def test_bytes_that_are_no_text_are_released_at_the_end():
    codec = Codec(byte_tokenizer().to_str())
    broken = codec.encode([Segment("é", trusted=False)])[1:] * 200
    stream = TextStream(codec)
    pieces = [stream.push(token) for token in broken]
    rest, whole = stream.end()
    assert "".join(pieces) + rest == whole == codec.decode(broken)


def test_the_name_of_a_base_depends_on_its_content_alone(model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "elsewhere")
    assert base_name(tmp_path / "elsewhere") == base_name(model_dir)
    path = tmp_path / "elsewhere" / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"] = weights["model.norm.weight"] + 1
    save_file(weights, path, metadata={"format": "pt"})
    assert base_name(tmp_path / "elsewhere") != base_name(model_dir)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_directory_that_is_no_model_is_named(model_dir, tmp_path, missing):
    shutil.copytree(model_dir, tmp_path / "m")
    (tmp_path / "m" / missing).unlink()
    with pytest.raises(ModelNotFound, match="safetensors"):
        resolve(str(tmp_path / "m"))


async def test_weights_that_do_not_load_are_reported_to_all(model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "model_type": "nonsense"}))
    engine = resolve(str(tmp_path / "m"))
    for _ in range(2):
        with pytest.raises(ModelNotFound, match="nonsense"):
            await complete(engine, ask())


def test_a_tokenizer_of_another_model_is_refused(model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "m")
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"extra{n}" for n in range(10)])
    tokenizer.save(str(tmp_path / "m" / "tokenizer.json"))
    with pytest.raises(ModelNotFound, match="do not belong together"):
        resolve(str(tmp_path / "m"))
