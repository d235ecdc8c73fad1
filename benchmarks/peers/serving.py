"""Ways to ask one vLLM: directly, through our server, through LiteLLM's proxy.

Every way has the model read the same prompt. Both proxies run with their defaults; LiteLLM's log
nothing then, ours parses each reply and logs each turn to SQLite. Settings stand here in full.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tool_registry import ToolSpec
from tooln1_agent.codec import Codec
from tooln1_agent.engines.chat_format import chat_messages
from tooln1_agent.engines.local.model import base_name
from tooln1_agent.engines.resolve import SEED_DIR
from tooln1_agent.engines.vllm.api import completion_body
from tooln1_agent.engines.vllm.launch import child
from tooln1_agent.engines.vllm.process import VllmProcess
from tooln1_agent.messages import Message, Sampling

_ASKED = (Message(role="user", content="Turn the light in the kitchen on please."),)
_LIGHT = ToolSpec(
    name="set_light",
    description="Switch a light.",
    parameters={
        "type": "object",
        "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}},
        "required": ["room", "on"],
    },
)
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
_AGENT = "from tooln1_agent import Agent\nagent = Agent('seed', name='seed')\n"
_STREAMED = {"temperature": 0.0, "stream": True, "stream_options": {"include_usage": True}}
_LONGEST_START_S = 300.0

Body = Callable[[int], dict[str, Any]]
"""The body of a request, given the most tokens of its reply."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask the model."""

    url: str
    key: str
    body: Body
    process: psutil.Process | None = None
    """The proxy on the way."""


@contextmanager
def running_vllm(home: Path, python: Path) -> Iterator[VllmProcess]:
    """Run a vLLM with the seed model and, for LiteLLM's sake, a chat template."""
    (home / "chatml.jinja").write_text(_TEMPLATE)
    template = f"--chat-template {home / 'chatml.jinja'}"
    server = child(SEED_DIR, python=python, arguments=[template], log_file=home / "vllm.log")
    asyncio.run(server.start())
    try:
        yield server
    finally:
        asyncio.run(server.aclose())


def in_ids(vllm: VllmProcess) -> Way:
    """Ask vLLM as our server does."""
    codec = Codec.load(SEED_DIR)
    ids = codec.prompt_ids(_ASKED, (_LIGHT,))

    def body(tokens: int) -> dict[str, Any]:
        sampling = Sampling(max_tokens=tokens)
        asked = completion_body(ids, sampling, model=_name(), end_ids=codec.end_ids)
        return asked | {"stream_options": _STREAMED["stream_options"]}

    return Way(f"{vllm.root}/v1/completions", vllm.api_key, body)


def in_chat(vllm: VllmProcess) -> Way:
    """Ask vLLM as LiteLLM's proxy does."""
    return Way(f"{vllm.root}/v1/chat/completions", vllm.api_key, _chat(_name()))


@contextmanager
def our_proxy(home: Path, vllm: VllmProcess) -> Iterator[Way]:
    """Run our server, which logs."""
    (home / "app.py").write_text(_AGENT)
    command = [sys.executable, "-m", "tooln1_agent.cli", "serve", "app.py:agent", "--port", "0"]
    flags = ["--engine", f"{vllm.root}/v1", "--store", "log.db", "--log-level", "warning"]
    environment = os.environ | {"TOOLN1_ENGINE_API_KEY": vllm.api_key}
    tool = _LIGHT.model_dump(include={"name", "description", "parameters"})
    asked = {
        "model": "seed",
        "messages": [{"role": "user", "content": _ASKED[0].content}],
        "tools": [{"type": "function", "function": tool}],
        **_STREAMED,
    }
    with _process([*command, *flags], home, environment, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        found = re.search(r"http://\S+", running.stdout.readline())
        if found is None:
            raise SystemExit("our server did not start")
        url = f"{found[0]}/chat/completions"
        yield Way(url, "none", lambda n: asked | {"max_tokens": n}, psutil.Process(running.pid))


@contextmanager
def litellm_proxy(home: Path, vllm: VllmProcess, command: Path) -> Iterator[Way]:
    """Run LiteLLM's proxy."""
    settings = {
        "model": f"hosted_vllm/{_name()}",
        "api_base": f"{vllm.root}/v1",
        "api_key": vllm.api_key,
    }
    config = {"model_list": [{"model_name": "seed", "litellm_params": settings}]}
    (home / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
    port = _free_port()
    flags = ["--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
    key = "sk-" + secrets.token_hex(32)
    environment = os.environ | {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": key,
    }
    root, log = f"http://127.0.0.1:{port}", home / "litellm.log"
    with (
        log.open("w") as out,
        _process([str(command), *flags], home, environment, stdout=out) as running,
    ):
        _wait_for(f"{root}/health/liveliness", running, log)
        url = f"{root}/v1/chat/completions"
        yield Way(url, key, _chat("seed"), psutil.Process(running.pid))


def _name() -> str:
    return base_name(SEED_DIR)


def _chat(model: str) -> Body:
    """Return bodies whose prompt is the one that we render, tools in the system text."""
    asked = {"model": model, "messages": chat_messages(_ASKED, (_LIGHT,)), **_STREAMED}
    return lambda tokens: asked | {"max_tokens": tokens}


@contextmanager
def _process(
    command: list[str], home: Path, environment: dict[str, str], *, stdout: Any
) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        command, cwd=home, env=environment, stdout=stdout, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(60)


def _wait_for(url: str, running: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + _LONGEST_START_S
    while time.monotonic() < deadline:
        if running.poll() is not None:
            break
        try:
            httpx.get(url, timeout=1).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"nobody answers at {url}; the log ends with:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
