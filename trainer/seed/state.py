"""What a run of the seed model's training keeps: a checkpoint to go on from, a model to ship."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from tooln1_agent.renderers.tooln1 import TOOLN1
from trainer.seed.casing import Casing

SHIFT = "capital_shift"
"""Name of the parameter by which all capitalised words differ from small ones."""

_EMBEDDING = "model.embed_tokens.weight"


class State:
    """Weights, their running average, optimizers, and the number of steps taken."""

    def __init__(self, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.model, self.optimizers = model, optimizers
        self.average = {name: w.detach().clone() for name, w in model.named_parameters()}
        self.step = 0

    @torch.no_grad()
    def advance(self, *, longest_memory: float) -> None:
        """Take a step along the gradients that are there, and clear them.

        Args:
            longest_memory: decay per step of the running average; less in the first steps.
        """
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay = min(longest_memory, (self.step + 1) / (self.step + 10))
        weights: dict[str, Tensor] = dict(self.model.named_parameters())
        ends = [weights[name] for name in self.average]
        torch._foreach_lerp_(list(self.average.values()), ends, 1.0 - decay)
        self.step += 1

    def save(self, directory: Path) -> None:
        """Write all of it, or leave what was written before in place."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        partial = directory / "checkpoint.pt.partial"
        torch.save(state, partial)
        os.replace(partial, directory / "checkpoint.pt")

    def resume(self, directory: Path) -> None:
        """Go back to what was written last, if anything was."""
        path = directory / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for name, weight in state["average"].items():
            self.average[name].copy_(weight)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = int(state["step"])


def shipped_weights(state: State, casing: Casing) -> dict[str, Tensor]:
    """Return the averaged weights as Qwen3 has them: with a row for each token."""
    weights = dict(state.average)
    shift = weights.pop(SHIFT)
    return weights | {_EMBEDDING: casing.rows(weights[_EMBEDDING], shift)}


def export(
    config: Qwen3Config,
    weights: dict[str, Tensor],
    directory: Path,
    *,
    tokenizer: Path,
    meta: dict[str, Any],
) -> None:
    """Write a model directory in bfloat16, in place of what stood there but for its card.

    Args:
        tokenizer: the directory that the tokenizer's files are copied from.
        meta: what `training.json` tells of how the model came about.
    """
    shipped = Qwen3ForCausalLM(config)
    shipped.load_state_dict(weights, strict=False)  # the output layer is the embedding
    shipped.tie_weights()
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shipped.to(torch.bfloat16).save_pretrained(partial)
    end, pad = config.eos_token_id, config.pad_token_id
    GenerationConfig(eos_token_id=end, pad_token_id=pad).save_pretrained(partial)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, partial)
    text = json.dumps({"prompt_version": TOOLN1.version, **meta}, indent=2)
    (partial / "training.json").write_text(text + "\n")
    card = directory / "MODEL_CARD.md"
    if card.exists():
        shutil.copy(card, partial)
    _swap(partial, directory)


def _swap(new: Path, place: Path) -> None:
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.rename(place, old)
    os.rename(new, place)
    shutil.rmtree(old, ignore_errors=True)
