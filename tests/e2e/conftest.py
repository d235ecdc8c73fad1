"""vLLM processes with a small random model, for all tests that need one and not its start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def running(home: Path, python: Path, arguments: str) -> Iterator[Vllm]:
    """Run a vLLM in float32, so that torch in this process computes the same."""
    model_dir = save_model(home / "tiny")
    process = child(
        model_dir,
        python=python,
        arguments=["--dtype float32 --max-lora-rank 8", arguments],
        log_file=home / "vllm.log",
    )
    try:
        asyncio.run(process.start())
        yield Vllm(process, model_dir)
    finally:
        asyncio.run(process.aclose())


@pytest.fixture(scope="session")
def vllm(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """With a place for every adapter of the tests.

    On a CPU vLLM answers for the base model with the adapter in its last place, once all are taken.
    """
    places = "--max-loras 64 --max-cpu-loras 64"
    with running(tmp_path_factory.mktemp("vllm"), vllm_python, places) as found:
        yield found


@pytest.fixture(scope="session")
def narrow_vllm(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """With places for two adapters, for tests that never ask the base model."""
    places = "--max-loras 2 --max-cpu-loras 2"
    with running(tmp_path_factory.mktemp("narrow"), vllm_python, places) as found:
        yield found
