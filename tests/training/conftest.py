"""Two-layer Qwen3 models with a byte-level tokenizer, and stores of requests to a light switch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import Qwen3Config, Qwen3ForCausalLM

from tool_registry import ToolCall, ToolSpec
from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.generate import generate
from tooln1_agent.engines.local.model import base_name
from tooln1_agent.examples import Exact, Example, LabelEvent, NoCall, Target, example_id
from tooln1_agent.ids import new_id
from tooln1_agent.messages import Completion, Message, Sampling
from tooln1_agent.parsing import parse
from tooln1_agent.renderers.families import MARK
from tooln1_agent.renderers.tooln1 import render
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction, Turn

CONTROL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>",
    "</tool_call>", "<tools>", "</tools>",
)  # fmt: skip


def byte_tokenizer(*whole: str) -> Tokenizer:
    """A token for every byte, one for every control text and each of `whole`: no training."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(CONTROL))
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in whole])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Write a tokenizer whose prompts are in our own template."""
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({MARK: "tooln1"}))


def random_model(*, vocab_size: int, hidden_size: int = 32, seed: int = 0) -> Qwen3ForCausalLM:
    """Two layers, grouped-query attention, tied embeddings; float32."""
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=hidden_size // 4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config).eval()


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory in the Hugging Face layout."""
    path = tmp_path_factory.mktemp("models") / "tiny-qwen3"
    tokenizer = byte_tokenizer()
    random_model(vocab_size=tokenizer.get_vocab_size()).save_pretrained(path)
    save_tokenizer(tokenizer, path)
    return path


SWITCHES = (ToolSpec(name="on"), ToolSpec(name="off"))
CALLS = tuple(f'[{{"name":"{name}","arguments":{{}}}}]' for name in ("on", "off"))
DAY = datetime(2026, 3, 1, tzinfo=UTC)


def wants(*names: str) -> Target:
    """The target of calling these switches; of calling nothing where there are none."""
    calls = tuple(ToolCall(name=name, arguments={}) for name in names)
    return Exact(alternatives=(calls,)) if calls else NoCall()


@pytest.fixture
def make_examples() -> Callable[..., list[Example]]:
    """Makes training examples, one a minute: for each name its target; "" is no call."""

    def make(names: Sequence[str], *, begin: int = 0) -> list[Example]:
        made = []
        for number, name in enumerate(names, begin):
            messages = (Message(role="user", content=f"request {number}"),)
            made.append(
                Example(
                    id=example_id(messages, SWITCHES),
                    messages=messages,
                    tools=SWITCHES,
                    target=wants(name) if name else wants(),
                    split="train",
                    source="feedback",
                    created_at=DAY + timedelta(minutes=number),
                )
            )
        return made

    return make


def serve(interaction: Interaction, model_dir: Path, *, seed: int = 0) -> Interaction:
    """Give an interaction a first turn that the model of a directory sampled at temperature 1."""
    codec, model = Codec.load(model_dir), Qwen3ForCausalLM.from_pretrained(model_dir)
    prompt = tuple(codec.prompt_ids(interaction.messages, interaction.tools))
    sampling = Sampling(temperature=1.0, max_tokens=16)
    draws = torch.Generator().manual_seed(seed)
    ((sample,),) = generate(
        model, [prompt], n=1, sampling=sampling, end_ids=codec.end_ids, generator=draws
    )
    completion = Completion(
        text=codec.decode(sample.ids),
        prompt_ids=prompt,
        completion_ids=sample.ids,
        logprobs=sample.logprobs,
        sampling=sampling,
    )
    changes = {
        "base_model": base_name(model_dir),
        "tokenizer_hash": codec.hash,
        "prompt_version": codec.prompt_version,
        "turns": (Turn(completion=completion, reply=parse(completion.text)),),
    }
    return interaction.model_copy(update=changes)


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Path]:
    """Makes a store of labelled requests, each with the name of the switch it wants.

    Given the directory of a model, that model has replied to them.
    """

    def make(
        names: Sequence[str], *, name: str = "replay.db", model_dir: Path | None = None
    ) -> Path:
        path = tmp_path / name
        with ReplayStore(path) as store:
            for number, wanted in enumerate(names):
                interaction = Interaction(
                    id=new_id("int"),
                    episode=new_id("ep"),
                    messages=(Message(role="user", content=f"request {number}"),),
                    tools=SWITCHES,
                    created_at=DAY,
                )
                if model_dir is not None:
                    interaction = serve(interaction, model_dir, seed=number)
                store.begin(interaction)
                label = LabelEvent(
                    interaction=interaction.id,
                    verdict="target",
                    target=wants(wanted) if wanted else wants(),
                    source="dataset",
                    created_at=DAY + timedelta(minutes=number),
                )
                store.add_label(label)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_agent_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that calls a switch whatever it is asked: "off" a little more often than "on"."""
    path = tmp_path_factory.mktemp("models") / "tiny-agent"
    tokenizer = byte_tokenizer(*CALLS, *_template_pieces())
    codec = Codec(tokenizer.to_str(), renderer="tooln1")
    model = random_model(vocab_size=codec.vocab_size, hidden_size=64)
    replies = [
        tokenizer.encode(f"<think>x</think><tool_call>{call}</tool_call><|im_end|>").ids
        for call in CALLS
    ]
    weights = torch.tensor([0.45, 0.55])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(150):
        user = Message(role="user", content=f"request {step}")
        prompt = codec.prompt_ids([user], SWITCHES)
        logits = model(torch.tensor([prompt + reply for reply in replies])).logits
        told = logits[:, len(prompt) - 1 : -1].log_softmax(-1)
        logprobs = told.gather(2, torch.tensor(replies)[..., None]).sum(dim=(1, 2))
        optimizer.zero_grad()
        (-(weights * logprobs).sum()).backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 150)
    model.save_pretrained(path)
    save_tokenizer(tokenizer, path)
    return path


def _template_pieces() -> list[str]:
    """What the template itself writes between control tokens: short prompts are fast ones."""
    cut = re.compile("|".join(map(re.escape, CONTROL)))
    texts = [text for text, trusted in render([], SWITCHES) if trusted]
    return [piece for text in texts for piece in cut.split(text) if len(piece) > 1]
