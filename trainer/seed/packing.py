"""Training batches: episodes encoded as they are served, one to a row, rows of like length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tooln1_agent.codec import Codec
from tooln1_agent.prompt import calls_text
from trainer.seed.tokenizer import reply_segments
from trainer.seed.world import Episode, draw_episode


@dataclass(frozen=True, slots=True)
class Batch:
    """`B` episodes, each padded on the right to `T` tokens."""

    ids: Tensor
    """(B, T) token ids."""
    weights: Tensor
    """(B, T) loss weight of each token as a target; 0 for the first token and for padding."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One of the few shapes that batches have, so that compiled code is reused."""

    rows: int
    tokens: int


SHAPES = (
    Shape(30, 256), Shape(24, 320), Shape(18, 416), Shape(14, 528), Shape(6, 1280),
)  # fmt: skip


def encode_episode(codec: Codec, episode: Episode) -> tuple[list[int], list[int]]:
    """Return prompt ids and reply ids of an episode."""
    calls = calls_text(episode.calls) if episode.calls else ""
    reply = codec.encode(reply_segments(episode.think, calls, episode.answer))
    return codec.prompt_ids(episode.messages, episode.tools), reply


def draw_round(
    rng: random.Random, codec: Codec, *, episodes: int, max_tools: int, prompt_weight: float
) -> list[Batch]:
    """Draw episodes and sort them into full batches of like length, in random order.

    What fills no batch is dropped. A few episodes of many tools are added for the longest shape.

    Raises ValueError where nothing fills a batch.
    """
    drawn = [encode_episode(codec, draw_episode(rng, max_tools=max_tools)) for _ in range(episodes)]
    longest = SHAPES[-1]
    drawn += [
        encode_episode(codec, draw_episode(rng, max_tools=24)) for _ in range(longest.rows * 2)
    ]
    batches: list[Batch] = []
    floor = 0
    for shape in SHAPES:
        fitting = [e for e in drawn if floor < len(e[0]) + len(e[1]) <= shape.tokens]
        rng.shuffle(fitting)
        for start in range(0, len(fitting) - shape.rows + 1, shape.rows):
            rows = fitting[start : start + shape.rows]
            batches.append(_batch(rows, shape, prompt_weight))
        floor = shape.tokens
    if not batches:
        raise ValueError(f"{episodes} episodes fill no batch; draw at least {SHAPES[0].rows * 5}")
    rng.shuffle(batches)
    return batches


def _batch(
    rows: Sequence[tuple[list[int], list[int]]], shape: Shape, prompt_weight: float
) -> Batch:
    ids = torch.zeros((shape.rows, shape.tokens), dtype=torch.long)
    weights = torch.zeros((shape.rows, shape.tokens))
    for row, (prompt, reply) in enumerate(rows):
        middle, end = len(prompt), len(prompt) + len(reply)
        ids[row, :end] = torch.tensor(prompt + reply)
        weights[row, 1:middle] = prompt_weight
        weights[row, middle:end] = 1.0
    return Batch(ids, weights)
