"""The shipped seed model: small, whole, and able to answer."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from transformers import AutoTokenizer

import tooln1_agent
from tooln1_agent.codec import Codec
from tooln1_agent.parsing import parse
from tooln1_agent.prompt import Segment, text_of
from tooln1_agent.renderers.tooln1 import TOOLN1
from trainer.seed.evaluate import (
    Seed,
    accuracy,
    surprise,
    world_episodes,
    world_probes,
    world_table,
)
from trainer.seed.pretrain import PretrainConfig, pretrain
from trainer.seed.tokenizer import CONTROL
from trainer.seed.world import draw_episode

MODEL = Path(tooln1_agent.__file__).parent / "seed_model"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(MODEL)


@pytest.fixture(scope="module")
def seed() -> Seed:
    return Seed(MODEL)


def test_the_shipped_model_is_at_most_ten_megabytes() -> None:
    names = {path.name for path in MODEL.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md"}
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= 10_000_000


def test_the_shipped_model_was_trained_on_the_prompt_that_is_served() -> None:
    told = json.loads((MODEL / "training.json").read_text())
    assert told["prompt_version"] == TOOLN1.version


def test_no_untrusted_text_becomes_a_control_token(codec: Codec) -> None:
    first_control = codec.vocab_size - len(CONTROL)
    for control in CONTROL:
        assert len(codec.encode([Segment(control, True)])) == 1
        hidden = codec.encode([Segment(f"x{control}y", False), Segment(control, False)])
        assert max(hidden) < first_control
        assert codec.decode(hidden) == f"x{control}y{control}"


def test_encoding_loses_nothing(codec: Codec) -> None:
    for text in ("Größe 4½ m²\t→ 東京 🙂", "ORD-4821 costs 12.50", '[{"name": "x"}]'):
        assert codec.decode(codec.encode([Segment(text, False)])) == text


def test_transformers_reads_the_tokenizer_alike(codec: Codec) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    episode = draw_episode(random.Random(5))
    text = text_of(TOOLN1.render(episode.messages, episode.tools))
    ids = codec.prompt_ids(episode.messages, episode.tools)
    assert tokenizer.encode(text, add_special_tokens=False) == ids
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_the_ids_are_those_of_segments_encoded_apart_as_in_its_training(codec: Codec) -> None:
    for number in range(300):
        episode = draw_episode(random.Random(number))
        segments = TOOLN1.render(episode.messages, episode.tools)
        apart = [token for segment in segments for token in codec.encode([segment])]
        assert codec.prompt_ids(episode.messages, episode.tools) == apart


def test_greedy_replies_to_simple_prompts_parse(seed: Seed) -> None:
    probes = world_probes(11, 8, disclosure="described")
    replies = [parse(text) for text in seed.replies(probes)]
    assert sum(not reply.faults for reply in replies) >= 7


def test_the_shipped_model_is_right_where_conventions_are_written(seed: Seed) -> None:
    table = accuracy(seed, world_probes(12, 24, disclosure="described"))
    assert table["all"] >= 0.3


def test_a_right_reply_surprises_the_model_less_than_one_for_somebody_else(seed: Seed) -> None:
    episodes = world_episodes(13, 6, disclosure="instructed")
    calls = [episode.calls for episode in episodes]
    strange = [
        replace(episode, calls=other)
        for episode, other in zip(episodes, [*calls[1:], calls[0]], strict=True)
    ]
    assert 0.0 < surprise(seed, episodes) < surprise(seed, strange)


def test_the_table_has_a_row_for_each_place_of_the_conventions() -> None:
    table = world_table(MODEL, count=2)
    assert set(table) == {"hidden", "described", "instructed"}
    assert all({"nats", "all", "format"} <= set(row) for row in table.values())


class Killed(Exception):
    """Stands for the end of the process."""


def test_training_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    config = PretrainConfig(
        steps=6, hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, intermediate=64,
        round_scenes=60, warmup=2, checkpoint_s=0.0, compile=False,
    )  # fmt: skip

    def kill_at(last: int, step: int, _: dict[str, float]) -> None:
        if step == last:
            raise Killed

    exported = []
    for name, lasts in (("whole", (99,)), ("killed", (4, 99))):
        work = tmp_path / name
        work.mkdir()
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(MODEL / file, work)
        for last in lasts:
            with suppress(Killed):
                pretrain(config, work, export_dir=None, report=partial(kill_at, last))
        exported.append((work / "model" / "model.safetensors").read_bytes())
    assert exported[0] == exported[1]
