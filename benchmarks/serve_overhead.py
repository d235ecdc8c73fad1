"""What `tooln1-agent serve` costs before vLLM, beside LiteLLM's proxy before the same vLLM.

python benchmarks/serve_overhead.py [--vllm-python PATH] [--litellm PATH] [--json]

--vllm-python is an interpreter that has vLLM (`make .venv-vllm/.installed` makes one for CPUs);
--litellm is the `litellm` command of an environment of its own, by default .venv-litellm
(`pip install 'litellm[proxy]'`).
Both proxies stand before one vLLM with the seed model and are asked the same, in turn. Ours parses
replies and logs every turn to SQLite; LiteLLM runs with its defaults, which log nothing. Figures of
processor time are those of the proxy's processes alone. The latency added is that of the median
request of one token, through the proxy less directly to vLLM, asked in the proxy's way. For the
throughput of 32 clients, vLLM has a core to itself; proxy and clients share another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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

ASKED = (Message(role="user", content="Turn the light in the kitchen on please."),)
PARAMETERS = {
    "type": "object",
    "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}},
    "required": ["room", "on"],
}
LIGHT = ToolSpec(name="set_light", description="Switch a light.", parameters=PARAMETERS)
TOOL = {
    "type": "function",
    "function": LIGHT.model_dump(include={"name", "description", "parameters"}),
}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
AGENT = "from tooln1_agent import Agent\nagent = Agent('seed', name='seed')\n"
ROUNDS, REQUESTS, STREAMS, CLIENTS = 3, 60, 20, 32
MOST_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask the model."""

    url: str
    key: str
    body: Callable[[int], dict[str, Any]]
    """The body of a request, given the most tokens of its reply."""
    process: psutil.Process | None = None
    """The proxy on the way."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vllm-python", type=Path, default=Path(".venv-vllm/bin/python"))
    parser.add_argument("--litellm", type=Path, default=Path(".venv-litellm/bin/litellm"))
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    options = parser.parse_args()
    for needed in (options.vllm_python, options.litellm):
        if not needed.exists():
            parser.error(f"there is no {needed}; the head of this file says how to get both peers")
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        home = Path(made)
        vllm = stack.enter_context(running_vllm(home, options.vllm_python.absolute()))
        ours = stack.enter_context(our_proxy(home, vllm))
        theirs = stack.enter_context(litellm_proxy(home, vllm, options.litellm.absolute()))
        pairs = {
            "ours": (ours, direct(vllm, ours_direct())),
            "litellm": (theirs, chat_direct(vllm)),
        }
        figures: dict[str, Any] = {"rounds": ROUNDS, **measure(pairs)}
        figures["clients"] = throughput(pairs, vllm)
    if not options.json:
        sys.stdout.write("processor time per request and per streamed token, latency added\n")
    sys.stdout.write(json.dumps(figures) + "\n")


@contextmanager
def running_vllm(home: Path, python: Path) -> Iterator[VllmProcess]:
    (home / "chatml.jinja").write_text(TEMPLATE)
    template = f"--chat-template {home / 'chatml.jinja'}"
    process = child(SEED_DIR, python=python, arguments=[template], log_file=home / "vllm.log")
    asyncio.run(process.start())
    try:
        yield process
    finally:
        asyncio.run(process.aclose())


def ours_direct() -> Callable[[int], dict[str, Any]]:
    """Return the bodies that our server sends to vLLM."""
    codec = Codec.load(SEED_DIR)
    ids = codec.prompt_ids(ASKED, (LIGHT,))

    def body(tokens: int) -> dict[str, Any]:
        sampling = Sampling(max_tokens=tokens)
        return completion_body(ids, sampling, model=base(), end_ids=codec.end_ids)

    return body


def base() -> str:
    return base_name(SEED_DIR)


def direct(vllm: VllmProcess, body: Callable[[int], dict[str, Any]]) -> Way:
    return Way(f"{vllm.root}/v1/completions", vllm.api_key, body)


def chat_direct(vllm: VllmProcess) -> Way:
    return Way(f"{vllm.root}/v1/chat/completions", vllm.api_key, lambda n: chat_body(base(), n))


def chat_body(model: str, tokens: int) -> dict[str, Any]:
    """Return a request whose prompt is the one that we render, tools in the system text."""
    messages = chat_messages(ASKED, (LIGHT,))
    return {"model": model, "messages": messages, "max_tokens": tokens, **_STREAMED}


_STREAMED = {"temperature": 0.0, "stream": True, "stream_options": {"include_usage": True}}


@contextmanager
def our_proxy(home: Path, vllm: VllmProcess) -> Iterator[Way]:
    (home / "app.py").write_text(AGENT)
    command = [sys.executable, "-m", "tooln1_agent.cli", "serve", "app.py:agent", "--port", "0"]
    flags = ["--engine", f"{vllm.root}/v1", "--store", "log.db", "--log-level", "warning"]
    environment = os.environ | {"TOOLN1_ENGINE_API_KEY": vllm.api_key}
    with process([*command, *flags], home, environment, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        found = re.search(r"http://\S+", running.stdout.readline())
        if found is None:
            raise SystemExit("our server did not start")
        asked = [{"role": "user", "content": ASKED[0].content}]

        def body(tokens: int) -> dict[str, Any]:
            more = {"tools": [TOOL], "max_tokens": tokens}
            return {"model": "seed", "messages": asked, **more, **_STREAMED}

        yield Way(f"{found[0]}/chat/completions", "none", body, psutil.Process(running.pid))


@contextmanager
def litellm_proxy(home: Path, vllm: VllmProcess, command: Path) -> Iterator[Way]:
    settings = {
        "model": f"hosted_vllm/{base()}",
        "api_base": f"{vllm.root}/v1",
        "api_key": vllm.api_key,
    }
    config = {"model_list": [{"model_name": "seed", "litellm_params": settings}]}
    (home / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
    key = "sk-" + secrets.token_hex(32)
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    environment |= {"LITELLM_MASTER_KEY": key}
    out = (home / "litellm.log").open("w")
    with out, process([str(command), *flags], home, environment, stdout=out) as running:
        root = f"http://127.0.0.1:{port}"
        for _ in range(600):
            if running.poll() is not None:
                raise SystemExit((home / "litellm.log").read_text()[-2000:])
            try:
                httpx.get(f"{root}/health/liveliness", timeout=1).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield Way(
            f"{root}/v1/chat/completions",
            key,
            lambda tokens: chat_body("seed", tokens),
            psutil.Process(running.pid),
        )


@contextmanager
def process(
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


def measure(pairs: dict[str, tuple[Way, Way]]) -> dict[str, Any]:
    """Ask both proxies in turn, and vLLM directly as each of them asks."""
    gathered: dict[str, list[dict[str, float]]] = {name: [] for name in pairs}
    for way in (way for pair in pairs.values() for way in pair):
        asyncio.run(ask_in_turn(way, 5, tokens=MOST_TOKENS))  # warm up
    for _ in range(ROUNDS):
        for name, (through, past) in pairs.items():
            gathered[name].append(one_round(through, past))
    return {
        name: {key: round(statistics.median(r[key] for r in rounds), 3) for key in rounds[0]}
        for name, rounds in gathered.items()
    }


def one_round(through: Way, past: Way) -> dict[str, float]:
    before = cpu_ms(through)
    short = asyncio.run(ask_in_turn(through, REQUESTS, tokens=1))
    per_request = (cpu_ms(through) - before) / REQUESTS
    plain = asyncio.run(ask_in_turn(past, REQUESTS, tokens=1))
    before = cpu_ms(through)
    long = asyncio.run(ask_in_turn(through, STREAMS, tokens=MOST_TOKENS))
    tokens = sum(answer.tokens for answer in long) / STREAMS
    per_stream = (cpu_ms(through) - before) / STREAMS
    return {
        "cpu_ms_per_request": per_request,
        "cpu_ms_per_token": (per_stream - per_request) / (tokens - 1),
        "tokens_per_stream": tokens,
        "p50_ms": middle_ms(short),
        "p50_direct_ms": middle_ms(plain),
        "added_p50_ms": middle_ms(short) - middle_ms(plain),
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request took and brought."""

    seconds: float
    tokens: int


