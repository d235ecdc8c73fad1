"""Training batches: scenes encoded as they are served, each with several episodes behind it.

Most of a prompt is its tools, and those are the same for every request of a scene. So a row holds
the beginning that its episodes share once, and behind it what each of them adds
(`trainer.tree_attention`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tool_registry.tool import ToolSpec
from tooln1_agent.codec import Codec
from tooln1_agent.messages import Message
from tooln1_agent.prompt import calls_text
from trainer.seed.scene import Scene, draw_scene
from trainer.seed.tokenizer import reply_segments
from trainer.seed.world import Episode, Situation, play
from trainer.tree_attention import Level, Tree

BRANCHES = 8
"""Episodes of a scene in one row."""
_TRIES = 4
"""Draws for each episode on average, before a scene is given up."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One of the few shapes that batches have, so that compiled code is reused."""

    rows: int
    prefix: int
    """Tokens of the shared beginning at most."""
    branch: int
    """Tokens of an episode behind it at most."""

    @property
    def tree(self) -> Tree:
        """The levels of a row."""
        return Level(1, self.prefix, is_padded=True), Level(BRANCHES, self.branch, is_padded=False)

    @property
    def tokens(self) -> int:
        """Length of a row."""
        return sum(level.size for level in self.tree)


SHORT, MIDDLE, LONG = 88, 128, 192
SHAPES = (
    Shape(10, 192, SHORT), Shape(8, 400, SHORT), Shape(6, 640, SHORT),
    Shape(7, 192, MIDDLE), Shape(6, 400, MIDDLE), Shape(5, 640, MIDDLE),
    Shape(4, 400, LONG), Shape(4, 640, LONG), Shape(4, 1280, MIDDLE),
)  # fmt: skip
"""By branch, and then from the shortest prefix to the longest."""


@dataclass(frozen=True, slots=True)
class Batch:
    """`B` scenes in rows of `T` tokens: a beginning and the episodes behind it, each padded."""

    ids: Tensor
    """(B, T) token ids."""
    positions: Tensor
    """(B, T): each branch counts on from the end of its prefix."""
    mask: Tensor
    """(B, 1, 1, T): False on the padding of a beginning, which everything behind it would see."""
    targets: Tensor
    """(B, T): the id that follows in the same episode."""
    weights: Tensor
    """(B, T) loss weight of each target: 1 on replies, 0 where nothing follows."""
    tree: Tree
    """The beginning, and the episodes behind it."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A scene's episodes: the ids that all their prompts begin with, and the rest of each."""

    prefix: list[int]
    branches: list[tuple[list[int], list[int]]]
    """The rest of the prompt, and the reply."""


def opening_ids(codec: Codec, scene: Scene) -> list[int]:
    """Return the ids that every prompt of a scene begins with: its instructions and tools."""
    system = Message(role="system", content=scene.instructions)
    return _halves(codec, (system,), scene.tools)[0]


def branch_ids(codec: Codec, episode: Episode) -> tuple[list[int], list[int]]:
    """Return the ids that an episode adds to its opening, and those of its reply."""
    spoken = [message for message in episode.messages if message.role != "system"]
    return _halves(codec, spoken, ())[1], reply_ids(codec, episode)


def reply_ids(codec: Codec, episode: Episode) -> list[int]:
    """Return the ids of the reply that an episode should get."""
    calls = calls_text(episode.calls) if episode.calls else ""
    return codec.encode(reply_segments(episode.think, calls, episode.answer))


def encode_scene(rng: random.Random, codec: Codec, scene: Scene, *, limit: int) -> Encoded | None:
    """Draw `BRANCHES` episodes of a scene that take at most `limit` tokens each.

    Those of a limit are of the kinds, and of the length, that need it; None if too few come out.
    """
    least = SHORT if limit == MIDDLE else 0
    branches: list[tuple[list[int], list[int]]] = []
    for _ in range(BRANCHES * _TRIES):
        situation, has_past = _kind(rng, is_long=limit == LONG)
        episode = play(rng, scene, situation=situation, has_past=has_past)
        prompt, reply = branch_ids(codec, episode)
        if least < len(prompt) + len(reply) <= limit:
            branches.append((prompt, reply))
        if len(branches) == BRANCHES:
            return Encoded(opening_ids(codec, scene), branches)
    return None


