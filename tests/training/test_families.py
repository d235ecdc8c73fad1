"""Each family of models, from its tokenizer to a served interaction and to a group of rollouts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.agent.families import tokenizer_json
from tool_registry import tool
from tooln1_agent import Agent, ScriptedEngine
from tooln1_agent.codec import Codec
from tooln1_agent.engines.base import Engine
from tooln1_agent.engines.local.engine import LocalEngine
from tooln1_agent.examples import Exact, Example, example_id
from tooln1_agent.prompt import ours
from tooln1_agent.run_events import RunResult
from tooln1_agent.transcript import prompt_of_turn
from trainer.config import GrpoConfig
from trainer.policy import load_policy
from trainer.rollout import sample_groups

REPLIES = (
    '<think>x</think><tool_call>[{"name": "light", "arguments": {"on": true}}]</tool_call>',
    "<think>x</think>It is on.",
)
MODELS = {
    "hermes": (Qwen3Config, Qwen3ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral-bpe": (MistralConfig, MistralForCausalLM),
}


@tool
def light(on: bool) -> str:
    """Switch the light."""
    return f"light on: {on}"


async def switched_on(engine: Engine) -> RunResult:
    return await Agent(engine, tools=[light]).run("Light, please.")


def make_model(family: str, *, vocab_size: int) -> Any:
    """Two layers of the family's architecture, at random."""
    config_type, model_type = MODELS[family]
    torch.manual_seed(0)
    config = config_type(
        vocab_size=vocab_size, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=2048,
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    return model_type(config)


def teach(model: Any, rows: list[tuple[list[int], list[int]]]) -> None:
    """Make a model give these replies to these prompts, almost surely."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(300):
        losses = []
        for prompt, reply in rows:
            logits = model(torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1]
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(reply)))
        if max(losses) < 5e-3:
            return
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
    raise AssertionError(f"not learned: {losses}")


@pytest.mark.slow
@pytest.mark.parametrize("family", MODELS)
async def test_a_family_is_served_and_trained_on_the_same_prompts(
    family: str, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer_json(family))
    codec = Codec.load(tmp_path)
    wanted = (await switched_on(ScriptedEngine(REPLIES))).interaction
    prompts = [codec.prompt_ids(prompt_of_turn(wanted, turn), wanted.tools) for turn in (0, 1)]
    ends = codec.end_ids[0], codec.end_ids[-1]  # where there are two, both have to end a reply
    replies = [[*codec.encode([ours(text)]), end] for text, end in zip(REPLIES, ends, strict=True)]
    model = make_model(family, vocab_size=codec.vocab_size)
    teach(model, list(zip(prompts, replies, strict=True)))
    model.save_pretrained(tmp_path)

    engine = LocalEngine(tmp_path, threads=1)
    result = await switched_on(engine)
    await engine.aclose()
    assert (result.output, result.stop) == ("It is on.", "answer")
    assert result.interaction.prompt_version == codec.prompt_version
    completions = [turn.completion for turn in result.interaction.turns]
    assert [list(completion.prompt_ids or ()) for completion in completions] == prompts
    assert [list(completion.completion_ids or ()) for completion in completions] == replies

    example = Example(
        id=example_id(wanted.messages, wanted.tools),
        messages=wanted.messages,
        tools=wanted.tools,
        target=Exact(alternatives=(wanted.turns[0].reply.calls,)),
        split="train",
        source="feedback",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    config = GrpoConfig(group_size=4, max_tokens=80, lora_rank=1, temperature=0.2)
    policy = load_policy(tmp_path, config)
    generator = torch.Generator().manual_seed(0)
    (group,) = sample_groups(policy, [example], config=config, generator=generator)
    assert list(group.prompt_ids) == prompts[0]
    assert group.rewards == (1.0,) * 4
