"""`tooln1-agent serve` as its own process: what a signal, polite or not, may cost."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI

from tooln1_agent.replay.store import ReplayStore

pytestmark = pytest.mark.slow

ASKED = [{"role": "user", "content": "Note it down."}]
TOOL = {
    "type": "function",
    "function": {"name": "note", "parameters": {"type": "object", "properties": {}}},
}
APP = """
import asyncio, time
from pathlib import Path
from tooln1_agent import Agent, ScriptedEngine
from tool_registry import RunContext

def note(ctx: RunContext[None]) -> str:
    "Write the id of the call to a file: a trace outside of the store."
    with open("ran.txt", "a") as file:
        file.write(ctx.call.id + "\\n")
    return "noted"

async def wait() -> str:
    "Take a second."
    Path("waiting").touch()
    await asyncio.sleep(1)
    return "waited"

def reply(request):
    if request.messages[-1].role == "tool":
        return "<think>done</think>It is noted."
    name = "wait" if "wait" in request.messages[-1].content else "note"
    return '<think>x</think><tool_call>[{"name": "%s", "arguments": {}}]</tool_call>' % name

agent = Agent(ScriptedEngine(reply), tools=[note, wait], name="notary")
"""


class Process:
    """A server process in a directory of its own."""

    def __init__(self, home: Path, *flags: str) -> None:
        (home / "app.py").write_text(APP)
        self.store = home / "log.db"
        command = [sys.executable, "-m", "tooln1_agent.cli", "serve", "app.py:agent"]
        self.popen = subprocess.Popen(
            [*command, "--port", "0", "--store", str(self.store), *flags],
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout is not None
        first = self.popen.stdout.readline()
        found = re.search(r"http://\S+", first)
        assert found, (first, self.popen.stderr and self.popen.stderr.read())
        self.client = OpenAI(base_url=found[0], api_key="none", max_retries=0, timeout=30)

    def stop(self, number: int) -> int:
        """Send a signal; return the exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(timeout=30)

    def close(self) -> None:
        self.client.close()
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def begin(*flags: str) -> Process:
        started.append(Process(tmp_path, *flags))
        return started[-1]

    yield begin
    for process in started:
        process.close()


def hear_calls(client: OpenAI, heard: list[str], minted: list[str]) -> None:
    answer = client.chat.completions.create(model="notary", messages=ASKED, tools=[TOOL])
    minted.extend(call.id for call in answer.choices[0].message.tool_calls or ())
    heard.append(answer.id)


def hear_answer(client: OpenAI, heard: list[str], minted: list[str]) -> None:
    heard.append(client.chat.completions.create(model="notary", messages=ASKED).id)


def hear_stream(client: OpenAI, heard: list[str], minted: list[str]) -> None:
    chunks = list(client.chat.completions.create(model="notary", messages=ASKED, stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop"
    heard.append(chunks[-1].id)


def test_a_killed_server_has_lost_nothing_that_was_heard_or_done(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    server = start()
    heard: list[str] = []
    minted: list[str] = []

    def ask(number: int) -> None:
        while True:
            try:
                hear = (hear_calls, hear_answer, hear_stream)[number % 3]
                hear(server.client, heard, minted)
            except (openai.APIError, httpx.HTTPError):  # the server is gone
                return

    with ThreadPoolExecutor(6) as clients:
        asking = [clients.submit(ask, number) for number in range(6)]
        while len(heard) < 60:
            time.sleep(0.01)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        for client in asking:
            client.result()

    ran = (tmp_path / "ran.txt").read_text().splitlines()
    with ReplayStore(server.store) as store:
        kept = {interaction.id: interaction for interaction in store.interactions()}
    calls = {c.id for i in kept.values() for turn in i.turns for c in turn.reply.calls}
    assert len(heard) >= 60
    assert all(kept[interaction].turns and kept[interaction].stop for interaction in heard)
    assert set(minted) <= calls
    assert len(ran) >= 30
    assert set(ran) <= calls

    again = start()
    answer = again.client.chat.completions.create(model="notary", messages=ASKED)
    assert answer.choices[0].message.content == "It is noted."
    with ReplayStore(again.store) as store:
        assert store.count() == len(kept) + 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_stop_lets_running_requests_finish(
    start: Callable[..., Process], tmp_path: Path, number: int
) -> None:
    server = start()
    said: list[str | None] = []

    def ask() -> None:
        answer = server.client.chat.completions.create(
            model="notary", messages=[{"role": "user", "content": "wait"}]
        )
        said.append(answer.choices[0].message.content)

    asking = threading.Thread(target=ask)
    asking.start()
    while not (tmp_path / "waiting").exists():
        time.sleep(0.01)
    assert server.stop(number) == 0
    asking.join(timeout=30)
    assert said == ["It is noted."]
    assert server.popen.stderr is not None
    assert "Traceback" not in server.popen.stderr.read()


def test_a_request_that_outlasts_the_grace_time_is_told_so(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    server = start("--grace-s", "0")
    with ThreadPoolExecutor(1) as clients:
        asking = clients.submit(
            server.client.chat.completions.create,
            model="notary",
            messages=[{"role": "user", "content": "wait"}],
        )
        while not (tmp_path / "waiting").exists():
            time.sleep(0.01)
        assert server.stop(signal.SIGTERM) == 0
        with pytest.raises(openai.InternalServerError, match="shutting down"):
            asking.result()
    with ReplayStore(server.store) as store:
        (kept,) = store.interactions()
    assert kept.stop == "cancelled"
    assert [result.error for result in kept.turns[0].results] == ["cancelled"]
    assert server.popen.stderr is not None
    assert "Traceback" not in server.popen.stderr.read()


def test_feedback_over_the_socket_reaches_the_store(start: Callable[..., Process]) -> None:
    server = start()
    answer = server.client.chat.completions.create(model="notary", messages=ASKED)
    said = server.client.post(
        "/feedback",
        body={"interaction": answer.id, "verdict": "accept"},
        cast_to=object,
    )
    assert json.loads(json.dumps(said))["source"] == "feedback"
    assert server.stop(signal.SIGTERM) == 0
    with ReplayStore(server.store) as store:
        assert [label.author for label in store.labels(answer.id)] == ["local"]
