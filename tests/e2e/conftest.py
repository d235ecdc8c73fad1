"""vLLM processes with a small random model, for all tests that need one and not its start."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.vllm_models import save_model
from tooln1_agent.engines.vllm.engine import VllmEngine
from tooln1_agent.engines.vllm.launch import child
from tooln1_agent.engines.vllm.process import VllmProcess
from tooln1_agent.engines.vllm.running import RunningServer
from tooln1_agent.errors import EngineDown

KEY = "the-key-of-all-servers"
LONGEST_START_S = 180.0


@dataclass(frozen=True, slots=True)
class Vllm:
    """A running vLLM and the directory of its model."""

    process: VllmProcess
    model_dir: Path

    @property
    def server(self) -> RunningServer:
        """The server as somebody else's, so that whoever asks it does not stop it."""
        return RunningServer(self.process.root, KEY)

    def engine(self) -> VllmEngine:
        return VllmEngine(self.model_dir, self.server)

    def client(self) -> httpx.AsyncClient:
        """Ask past our engine."""
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.AsyncClient(base_url=self.process.root, headers=headers, timeout=60)

    def count(self, name: str) -> float:
        """Return a figure of vLLM's metrics; 0 while it is down."""
        try:
            text = httpx.get(f"{self.process.root}/metrics", timeout=60).text
        except httpx.TransportError:
            return 0.0
        return sum(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name}{{")
        )

    def kill(self) -> None:
        """End it as a power cut would; it is started again."""
        assert self.process.pid is not None
        os.killpg(self.process.pid, signal.SIGKILL)

    def wait_until_up(self) -> None:
        until(self._is_up)

    def _is_up(self) -> bool:
        try:
            self.process.check()
        except EngineDown:
            return False
        return True


def until(done: Callable[[], object], *, seconds: float = LONGEST_START_S) -> object:
    """Wait for something that another process does; return what shows it."""
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def vllm_python(pytestconfig: pytest.Config) -> Path:
    """The interpreter that has vLLM."""
    found = pytestconfig.getoption("--vllm-python")
    assert isinstance(found, Path)
    return found.absolute()


@pytest.fixture(scope="session")
def servers(
    vllm_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Vllm, Vllm]]:
    """Two vLLMs of one model, started side by side: with places for 64 adapters, and for two.

    They compute in float32, so that torch in this process computes the same.
    """
    model_dir = save_model(tmp_path_factory.mktemp("model") / "tiny")

    def server(places: int) -> VllmProcess:
        ours = f"--dtype float32 --max-lora-rank 8 --api-key {KEY}"
        return child(
            model_dir,
            python=vllm_python,
            arguments=[ours, f"--max-loras {places} --max-cpu-loras {places}"],
            log_file=tmp_path_factory.mktemp("vllm") / "vllm.log",
        )

    async def each(do: Callable[[VllmProcess], Awaitable[None]]) -> None:
        await asyncio.gather(*map(do, processes))

    processes = [server(64), server(2)]
    try:
        asyncio.run(each(VllmProcess.start))
        wide, narrow = (Vllm(process, model_dir) for process in processes)
        yield wide, narrow
    finally:
        asyncio.run(each(VllmProcess.aclose))


@pytest.fixture
def vllm(servers: tuple[Vllm, Vllm]) -> Vllm:
    """With a place for every adapter of the tests.

    On a CPU vLLM answers for the base model with the adapter in its last place, once all are taken.
    """
    return servers[0]


@pytest.fixture
def narrow_vllm(servers: tuple[Vllm, Vllm]) -> Vllm:
    """With places for two adapters, for tests that never ask the base model; some kill it."""
    servers[1].wait_until_up()
    return servers[1]
