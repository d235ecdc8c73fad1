"""Figures by which whoever serves an adapter can see that it serves this one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tooln1_agent.examples import Example
from tooln1_agent.probe import Probe, mean_gap
from trainer.policy import Policy
from trainer.rollout import prompt_ids

_PROMPTS, _REPLY_TOKENS = 8, 32
_DIGITS = 4
"""So that equal weights give equal files on any machine, or nearly."""


@torch.no_grad()
def make_probe(policy: Policy, examples: Sequence[Example]) -> Probe:
    """Return what the policy says to a short prompt: to the one where it left the base furthest."""
    prompts = sorted({prompt_ids(example, policy.codec) for example in examples}, key=len)
    made = [_probe(policy, prompt) for prompt in prompts[:_PROMPTS]]
    return max(made, key=lambda probe: mean_gap(probe.logprobs, probe.base_logprobs))


def _probe(policy: Policy, prompt: tuple[int, ...]) -> Probe:
    """Return the policy's likeliest reply to a prompt, and what both models think of it."""
    ids = list(prompt)
    for _ in range(_REPLY_TOKENS):
        logits = policy.model(torch.tensor([ids], device=policy.device)).logits  # (1, T, V)
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] in policy.codec.end_ids:
            break
    row = torch.tensor(ids, device=policy.device)
    trained = _logprobs(policy.model, row, start=len(prompt))
    with policy.reference() as base:
        untrained = _logprobs(base, row, start=len(prompt))
    return Probe(
        prompt_ids=prompt,
        completion_ids=tuple(ids[len(prompt) :]),
        logprobs=trained,
        base_logprobs=untrained,
    )


def _logprobs(model: torch.nn.Module, row: Tensor, *, start: int) -> tuple[float, ...]:
    """Return the log-probs of the ids from `start` on; `row` is (T,)."""
    logits = model(row.unsqueeze(0)).logits[0, start - 1 : -1].float()  # (T - start, V)
    found = logits.log_softmax(-1).gather(-1, row[start:].unsqueeze(-1)).squeeze(-1)
    return tuple(round(value, _DIGITS) for value in found.tolist())
