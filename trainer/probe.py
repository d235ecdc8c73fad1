"""Figures by which whoever serves an adapter can see that it serves this one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tooln1_agent.engines.local.scoring import reply_logprobs
from tooln1_agent.examples import Example
from tooln1_agent.probe import Probe, mean_gap
from trainer.distributed import as_first
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
        ids.append(as_first(int(logits[0, -1].argmax())))  # all run a sharded base equally often
        if ids[-1] in policy.codec.end_ids:
            break
    reply = tuple(ids[len(prompt) :])
    trained = reply_logprobs(policy.model, prompt, reply)
    with policy.reference() as base:
        untrained = reply_logprobs(base, prompt, reply)
    return Probe(
        prompt_ids=prompt,
        completion_ids=reply,
        logprobs=tuple(round(value, _DIGITS) for value in trained),
        base_logprobs=tuple(round(value, _DIGITS) for value in untrained),
    )
