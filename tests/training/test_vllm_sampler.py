"""Sampling through servers of which none is there; tests/e2e has those of a real vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tooln1_agent.engines.vllm.engine import VllmEngine
from tooln1_agent.engines.vllm.running import RunningServer
from tooln1_agent.errors import EngineDown
from tooln1_agent.messages import Sampling
from trainer.config import GrpoConfig
from trainer.policy import load_policy
from trainer.vllm_sampler import VllmSampler


def test_a_run_does_not_wait_for_servers_that_were_never_there(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    servers = [RunningServer(f"http://127.0.0.1:{port}") for port in (1, 2)]
    sampler = VllmSampler([VllmEngine(tiny_model_dir, server) for server in servers], tmp_path)
    policy = load_policy(tiny_model_dir, GrpoConfig())
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(EngineDown, match="none of 2 engines answers"):
        sampler.sample(policy, [[1, 2]], n=2, sampling=Sampling(), generator=generator)
    sampler.close()
    assert not list(tmp_path.iterdir())
