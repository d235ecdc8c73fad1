"""A word of the seed world is one word to the model, small or with a capital."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tooln1_agent.codec import Codec
from trainer.seed.casing import Casing, casing_of
from trainer.seed.pretrain import PretrainConfig, prepare_tokenizer, pretrain
from trainer.seed.words import vocabulary

TINY = PretrainConfig(
    steps=2, hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, intermediate=32,
    round_scenes=90, compile=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seed")


@pytest.fixture(scope="module")
def codec(work: Path) -> Codec:
    return prepare_tokenizer(TINY, work)


def ids_of(codec: Codec) -> dict[str, int]:
    return {codec.decode([i]): i for i in range(codec.vocab_size)}


def test_every_word_of_the_world_is_a_token_small_and_with_a_capital(codec: Codec) -> None:
    assert codec.vocab_size == TINY.vocab_size
    assert vocabulary() <= ids_of(codec).keys()
    assert {word.lower() for word in vocabulary()} <= vocabulary()
    assert {word.title() for word in vocabulary()} <= vocabulary()


def test_a_capitalised_word_has_the_row_of_the_small_one_and_a_shift(codec: Codec) -> None:
    casing, ids = casing_of(codec, size=TINY.vocab_size), ids_of(codec)
    assert int(casing.capital.sum()) == len(vocabulary()) // 2
    weight, shift = torch.randn(TINY.vocab_size, 4), torch.randn(4)
    rows = casing.rows(weight, shift)
    torch.testing.assert_close(rows[ids["Warm"]], weight[ids["warm"]] + shift)
    for text in ("warm", " ", "7", '": "'):
        assert torch.equal(rows[ids[text]], weight[ids[text]])


def test_words_that_a_tokenizer_lacks_are_passed_over(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = casing_of(codec, size=TINY.vocab_size)
    later = vocabulary() | {"Grublix", "grublix"}
    monkeypatch.setattr("trainer.seed.casing.vocabulary", lambda: later)
    casing = casing_of(codec, size=TINY.vocab_size)
    assert torch.equal(casing.small, known.small)
    assert torch.equal(casing.capital, known.capital)


def test_the_model_that_is_written_has_plain_rows(work: Path, codec: Codec) -> None:
    written = pretrain(TINY, work, export_dir=None, report=lambda step, figures: None)
    rows: Tensor = load_file(written / "model.safetensors")["model.embed_tokens.weight"].float()
    casing: Casing = casing_of(codec, size=TINY.vocab_size)
    capital = casing.capital.squeeze(1).nonzero().squeeze(1)
    shifts = rows[capital] - rows[casing.small[capital]]
    assert shifts.abs().max() > 1e-4
    torch.testing.assert_close(shifts, shifts[:1].expand_as(shifts), atol=2e-3, rtol=0.0)
