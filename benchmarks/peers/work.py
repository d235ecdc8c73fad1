"""The work that both sides of a benchmark do: a random model, and rollouts that are given."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PretrainedConfig, Qwen3Config

from tooln1_agent.examples import Example, NoCall, example_id
from tooln1_agent.messages import Message
from tooln1_agent.reward import Reward
from trainer.config import GrpoConfig
from trainer.policy import Policy, load_policy
from trainer.prefix import completion_logprobs
from trainer.rollout import Group, Rollout, prompt_ids

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>",
           "</tool_call>", "<tools>", "</tools>")  # fmt: skip
GROUP = 8


class Shape(NamedTuple):
    """Sizes of one measurement, in tokens."""

    prompt: int
    completion: int = 64
    vocabulary: int = 2048
    prompts: int = 1
    alike: int = 0
    """Letters that all prompts begin with, as those of one agent do with its tools."""

    @property
    def bound(self) -> float:
        """How many times fewer tokens shared prompts compute than whole rows."""
        whole = self.prompts * GROUP * (self.prompt + self.completion)
        own = self.prompt - self.alike + GROUP * self.completion
        return whole / (self.alike + self.prompts * own)


class Work(NamedTuple):
    """A model directory, the policy and the groups of one measurement."""

    model_dir: Path
    policy: Policy
    optimizer: torch.optim.Optimizer
    groups: list[Group]
    config: GrpoConfig


def small_model(vocabulary: int) -> PretrainedConfig:
    """Return the shape of what is measured on a CPU."""
    return Qwen3Config(
        vocab_size=vocabulary, hidden_size=128, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, tie_word_embeddings=True,
        max_position_embeddings=8192, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip


def make_model(path: Path, config: PretrainedConfig, *, vocabulary: int) -> None:
    """Write a random model whose tokenizer knows every byte, and words that fill it up.

    Args:
        vocabulary: of the tokenizer; the model's may be larger.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(CONTROL))
    missing = range(vocabulary - tokenizer.get_vocab_size())
    tokenizer.add_tokens([AddedToken(f"@{n}@", normalized=False) for n in missing])
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))


def make_work(path: Path, shape: Shape, *, half_flat: bool = False, **changes: Any) -> Work:
    """Make a model and groups of fixed rollouts.

    Args:
        path: of the model, a small one if there is none.
        half_flat: every second group is without spread.
        changes: of the settings of training.
    """
    if not (path / "config.json").exists():
        make_model(path, small_model(shape.vocabulary), vocabulary=shape.vocabulary)
    config = GrpoConfig(
        loss="dapo", beta=0.0, group_size=GROUP, max_tokens=shape.completion,
        tokens_per_pass=1 << 20, **changes,
    )  # fmt: skip
    policy = load_policy(path, config)
    draws = torch.Generator().manual_seed(1)
    begin = torch.randint(97, 123, (shape.alike,), generator=draws).tolist()
    made = [
        rewarded(_group(policy, shape, begin, draws), flat=half_flat and number % 2 == 1)
        for number in range(shape.prompts)
    ]
    optimizer = torch.optim.AdamW(list(policy.trainable().values()), lr=1e-6)
    return Work(path, policy, optimizer, made, config)


def _group(policy: Policy, shape: Shape, begin: list[int], draws: torch.Generator) -> Group:
    missing = shape.prompt - shape.alike - len(prompt_ids(_example(""), policy.codec))
    letters = torch.randint(97, 123, (missing,), generator=draws).tolist()
    example = _example("".join(map(chr, [*begin, *letters])))
    prompt = prompt_ids(example, policy.codec)
    size = (GROUP, shape.completion)
    ids = torch.randint(0, shape.vocabulary, size, generator=draws).tolist()
    with torch.no_grad():
        old = completion_logprobs(policy.model, [prompt], [ids]).values.tolist()
    rollouts = tuple(
        Rollout(tuple(row), tuple(logprobs), "", Reward(0.0, ""), False)
        for row, logprobs in zip(ids, old, strict=True)
    )
    return Group(example, prompt, rollouts)


def _example(text: str) -> Example:
    messages = (Message(role="user", content=text),)
    return Example(
        id=example_id(messages, ()), messages=messages, tools=(), target=NoCall(), split="train",
        source="dataset", created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def rewarded(group: Group, *, flat: bool) -> Group:
    """Reward every rollout of a flat group, and every second one of another."""
    rollouts = tuple(
        replace(rollout, reward=Reward(float(flat or n % 2), ""))
        for n, rollout in enumerate(group.rollouts)
    )
    return replace(group, rollouts=rollouts)
