"""A two-layer random Qwen3 and a byte-level tokenizer with the reply's control tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Qwen3Config, Qwen3ForCausalLM

CONTROL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>",
    "</tool_call>", "<tools>", "</tools>",
)  # fmt: skip


def byte_tokenizer() -> Tokenizer:
    """A token for every byte, and one for every control text: no training needed."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(CONTROL))
    return tokenizer


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
    tokenizer.save(str(path / "tokenizer.json"))
    return path
