"""Rows with a shared beginning: the seed model's training computes what whole rows would."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

import tooln1_agent
from tooln1_agent.codec import Codec
from trainer.seed import pretrain
from trainer.seed.packing import BRANCHES, SHAPES, Batch, branch_ids, draw_round, opening_ids
from trainer.seed.pretrain import PretrainConfig, model_config
from trainer.seed.scene import draw_scene
from trainer.seed.world import play
from trainer.tree_attention import attend_by_tree

SMALL = PretrainConfig(hidden=32, layers=2, heads=4, kv_heads=2, intermediate=64, compile=False)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(Path(tooln1_agent.__file__).parent / "seed_model")


@pytest.fixture(scope="module")
def batches(codec: Codec) -> list[Batch]:
    return draw_round(random.Random(1), codec, scenes=60, max_tools=3, prompt_weight=0.1)


def test_people_ask_plainly_until_the_set_share_of_the_run(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def draw(*_: object, is_plain: bool, **__: object) -> list[Batch]:
        asked.append(is_plain)
        return []

    monkeypatch.setattr(pretrain, "draw_round", draw)
    config = PretrainConfig(steps=100, plain_share=0.4)
    for step in (0, 39, 40, 99):
        pretrain.round_at(config, codec, step)
    assert asked == [True, True, False, False]


def test_batches_have_the_announced_shapes_and_weigh_replies(batches: list[Batch]) -> None:
    shapes = {(shape.rows, shape.tokens, shape.tree) for shape in SHAPES}
    for batch in batches:
        assert (*batch.ids.shape, batch.tree) in shapes
        assert sorted(batch.weights.unique().tolist()) == pytest.approx([0.0, 0.1, 1.0])


def test_a_reply_is_weighed_from_its_first_token_to_its_end(
    batches: list[Batch], codec: Codec
) -> None:
    batch = batches[0]
    first, width = batch.tree[0].size, batch.tree[1].width
    for branch in range(BRANCHES):
        places = slice(first + branch * width, first + (branch + 1) * width)
        reply = batch.targets[0, places][batch.weights[0, places] == 1.0].tolist()
        text = codec.decode(reply)
        assert text.startswith("<think>")
        assert reply[-1] == codec.end_ids[0]


def test_each_branch_is_computed_as_if_it_stood_alone(batches: list[Batch], codec: Codec) -> None:
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(model_config(SMALL, codec)).eval()
    plain = copy.deepcopy(model)
    attend_by_tree(model.model)
    batch = batches[0]
    with torch.no_grad():
        packed = model.model(
            input_ids=batch.ids,
            position_ids=batch.positions,
            attention_mask=batch.mask,
            tree=batch.tree,
            use_cache=False,
        ).last_hidden_state
        (_, prefix, _), (_, width, _) = batch.tree
        size = int(batch.mask[0, ..., :prefix].sum())
        for branch in range(BRANCHES):
            start = prefix + branch * width
            end = start + int((batch.positions[0, start : start + width] > 0).sum())
            row = torch.cat([batch.ids[0, :size], batch.ids[0, start:end]])
            alone = plain.model(input_ids=row[None], use_cache=False).last_hidden_state
            torch.testing.assert_close(packed[0, :size], alone[0, :size])
            torch.testing.assert_close(packed[0, start:end], alone[0, size:])


def test_opening_and_branch_join_to_the_prompt_that_is_served(codec: Codec) -> None:
    for number in range(100):
        rng = random.Random(number)
        scene = draw_scene(rng)
        episode = play(rng, scene)
        prompt, _ = branch_ids(codec, episode)
        served = codec.prompt_ids(episode.messages, episode.tools)
        assert opening_ids(codec, scene) + prompt == served


def test_too_few_scenes_for_a_batch_are_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match="3 scenes fill no batch"):
        draw_round(random.Random(2), codec, scenes=3, max_tools=3, prompt_weight=0.1)
