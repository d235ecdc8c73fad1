"""What a model in this process makes of a reply that is given, and whether its trainer agrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tooln1_agent.errors import AdapterError
from tooln1_agent.probe import FILE, read_probe


@torch.inference_mode()
def reply_logprobs(
    model: Any, prompt_ids: Sequence[int], completion_ids: Sequence[int]
) -> tuple[float, ...]:
    """Return the log-probs of a completion's ids after a prompt, in nats."""
    row = torch.tensor([*prompt_ids, *completion_ids], device=model.device)  # (T,)
    logits = model(row.unsqueeze(0)).logits[0, len(prompt_ids) - 1 : -1].float()
    chosen = row[len(prompt_ids) :].unsqueeze(-1)
    return tuple(logits.log_softmax(-1).gather(-1, chosen).squeeze(-1).tolist())


def check_probe(model: Any, directory: Path) -> None:
    """Raise AdapterError where a model computes something else than its adapter's trainer did.

    Args:
        model: the base with the adapter at work, or merged.
        directory: of the adapter; without a probe nothing is compared.
    """
    probe = read_probe(directory)
    if probe is None:
        return
    if max(*probe.prompt_ids, *probe.completion_ids) >= model.config.vocab_size:
        raise AdapterError(f"{str(directory / FILE)!r} is of a model with another vocabulary")
    probe.check(reply_logprobs(model, probe.prompt_ids, probe.completion_ids))
