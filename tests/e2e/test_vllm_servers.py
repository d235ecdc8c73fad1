"""Two vLLM servers, one of which is killed while both are at work: what that may cost."""

from __future__ import annotations

import asyncio
import itertools
import threading
from pathlib import Path
from typing import Self

import httpx
import pytest
import torch

from tests.agent.served import CHAT, Kit, kit
from tests.e2e.conftest import KEY, Vllm, until
from tests.e2e.rolling import CONFIG, EXAMPLES, FIGURES_AGREE, off, sampled
from tests.e2e.swapping import Answer, Watched, asking, check_logprobs, stream_answer
from tests.e2e.vllm_models import add_adapter, random_policy
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.pool import PooledEngine, ServedEngine
from trainer.update import update
from trainer.vllm_sampler import KEY_VARIABLE, SamplerChoice, open_sampler

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(600)]

STREAMING = WHOLE = 8
TOKENS, BEGUN = 100, 10
RUNNING, SAMPLED = "vllm:num_requests_running", "vllm:generation_tokens_total"


class Clients:
    """Eight that stream and eight that do not, each asking again and again until told to stop."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._numbers = itertools.count()
        self._is_over = False
        self.streams: set[int] = set()
        """Numbers of the requests that stream, or did."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.streamed: list[Answer] = []
        self.whole: list[httpx.Response] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    async def _run(self) -> None:
        async with httpx.AsyncClient(base_url=self._address, timeout=300) as client:
            streams = (self._stream(client) for _ in range(STREAMING))
            await asyncio.gather(*streams, *(self._ask(client) for _ in range(WHOLE)))

    async def _stream(self, client: httpx.AsyncClient) -> None:
        while not self._is_over:
            number = next(self._numbers)
            self.streams.add(number)
            self.streamed.append(await stream_answer(client, number, TOKENS))

    async def _ask(self, client: httpx.AsyncClient) -> None:
        while not self._is_over:
            body = asking(next(self._numbers), TOKENS, stream=False)
            self.whole.append(await client.post(CHAT, json=body))


class WatchedServer(Watched):
    """An engine on a server, with a note of each call."""

    def __init__(self, engine: ServedEngine) -> None:
        super().__init__(engine)
        self.check = engine.check

    def streams_under_way(self, clients: Clients) -> int:
        """Count those that have said so much that a part of it is out."""
        return sum(self.pieces[number] > BEGUN for number in tuple(clients.streams))


def test_a_server_that_dies_under_load_costs_no_more_than_it_had_begun_to_say(
    vllm: Vllm, narrow_vllm: Vllm, tmp_path: Path
) -> None:
    adapters = AdapterStore(tmp_path / "adapters")
    first, second = (
        add_adapter(adapters, vllm.model_dir, seed=seed, probe_of=seed) for seed in (60, 61)
    )
    adapters.promote(first, reason="test")
    narrow = WatchedServer(narrow_vllm.engine())
    engine = PooledEngine([vllm.engine(), narrow])
    made = kit(engine=engine, adapters=adapters, adapter_poll_s=0.05)
    with made.on_socket() as address:
        with Clients(address) as clients:
            until(lambda: len(clients.whole) >= WHOLE)
            until(lambda: len(narrow.pieces) >= 4 and narrow.streams_under_way(clients) > 1)
            narrow_vllm.kill()
            adapters.promote(second, reason="test")  # which the dead one misses
            until(lambda: second in {answer.adapter for answer in clients.streamed})
        check_answers(clients, made)
        narrow_vllm.wait_until_up()
        check_return(address, narrow_vllm, version=second)
    completions = [turn.completion for i in made.store.interactions() for turn in i.turns]
    assert {completion.adapter for completion in completions} == {first, second}
    check_logprobs(completions, model_dir=vllm.model_dir, adapters=adapters)


def check_answers(clients: Clients, made: Kit) -> None:
    """Only streams that had begun failed, each with an error that says so; all is in the log."""
    assert {answer.status_code for answer in clients.whole} == {200}
    assert {answer.status for answer in clients.streamed} == {200}
    assert {answer.last for answer in clients.streamed} == {"[DONE]"}
    failed = [answer for answer in clients.streamed if answer.error]
    assert 0 < len(failed) <= STREAMING
    assert {answer.error for answer in failed} == {"engine_down"}
    assert all(answer.chunks for answer in failed)
    kept = {interaction.id: interaction for interaction in made.store.interactions()}
    answered = [answer.interaction for answer in clients.streamed]
    answered += [answer.headers["x-interaction-id"] for answer in clients.whole]
    assert kept.keys() == set(answered)
    assert len(kept) == len(answered)
    without = {i.id for i in kept.values() if not i.turns}
    assert without == {answer.interaction for answer in failed}
    assert {kept[name].stop for name in without} == {"error"}


def check_return(address: str, server: Vllm, *, version: str) -> None:
    """The server gets calls again, and has the adapter that it missed before it does."""
    assert server.process.restarts
    assert not server.count(SAMPLED)
    of_checks = 100  # tokens, at most: log-probs of the model's and the adapter's probe

    def ask() -> bool:
        answer = httpx.post(address + CHAT, json=asking(1, 8, stream=False), timeout=60)
        assert (answer.status_code, answer.headers["x-adapter"]) == (200, version)
        return server.count(SAMPLED) > 2 * of_checks

    until(ask)


def test_the_groups_of_a_server_that_dies_are_sampled_again_and_the_step_is_whole(
    vllm: Vllm, narrow_vllm: Vllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    policy = random_policy(vllm.model_dir, seed=71)
    optimizer = torch.optim.AdamW(policy.trainable().values(), lr=0.02)
    choice = SamplerChoice(f"{vllm.process.root}/v1,{narrow_vllm.process.root}/v1")
    config = CONFIG.model_copy(update={"max_tokens": 800})
    before = narrow_vllm.count(SAMPLED)
    killed = threading.Event()

    def kill() -> None:
        until(lambda: narrow_vllm.count(SAMPLED) > before + 50 and narrow_vllm.count(RUNNING))
        narrow_vllm.kill()
        killed.set()

    killer = threading.Thread(target=kill)
    with open_sampler(choice, vllm.model_dir, config=config, home=tmp_path) as sampler:
        assert sampler is not None
        killer.start()
        is_last = False
        while not is_last:  # one step in which it dies, and one without it
            is_last = killed.is_set()
            groups = sampled(policy, sampler, config)
            assert [len(group.rollouts) for group in groups] == [config.group_size] * len(EXAMPLES)
            assert off(policy, groups) < FIGURES_AGREE
            stats = update(policy, optimizer, groups=groups, config=config)
            assert stats.ratio_gap < FIGURES_AGREE
    killer.join()
