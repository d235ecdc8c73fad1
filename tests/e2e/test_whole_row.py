"""One row from request to swapped adapter, with the real parts: server process, seed model, store.

What is trained must be what was served: the prompt id for id, the weights log-prob for log-prob.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from examples.demo_people import Mood, People, Served
from examples.demo_processes import Server, serving
from examples.demo_traffic import send_all
from examples.home_office.tools import TOOLS
from examples.home_office.users import INSTRUCTIONS, Request, traffic
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.codec import Codec
from tooln1_agent.engines.resolve import model_dir
from tooln1_agent.examples import Example
from tooln1_agent.messages import Completion
from tooln1_agent.replay.store import ReplayStore
from trainer.config import GrpoConfig
from trainer.job import Job
from trainer.policy import load_policy
from trainer.retrain import retrain
from trainer.rollout import prompt_ids

pytestmark = pytest.mark.slow

AGENT = "examples.home_office.app:agent"
BY_CLIENT, BY_AGENT = Mood("client", speaks=True), Mood("agent", speaks=True)
SMALL = GrpoConfig(steps=2, prompts_per_step=6, group_size=6, max_tokens=96, seed=1)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    flags = ("--store", str(tmp_path / "replay.db"), "--adapters", str(tmp_path / "adapters"))
    async with serving(AGENT, flags, log=tmp_path / "server.log") as running:
        yield running


@pytest.fixture
async def people(server: Server) -> AsyncIterator[People]:
    found = People(server.url, tools=TOOLS, instructions=INSTRUCTIONS)
    yield found
    await found.aclose()


async def ask_and_correct(people: People, requests: list[Request]) -> list[Served]:
    async def one(asked: tuple[Request, Mood]) -> Served:
        served = await people.ask(*asked)
        assert not served.error
        assert await people.tell(served) in ("correction", "accept")
        return served

    asked = [(r, BY_AGENT if i % 4 == 0 else BY_CLIENT) for i, r in enumerate(requests)]
    return await send_all(asked, one, concurrency=4)


async def until_served_by(people: People, version: str, request: Request) -> Served:
    async with asyncio.timeout(60):
        while True:
            served = await people.ask(request, BY_CLIENT)
            assert not served.error
            if served.adapter == version:
                return served
            await asyncio.sleep(0.1)


def completion_of(store: ReplayStore, example: Example) -> Completion:
    assert example.interaction is not None
    return store.interaction(example.interaction).turns[example.turn].completion


def logprobs(model: torch.nn.Module, completion: Completion) -> torch.Tensor:
    """Log-probs of a completion's tokens in one forward pass over prompt and completion."""
    assert completion.prompt_ids is not None
    assert completion.completion_ids is not None
    ids = torch.tensor([completion.prompt_ids + completion.completion_ids])
    with torch.no_grad():
        logits = model(ids).logits[0, len(completion.prompt_ids) - 1 : -1]
    told = logits.float().log_softmax(-1)
    return told.gather(1, torch.tensor(completion.completion_ids)[:, None])[:, 0]


async def test_a_request_becomes_an_adapter_that_serves(
    server: Server, people: People, tmp_path: Path
) -> None:
    asked = traffic(3, 24)
    await ask_and_correct(people, asked)
    seed = model_dir("seed")
    with ReplayStore(tmp_path / "replay.db", create=False) as store:
        examples = store.examples().examples
        assert len(examples) >= 20
        codec = Codec.load(seed)
        for example in examples:
            assert prompt_ids(example, codec) == completion_of(store, example).prompt_ids

        job = Job(
            tmp_path / "replay.db",
            tmp_path / "adapters",
            Console(quiet=True),
            gate=False,
            promote=False,
        )
        report = await asyncio.to_thread(retrain, job, SMALL)
        version = report.adapter.version
        assert (await people.ask(asked[0], BY_CLIENT)).adapter == "base"  # nothing promoted yet

        AdapterStore(tmp_path / "adapters").promote(version, reason="to see it served")
        served = await until_served_by(people, version, asked[1])
        completion = store.interaction(served.interaction).turns[0].completion
        assert completion.adapter == version

        policy = load_policy(seed, SMALL, start=report.adapter.path)
        trained = logprobs(policy.model, completion)
        torch.testing.assert_close(trained, torch.tensor(completion.logprobs), atol=1e-3, rtol=0.0)
        with policy.reference() as base:
            assert (logprobs(base, completion) - trained).abs().max() > 1e-6
        assert store.stats().by_adapter.keys() == {"base", version}
