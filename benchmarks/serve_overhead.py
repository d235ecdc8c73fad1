"""What `tooln1-agent serve` costs before vLLM, beside LiteLLM's proxy before the same vLLM.

python benchmarks/serve_overhead.py [--quick] [--no-pin] [--json]

Both proxies stand before one vLLM with the seed model and are asked the same, in turn, and so is
vLLM directly, in the way of each proxy (benchmarks/peers/serving.py). Processor time is that of the
proxy's processes alone. The latency added is that of the median request of one token by a lone
client, through the proxy less directly. With two cores or more, vLLM has one half of them to itself
and proxies and clients share the other. `make .venv-vllm/.installed .venv-litellm/.installed` makes
the environments of both peers; --vllm-python and --litellm name others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, it sees its own folder alone

from benchmarks.peers.serving import (
    Way,
    in_chat,
    in_ids,
    litellm_proxy,
    our_proxy,
    running_vllm,
)

MOST_TOKENS = 64
_AT_MOST_ADDED_MS = 5.0


@dataclass(frozen=True, slots=True)
class Work:
    """How much is asked."""

    rounds: int = 5
    requests: int = 60
    """Of one token, one after another."""
    streams: int = 20
    """Of up to 64 tokens, one after another."""
    clients: int = 32
    """At once, each with four such streams."""


QUICK = Work(rounds=1, requests=8, streams=3, clients=4)


class Pair(NamedTuple):
    """A proxy, and vLLM asked directly in that proxy's way."""

    through: Way
    past: Way


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only try out whether it runs")
    parser.add_argument("--no-pin", action="store_true", help="let all share all cores")
    parser.add_argument("--vllm-python", type=Path, default=Path(".venv-vllm/bin/python"))
    parser.add_argument("--litellm", type=Path, default=Path(".venv-litellm/bin/litellm"))
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    options = parser.parse_args()
    for needed in (options.vllm_python, options.litellm):
        if not needed.exists():
            parser.error(f"there is no {needed}; the head of this file says how to get both peers")
    figures = run(QUICK if options.quick else Work(), options)
    if not options.json:
        sys.stdout.write(f"{_told(figures)}\n")
    sys.stdout.write(json.dumps(figures | {"holds": holds(figures)}) + "\n")


def run(work: Work, options: argparse.Namespace) -> dict[str, Any]:
    """Start everything, each where it belongs, and return all figures."""
    for_vllm, for_others = split_cores(pin=not options.no_pin)
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        home = Path(made)
        with on_cores(for_vllm):
            vllm = stack.enter_context(running_vllm(home, options.vllm_python.absolute()))
        stack.enter_context(on_cores(for_others))
        ours = stack.enter_context(our_proxy(home, vllm))
        theirs = stack.enter_context(litellm_proxy(home, vllm, options.litellm.absolute()))
        pairs = {"ours": Pair(ours, in_ids(vllm)), "litellm": Pair(theirs, in_chat(vllm))}
        measured = measure(pairs, work)
        assert vllm.pid is not None
        found = psutil.Process(vllm.pid).cpu_affinity(), psutil.Process().cpu_affinity()
    return {
        "work": {name: getattr(work, name) for name in Work.__slots__},
        "cores": dict(zip(("vllm", "proxies and clients"), found, strict=True)),
        "vllm_is_alone_on_its_cores": set(found[0] or ()).isdisjoint(found[1] or ()),
        **measured,
    }


def split_cores(*, pin: bool) -> tuple[set[int], set[int]]:
    """Return the cores of vLLM and those of proxies and clients; all for both with a lone core."""
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    return (set(cores[:half]), set(cores[half:])) if pin and half else (set(cores), set(cores))


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Stay on these cores, with every process that is started meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(pairs: dict[str, Pair], work: Work) -> dict[str, Any]:
    """Ask both proxies in turn, and vLLM directly as each of them asks; return medians."""
    for way in (way for pair in pairs.values() for way in pair):
        asyncio.run(ask_in_turn(way, 5, tokens=MOST_TOKENS))  # warm up
    gathered: dict[str, list[dict[str, float]]] = {name: [] for name in pairs}
    for _ in range(work.rounds):
        for name, pair in pairs.items():
            gathered[name].append(one_client(pair, work) | many_clients(pair, work))
    return {
        name: {key: round(statistics.median(r[key] for r in rounds), 3) for key in rounds[0]}
        for name, rounds in gathered.items()
    }


