"""Figures by which whoever serves an adapter can see that it serves this one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tooln1_agent.examples import Example
from tooln1_agent.probe import Probe
from trainer.policy import Policy
from trainer.rollout import prompt_ids

_REPLY_TOKENS = 32
_DIGITS = 4
"""So that equal weights give equal files on any machine, or nearly."""


@torch.no_grad()
def make_probe(policy: Policy, examples: Sequence[Example]) -> Probe:
    """Return the log-probs of the shortest prompt and of the policy's likeliest reply to it."""
    prompt = min((prompt_ids(example, policy.codec) for example in examples), key=len)
    ids = list(prompt)
    for _ in range(_REPLY_TOKENS):
        logits = policy.model(torch.tensor([ids], device=policy.device)).logits  # (1, T, V)
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] in policy.codec.end_ids:
            break
    trained = _logprobs(policy.model, ids, policy)
    with policy.reference() as base:
        untrained = _logprobs(base, ids, policy)
    return Probe(
        prompt_ids=prompt,
        completion_ids=tuple(ids[len(prompt) :]),
        logprobs=trained,
        base_logprobs=untrained,
    )


def _logprobs(model: torch.nn.Module, ids: Sequence[int], policy: Policy) -> tuple[float, ...]:
    """Return the log-prob of each id but the first."""
    row = torch.tensor(ids, device=policy.device)
    logits = model(row.unsqueeze(0)).logits[0, :-1].float()  # (T - 1, V)
    found = logits.log_softmax(-1).gather(-1, row[1:].unsqueeze(-1)).squeeze(-1)
    return tuple(round(value, _DIGITS) for value in found.tolist())
