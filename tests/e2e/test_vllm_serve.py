"""`tooln1-agent serve --engine vllm` with the seed model: what is logged, and who outlives whom."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import until
from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.model import base_name
from tooln1_agent.engines.resolve import SEED_DIR
from tooln1_agent.replay.store import ReplayStore

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

APP = """
from tooln1_agent import Agent

def light(room: str, on: bool) -> str:
    "Switch a light."
    return f"done in the {room}"

agent = Agent("seed", tools=[light], name="home")
"""
ASKED = {"model": "home", "messages": [{"role": "user", "content": "Light on in the kitchen."}]}


class Served:
    """The process of `tooln1-agent serve`, and what it says on its way."""

    def __init__(self, home: Path, vllm_python: Path) -> None:
        home.joinpath("app.py").write_text(APP)
        self.store, self._said = home / "log.db", home / "stderr.txt"
        command = [sys.executable, "-m", "tooln1_agent.cli", "serve", "app.py:agent"]
        flags = ["--engine", "vllm", "--vllm-python", str(vllm_python), "--store", str(self.store)]
        with self._said.open("wb") as stderr:
            self.popen = subprocess.Popen(
                [*command, "--port", "0", *flags],
                cwd=home,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.address = ""

    def says(self, pattern: str, *, times: int = 1) -> re.Match[str]:
        """Wait until the log matches so many times; return the last match."""
        return until(lambda: self._matches(pattern, times))

    def wait_for_address(self) -> None:
        assert self.popen.stdout is not None
        found = re.search(r"http://[^/]+", self.popen.stdout.readline())
        assert found, self._said.read_text()
        self.address = found[0]

    def ask(self, **fields: object) -> httpx.Response:
        return httpx.post(f"{self.address}/v1/chat/completions", json=ASKED | fields, timeout=60)

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()

    def _matches(self, pattern: str, times: int) -> re.Match[str] | None:
        found = list(re.finditer(pattern, self._said.read_text()))
        assert self.popen.poll() is None or len(found) >= times, self._said.read_text()
        return found[times - 1] if len(found) >= times else None


def is_gone(pid: int) -> bool:
    """Whether a process, and with it its group, has ended."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def start(tmp_path: Path, vllm_python: Path) -> Iterator[Callable[[], Served]]:
    started: list[Served] = []

    def begin() -> Served:
        started.append(Served(tmp_path, vllm_python))
        return started[-1]

    yield begin
    for served in started:
        served.close()


def test_what_vllm_says_is_logged_and_a_crash_of_it_is_survived(
    start: Callable[[], Served],
) -> None:
    served = start()
    served.wait_for_address()
    check_log_of_answers(served)
    vllm = int(served.says(r"is started at .*process (\d+)")[1])
    check_crash(served, vllm)
    again = int(served.says(r"is started at .*process (\d+)", times=2)[1])
    served.popen.send_signal(signal.SIGTERM)
    assert served.popen.wait(timeout=60) == 0
    for pid in (vllm, again):
        until(lambda pid=pid: is_gone(pid), seconds=10)


def check_log_of_answers(served: Served) -> None:
    """Whole and streamed, every turn has the ids and log-probs that vLLM sampled."""
    whole = served.ask().raise_for_status().json()
    streamed = served.ask(stream=True).raise_for_status().text
    assert streamed.endswith("data: [DONE]\n\n")
    codec = Codec.load(SEED_DIR)
    with ReplayStore(served.store) as store:
        kept = list(store.interactions())
    assert [len(kept), kept[0].id] == [2, whole["id"]]
    for interaction in kept:
        assert interaction.base_model == base_name(SEED_DIR)
        for turn in interaction.turns:
            said = turn.completion
            assert said.prompt_ids
            assert said.completion_ids
            assert said.logprobs is not None
            assert len(said.logprobs) == len(said.completion_ids) == said.usage.completion_tokens
            assert codec.decode(said.completion_ids) == said.text
            assert all(logprob <= 0 for logprob in said.logprobs)
    first = kept[0]
    expected = codec.prompt_ids(first.messages, first.tools)
    assert first.turns[0].completion.prompt_ids == tuple(expected)
    assert [t.completion.completion_ids for t in kept[1].turns] == [
        t.completion.completion_ids for t in first.turns
    ]


def check_crash(served: Served, vllm: int) -> None:
    """While vLLM is down clients get 503 and Retry-After; then all is as before."""
    before = served.ask().json()["choices"][0]["message"]["content"]
    statuses: list[int] = []
    os.kill(vllm, signal.SIGKILL)
    while (answer := served.ask()).status_code != 200:
        statuses.append(answer.status_code)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "engine_down"
        time.sleep(0.5)
    assert len(statuses) > 2
    assert answer.json()["choices"][0]["message"]["content"] == before
    served.says("vLLM ended with code -9; it is started again")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_vllm_ends_with_a_server_that_is_stopped_before_it_serves(
    start: Callable[[], Served], number: int
) -> None:
    served = start()
    vllm = int(served.says(r"is started at .*process (\d+)")[1])
    threading.Event().wait(3.0)  # let it begin to import
    served.popen.send_signal(number)
    served.popen.wait(timeout=60)
    until(lambda: is_gone(vllm), seconds=60)
