"""The shared prompt against whole rows: the same log-probs, the same gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from trainer.prefix import completion_logprobs

VOCABULARY = 97
PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [20, 21], [30, 31, 32, 33]]
COMPLETIONS = [
    [[1, 2, 3, 4, 5], [1, 2], [9]],
    [[40, 41, 42, 43, 44, 45, 46, 47]],
    [[50], [51, 52, 53]],
]


@pytest.fixture(params=["sdpa", "eager"])
def lora_model(request: pytest.FixtureRequest) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = Qwen3Config(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True,
        )  # fmt: skip
        config._attn_implementation = request.param
        lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)
        model = get_peft_model(Qwen3ForCausalLM(config), lora).eval()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero at first, which would hide half of the gradient
                torch.nn.init.normal_(parameter, std=0.1)
    return model


def whole_rows(model: Any, *, temperature: float = 1.0) -> list[Tensor]:
    """The plain way: one unpadded row for each completion, its prompt before it."""
    found = []
    for prompt, group in zip(PROMPTS, COMPLETIONS, strict=True):
        for completion in group:
            row = torch.tensor([prompt + completion])
            logits = model(input_ids=row).logits[0, len(prompt) - 1 : -1].float() / temperature
            found.append(logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0])
    return found


def gradients(model: Any, total: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    total.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_those_of_whole_rows(lora_model: Any, temperature: float) -> None:
    expected = whole_rows(lora_model, temperature=temperature)
    found = completion_logprobs(lora_model, PROMPTS, COMPLETIONS, temperature=temperature)
    assert found.values.shape == found.mask.shape == (6, 8)
    assert found.mask.sum(dim=1).tolist() == [5, 2, 1, 8, 1, 3]
    for row, wanted in zip(found.values, expected, strict=True):
        assert relative_error(row[: len(wanted)], wanted) <= 1e-5
        assert not row[len(wanted) :].any()


def test_gradients_equal_those_of_whole_rows(lora_model: Any) -> None:
    torch.manual_seed(0)
    weights = torch.randn(6, 8)
    expected = gradients(
        lora_model,
        sum((w[: len(r)] * r).sum() for w, r in zip(weights, whole_rows(lora_model), strict=True)),
    )
    found = completion_logprobs(lora_model, PROMPTS, COMPLETIONS)
    actual = gradients(lora_model, (weights * found.values * found.mask).sum())
    assert len(actual) == 28  # A and B of the seven linear layers of two blocks
    assert actual.keys() == expected.keys()
    for name, gradient in actual.items():
        assert relative_error(gradient, expected[name]) <= 1e-5, name


def test_completions_of_one_token_need_no_second_pass(lora_model: Any) -> None:
    found = completion_logprobs(lora_model, [[1, 2, 3]], [[[7], [8]]])
    logits = lora_model(input_ids=torch.tensor([[1, 2, 3]])).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(found.values[:, 0], logits[[7, 8]])


def test_a_model_that_drops_its_cache_is_refused(lora_model: Any) -> None:
    lora_model.train()
    lora_model.activation_checkpointing_enable()
    with pytest.raises(ValueError, match="turn gradient checkpointing off"):
        completion_logprobs(lora_model, PROMPTS, COMPLETIONS)


@pytest.mark.parametrize(
    ("prompts", "completions"),
    [([[]], [[[1]]]), ([[1]], [[[]]]), ([[1]], [[]]), ([[1], [2]], [[[1]]])],
)
def test_empty_and_unmatched_lists_are_refused(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]]
) -> None:
    with pytest.raises(ValueError, match="every prompt"):
        completion_logprobs(torch.nn.Linear(1, 1), prompts, completions)
