"""Log-probs in chunks against the plain softmax, and models that they would be wrong for."""

from __future__ import annotations

import pytest
import torch
from transformers import GraniteConfig, GraniteForCausalLM

from trainer.errors import UnsupportedModel
from trainer.vocabulary import check_head, token_logprobs

CHUNKS = 3  # of 1,024 tokens, at this vocabulary


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_chunks_give_the_log_softmax_and_its_gradient(frozen: bool, temperature: float) -> None:
    draws = torch.Generator().manual_seed(0)
    hidden = torch.randn(CHUNKS * 1024 - 5, 8, generator=draws)
    weight = torch.randn(4096, 8, generator=draws).requires_grad_(not frozen)
    ids = torch.randint(0, 4096, (len(hidden),), generator=draws)
    upstream = torch.randn(len(hidden), generator=draws)
    found = []
    for ours in (True, False):
        states = hidden.clone().requires_grad_()
        weight.grad = None
        if ours:
            values = token_logprobs(states, ids, weight=weight, temperature=temperature)
        else:
            logits = states @ weight.T / temperature
            values = logits.log_softmax(1).gather(1, ids[:, None])[:, 0]
        (values * upstream).sum().backward()
        found.append((values.detach(), states.grad, weight.grad))
    for mine, plain in zip(*found, strict=True):
        if plain is None:
            assert mine is None
            continue
        assert float((mine - plain).norm() / plain.norm()) <= 1e-5


def test_a_model_that_scales_its_logits_is_refused() -> None:
    shape = {
        "vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 1.0,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        check_head(GraniteForCausalLM(GraniteConfig(**shape)))
        with pytest.raises(UnsupportedModel, match="GraniteForCausalLM does more to its logits"):
            check_head(GraniteForCausalLM(GraniteConfig(**shape, logits_scaling=4.0)))