def middle_ms(answers: list[Answer]) -> float:
    return 1000 * statistics.median(answer.seconds for answer in answers)


def cpu_ms(way: Way) -> float:
    """Return the processor time that a proxy has used, its children's with it."""
    assert way.process is not None
    all_of_it = [way.process, *way.process.children(recursive=True)]
    return 1000 * sum(sum(each.cpu_times()[:2]) for each in all_of_it)


async def ask_in_turn(way: Way, count: int, *, tokens: int) -> list[Answer]:
    async with httpx.AsyncClient(timeout=120) as client:
        return [await ask(client, way, tokens) for _ in range(count)]


async def ask(client: httpx.AsyncClient, way: Way, tokens: int) -> Answer:
    """Stream one reply to its end; count the tokens that the server says it had."""
    began, used = time.perf_counter(), 0
    body = way.body(tokens) | {"stream_options": {"include_usage": True}}
    headers = {"Authorization": f"Bearer {way.key}"}
    async with client.stream("POST", way.url, json=body, headers=headers) as response:
        if response.status_code != 200:
            raise SystemExit(f"{way.url}: {response.status_code} {await response.aread()!r}")
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                used = (json.loads(line[6:]).get("usage") or {}).get("completion_tokens", used)
    return Answer(time.perf_counter() - began, used)


def throughput(pairs: dict[str, tuple[Way, Way]], vllm: VllmProcess) -> dict[str, Any]:
    """Return tokens a second of many clients, vLLM on a core of its own."""
    if (os.cpu_count() or 1) < 2:
        return {"left out": "one core"}
    assert vllm.pid is not None
    engine = psutil.Process(vllm.pid)
    for each in (engine, *engine.children(recursive=True)):
        os.sched_setaffinity(each.pid, {0})
    os.sched_setaffinity(0, {1})
    found: dict[str, Any] = {"count": CLIENTS}
    for name, (through, past) in pairs.items():
        assert through.process is not None
        for each in (through.process, *through.process.children(recursive=True)):
            os.sched_setaffinity(each.pid, {1})
        found[f"{name}_tokens_per_s"] = round(asyncio.run(many(through)), 1)
        found[f"{name}_direct_tokens_per_s"] = round(asyncio.run(many(past)), 1)
    return found


async def many(way: Way) -> float:
    async with httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=None)) as client:
        began = time.perf_counter()
        asking = (ask(client, way, MOST_TOKENS) for _ in range(4 * CLIENTS))
        gate = asyncio.Semaphore(CLIENTS)

        async def one(request: Any) -> Answer:
            async with gate:
                return await request

        answers = await asyncio.gather(*(one(request) for request in asking))
        return sum(answer.tokens for answer in answers) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
