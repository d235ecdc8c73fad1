"""The trainer's probe: the log-probs that torch gives for the adapter's own weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from tooln1_agent.engines.local.model import load_base
from tooln1_agent.errors import AdapterError
from tooln1_agent.examples import Example
from tooln1_agent.probe import Probe
from trainer.config import GrpoConfig
from trainer.policy import Policy, load_policy
from trainer.probe import make_probe


def trained(model_dir: Path, *, seed: int) -> Policy:
    """Return a policy with LoRA weights that do something."""
    policy = load_policy(model_dir, GrpoConfig(lora_rank=8))
    torch.manual_seed(seed)
    policy.set_weights({n: torch.randn_like(p) * 0.1 for n, p in policy.trainable().items()})
    return policy


def scores(model: Any, probe: Probe) -> list[float]:
    ids, start = [*probe.prompt_ids, *probe.completion_ids], len(probe.prompt_ids)
    with torch.inference_mode():
        logprobs = model(torch.tensor([ids])).logits[0, start - 1 : -1].log_softmax(-1)
    chosen = torch.tensor(probe.completion_ids).unsqueeze(-1)
    found: list[float] = logprobs.gather(-1, chosen).squeeze(-1).tolist()
    return found


def test_a_probe_holds_for_the_saved_adapter_and_for_nothing_else(
    tiny_model_dir: Path, make_examples: Callable[..., list[Example]], tmp_path: Path
) -> None:
    policy = trained(tiny_model_dir, seed=1)
    policy.save_adapter(tmp_path / "saved")
    probe = make_probe(policy, make_examples(["on", "off"]))
    assert 0 < len(probe.completion_ids) <= 32
    base = load_base(tiny_model_dir)
    with pytest.raises(AdapterError, match="not what was trained"):
        probe.check(scores(base, probe))
    with pytest.raises(AdapterError, match="not what was trained"):
        probe.check(scores(trained(tiny_model_dir, seed=2).model, probe))
    served = scores(PeftModel.from_pretrained(base, tmp_path / "saved").eval(), probe)
    assert max(abs(a - b) for a, b in zip(served, probe.logprobs, strict=True)) < 1e-3
    probe.check(served)