def one_client(pair: Pair, work: Work) -> dict[str, float]:
    """Return what requests and streams of a lone client take."""
    before = cpu_ms(pair.through)
    short = asyncio.run(ask_in_turn(pair.through, work.requests, tokens=1))
    per_request = (cpu_ms(pair.through) - before) / work.requests
    direct = asyncio.run(ask_in_turn(pair.past, work.requests, tokens=1))
    before = cpu_ms(pair.through)
    long = asyncio.run(ask_in_turn(pair.through, work.streams, tokens=MOST_TOKENS))
    per_stream = (cpu_ms(pair.through) - before) / work.streams
    tokens = sum(answer.tokens for answer in long) / work.streams
    return {
        "cpu_ms_per_request": per_request,
        "cpu_ms_per_further_token": (per_stream - per_request) / (tokens - 1),
        "tokens_per_stream": tokens,
        "p50_ms": middle_ms(short),
        "p50_direct_ms": middle_ms(direct),
        "added_p50_ms": middle_ms(short) - middle_ms(direct),
    }


def many_clients(pair: Pair, work: Work) -> dict[str, float]:
    """Return the tokens a second that many clients get."""
    through = asyncio.run(ask_at_once(pair.through, work.clients))
    direct = asyncio.run(ask_at_once(pair.past, work.clients))
    return {
        "tokens_per_s": through,
        "direct_tokens_per_s": direct,
        "share_of_direct": through / direct,
    }


def holds(figures: dict[str, Any]) -> dict[str, bool]:
    """Say which of the aims are met."""
    ours, theirs = figures["ours"], figures["litellm"]
    costs = ("cpu_ms_per_request", "cpu_ms_per_further_token")
    return {
        **{f"{cost}_at_most_theirs": ours[cost] <= theirs[cost] for cost in costs},
        "added_p50_at_most_5_ms": ours["added_p50_ms"] <= _AT_MOST_ADDED_MS,
    }


class Answer(NamedTuple):
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


async def ask_at_once(way: Way, clients: int) -> float:
    """Return the tokens a second of clients that each read four streams in turn."""

    async def one(client: httpx.AsyncClient) -> int:
        return sum([(await ask(client, way, MOST_TOKENS)).tokens for _ in range(4)])

    async with httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=None)) as client:
        began = time.perf_counter()
        tokens = sum(await asyncio.gather(*(one(client) for _ in range(clients))))
        return tokens / (time.perf_counter() - began)


async def ask(client: httpx.AsyncClient, way: Way, tokens: int) -> Answer:
    """Stream one reply to its end; count the tokens that the server says it had."""
    began, used = time.perf_counter(), 0
    headers = {"Authorization": f"Bearer {way.key}"}
    async with client.stream("POST", way.url, json=way.body(tokens), headers=headers) as response:
        if response.status_code != 200:
            raise SystemExit(f"{way.url}: {response.status_code} {await response.aread()!r}")
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                used = (json.loads(line[6:]).get("usage") or {}).get("completion_tokens", used)
    return Answer(time.perf_counter() - began, used)


def _told(figures: dict[str, Any]) -> str:
    """Put the main figures into a few lines."""
    where = "alone on its cores" if figures["vllm_is_alone_on_its_cores"] else "on shared cores"
    lines = [f"vLLM runs {where}: {figures['cores']}"]
    for name in ("ours", "litellm"):
        of = figures[name]
        lines.append(
            f"{name}: {of['cpu_ms_per_request']} ms of processor a request and "
            f"{of['cpu_ms_per_further_token']} a further token; {of['added_p50_ms']} ms added at "
            f"p50; {of['tokens_per_s']} tokens/s, {100 * of['share_of_direct']:.0f} % of direct"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
