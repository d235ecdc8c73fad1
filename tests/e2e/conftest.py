"""One vLLM process with a small random model, for all tests that need a vLLM and not its start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.vllm_models import save_model
from tooln1_agent.engines.vllm.launch import child
from tooln1_agent.engines.vllm.process import VllmProcess


@dataclass(frozen=True, slots=True)
class Vllm:
    """A running vLLM and the directory of its model."""

    process: VllmProcess
    model_dir: Path


@pytest.fixture(scope="session")
def vllm_python(pytestconfig: pytest.Config) -> Path:
    """The interpreter that has vLLM."""
    found = pytestconfig.getoption("--vllm-python")
    assert isinstance(found, Path)
    return found.absolute()


@pytest.fixture(scope="session")
def vllm(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """In float32, so that torch in this process computes the same."""
    home = tmp_path_factory.mktemp("vllm")
    model_dir = save_model(home / "tiny")
    process = child(
        model_dir,
        python=vllm_python,
        arguments=["--dtype float32 --max-loras 4 --max-lora-rank 8"],
        log_file=home / "vllm.log",
    )
    try:
        asyncio.run(process.start())
        yield Vllm(process, model_dir)
    finally:
        asyncio.run(process.aclose())
