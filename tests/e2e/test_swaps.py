"""Ten swaps of adapters under sixteen streaming clients: the embedded engine behind a real socket.

What is held against the log: every completion's log-probs are those of the version it names, so no
completion has tokens of two versions.
"""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import AsyncOpenAI
from peft import LoraConfig, PeftModel, get_peft_model

from examples.home_office.tools import TOOLS
from examples.home_office.users import INSTRUCTIONS, traffic
from tests.agent.served import kit, until
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.codec import Codec
from tooln1_agent.engines.base import EngineInfo, ModelRequest
from tooln1_agent.engines.local.engine import LocalEngine
from tooln1_agent.engines.local.model import base_name, load_base
from tooln1_agent.engines.resolve import model_dir
from tooln1_agent.limits import Limits
from tooln1_agent.messages import Completion, Sampling
from tooln1_agent.replay.store import ReplayStore

pytestmark = pytest.mark.slow

CLIENTS, SWAPS = 16, 10
SEED = model_dir("seed")


@dataclass(eq=False)
class Call:
    """One model call, as the engine answered it."""

    adapter: str | None
    is_probe: bool
    times: list[float] = field(default_factory=list)
    """Of its pieces, in seconds."""


class Watched:
    """The embedded engine, with a note of each piece it yields."""

    def __init__(self) -> None:
        self._engine = LocalEngine(SEED, threads=1)
        self.calls: list[Call] = []

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        call = Call(request.adapter, is_probe=not request.tools)
        self.calls.append(call)
        async with aclosing(self._engine.stream(request)) as pieces:
            async for piece in pieces:
                call.times.append(time.monotonic())
                yield piece

    async def load_adapter(self, version: str, path: Path) -> None:
        await self._engine.load_adapter(version, path)

    async def unload_adapter(self, version: str) -> None:
        await self._engine.unload_adapter(version)

    async def start(self) -> None:
        await self._engine.start()

    async def aclose(self) -> None:
        await self._engine.aclose()

    def served(self, version: str | None) -> list[Call]:
        """Return the calls of clients that a version has begun to answer."""
        return [c for c in self.calls if c.adapter == version and c.times and not c.is_probe]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> AdapterStore:
    """Adapters that shift the seed model's log-probs, and hardly what it says."""
    root = tmp_path_factory.mktemp("swaps")
    store = AdapterStore(root / "adapters")
    for number in range(SWAPS):
        torch.manual_seed(number)
        config = LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(load_base(SEED), config)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.05)
        model.save_pretrained(root / str(number), save_embedding_layers=False)
        (root / str(number) / "README.md").unlink(missing_ok=True)
        store.add(
            root / str(number),
            base_model=base_name(SEED),
            parent=None,
            prompt_version=Codec.load(SEED).prompt_version,
            trained_on={},
            config_hash="",
        )
    return store


async def one_client(url: str, number: int, stopped: asyncio.Event) -> int:
    """Stream answer after answer; return how many. Whatever fails, raises."""
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)
    answers = 0
    for request in traffic(number, 1000):
        if stopped.is_set():
            break
        stream = await client.chat.completions.create(
            model="helper",
            messages=[{"role": "user", "content": request.text}],
            stream=True,
            temperature=1.0,
            seed=answers,
        )
        finish_reasons = [c.choices[0].finish_reason async for c in stream if c.choices]
        assert finish_reasons[-1] in ("stop", "length")
        answers += 1
    await client.close()
    return answers


def swap(engine: Watched, store: AdapterStore, version: str | None, to: str) -> int:
    """Make a version live; return how many calls of the old one went on after it had begun."""
    until(lambda: len(engine.served(version)) >= CLIENTS // 2, seconds=120)
    store.promote(to, reason="to see it served")
    until(lambda: engine.served(to), seconds=120)
    begun = engine.served(to)[0].times[0]
    open_then = [call for call in engine.served(version) if call.times[0] < begun]
    until(lambda: len(engine.served(to)) >= CLIENTS // 2, seconds=120)
    return sum(call.times[-1] > begun for call in open_then)


def logprobs(model: Any, completion: Completion) -> torch.Tensor:
    """Log-probs of a completion's tokens in one forward pass."""
    assert completion.prompt_ids is not None
    assert completion.completion_ids is not None
    ids = torch.tensor([completion.prompt_ids + completion.completion_ids])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, len(completion.prompt_ids) - 1 : -1]
    told = logits.log_softmax(-1)
    return told.gather(1, torch.tensor(completion.completion_ids)[:, None])[:, 0]


def check_versions(store: ReplayStore, adapters: AdapterStore) -> Counter[str | None]:
    """Recompute what was logged under the version it names; return completions by version."""
    base = load_base(SEED)
    by_version: dict[str | None, list[Completion]] = {}
    for interaction in store.interactions():
        for turn in interaction.turns:
            by_version.setdefault(turn.completion.adapter, []).append(turn.completion)
    for version, completions in by_version.items():
        model = base
        if version is not None:
            model = PeftModel.from_pretrained(copy.deepcopy(base), adapters.get(version).path)
        for completion in completions[-CLIENTS:]:  # those in flight as it was swapped out
            told = torch.tensor(completion.logprobs)
            torch.testing.assert_close(logprobs(model, completion), told, atol=1e-3, rtol=0)
        other = logprobs(base, completions[0]) - torch.tensor(completions[0].logprobs)
        assert version is None or other.abs().max() > 0.01  # so a mix would show
    return Counter({version: len(found) for version, found in by_version.items()})


async def test_ten_swaps_under_sixteen_streams_fail_nothing_and_mix_nothing(
    adapters: AdapterStore, tmp_path: Path, record_property: Any
) -> None:
    engine, store = Watched(), ReplayStore(tmp_path / "replay.db")
    agent = {
        "tools": list(TOOLS),
        "instructions": INSTRUCTIONS,
        "limits": Limits(max_turns=2),
        "sampling": Sampling(max_tokens=64),
    }
    made = kit(engine=engine, adapters=adapters, agent=agent, store=store, adapter_poll_s=0.05)
    versions = [adapter.version for adapter in adapters.list()]
    in_flight = []
    stopped = asyncio.Event()
    with made.on_socket() as url:
        async with asyncio.timeout(200), asyncio.TaskGroup() as group:
            clients = [
                group.create_task(one_client(url, number, stopped)) for number in range(CLIENTS)
            ]
            for old, new in zip([None, *versions], versions, strict=False):
                in_flight.append(await asyncio.to_thread(swap, engine, adapters, old, new))
            stopped.set()
    assert all(client.result() > 0 for client in clients)
    assert len(in_flight) == SWAPS
    assert all(in_flight), in_flight
    found = check_versions(store, adapters)
    assert found.keys() == {None, *versions}
    calls = [call for call in engine.calls if not call.is_probe]
    gaps = [b - a for call in calls for a, b in zip(call.times, call.times[1:], strict=False)]
    figures = {
        "answers": sum(client.result() for client in clients),
        "completions": found.total(),
        "in_flight_at_swaps": in_flight,
        "longest_gap_s": round(max(gaps), 3),
        "median_gap_s": round(sorted(gaps)[len(gaps) // 2], 4),
    }
    record_property("swaps", json.dumps(figures))
    print(json.dumps(figures))