def _halves(
    codec: Codec, messages: Sequence[Message], tools: Sequence[ToolSpec]
) -> tuple[list[int], list[int]]:
    """Return the ids of a prompt up to the end of its system message, and those after it."""
    ids = codec.prompt_ids(messages, tools)
    cut = ids.index(codec.end_ids[0]) + 1
    return ids[:cut], ids[cut:]


def _kind(rng: random.Random, *, is_long: bool) -> tuple[Situation, bool]:
    """Draw what an episode is about, and whether an earlier exchange comes before it."""
    short: tuple[Situation, ...] = ("call", "no_tool", "missing")
    if not is_long:
        return rng.choices(short, (73, 13, 14))[0], False
    drawn = rng.random()
    if drawn < 0.5:
        return rng.choices(("call", "missing"), (85, 15))[0], True
    return ("several" if drawn < 0.8 else "after_result"), False


def draw_round(
    rng: random.Random,
    codec: Codec,
    *,
    scenes: int,
    max_tools: int,
    prompt_weight: float,
    is_plain: bool = False,
) -> list[Batch]:
    """Draw scenes and sort them into full batches of like length, in random order.

    What fills no batch is dropped. A few scenes of many tools are added for the longest shape.

    Raises ValueError where nothing fills a batch.
    """
    drawn: dict[int, list[Encoded]] = {SHORT: [], MIDDLE: [], LONG: []}
    many = SHAPES[-1].rows
    for tools in [max_tools] * scenes + [24] * many:
        limit = rng.choices(tuple(drawn), (52, 34, 14))[0] if tools == max_tools else MIDDLE
        scene = draw_scene(rng, max_tools=tools, is_plain=is_plain)
        encoded = encode_scene(rng, codec, scene, limit=limit)
        if encoded is not None:
            drawn[limit].append(encoded)
    batches = [_batch(rows, shape, prompt_weight) for shape, rows in _sorted(drawn)]
    if not batches:
        raise ValueError(f"{scenes} scenes fill no batch; draw at least {SHAPES[0].rows * 8}")
    rng.shuffle(batches)
    return batches


def _sorted(drawn: dict[int, list[Encoded]]) -> Iterator[tuple[Shape, Sequence[Encoded]]]:
    """Yield each full batch of rows with the shape that it goes into."""
    floor = dict.fromkeys(drawn, 0)
    for shape in SHAPES:
        low, floor[shape.branch] = floor[shape.branch], shape.prefix
        fitting = [e for e in drawn[shape.branch] if low < len(e.prefix) <= shape.prefix]
        for start in range(0, len(fitting) - shape.rows + 1, shape.rows):
            yield shape, fitting[start : start + shape.rows]


def _batch(rows: Sequence[Encoded], shape: Shape, prompt_weight: float) -> Batch:
    ids, positions, targets = (
        torch.zeros((shape.rows, shape.tokens), dtype=torch.long) for _ in range(3)
    )
    weights = torch.zeros((shape.rows, shape.tokens))
    mask = torch.ones((shape.rows, 1, 1, shape.tokens), dtype=torch.bool)
    for row, encoded in enumerate(rows):
        mask[row, ..., len(encoded.prefix) : shape.prefix] = False
        pieces = [(0, 0, encoded.prefix, len(encoded.prefix))]
        for number, (prompt, reply) in enumerate(encoded.branches):
            start = shape.prefix + number * shape.branch
            pieces.append((start, len(encoded.prefix), prompt + reply, len(prompt)))
        for start, position, piece, asked in pieces:
            end = start + len(piece)
            ids[row, start:end] = torch.tensor(piece)
            positions[row, start:end] = torch.arange(position, position + len(piece))
            targets[row, start : end - 1] = ids[row, start + 1 : end]
            weights[row, start : end - 1] = prompt_weight
            weights[row, start + asked - 1 : end - 1] = 1.0
    return Batch(ids, positions, mask, targets, weights, shape.tree)
