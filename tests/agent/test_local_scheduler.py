"""The embedded engine's scheduler, tick by tick: no thread, no clock.

What a request gets is held against `generate` of transformers, run for it alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tooln1_agent.engines.local.adapted import AdaptedModel
from tooln1_agent.engines.local.attention import attending
from tooln1_agent.engines.local.decoder import Sample
from tooln1_agent.engines.local.requests import Limits, Request
from tooln1_agent.engines.local.scheduler import Scheduler
from tooln1_agent.errors import ConfigError, EngineBusy, EngineError
from tooln1_agent.messages import Sampling

NO_END = ()
LONGEST = 24
SYSTEM = tuple(range(2, 42))
"""What many prompts begin with: longer than what is worth sharing."""
PROMPTS = (
    (5, 6, 7),
    (*SYSTEM, 50, 51),
    (*SYSTEM, 52),
    SYSTEM,
    (*SYSTEM, 50, 51, *range(20, 45)),
    (*SYSTEM[:20], 60, 61, 62),
    tuple(range(10, 60)),
)
ADAPTERS = ("v0001-a", "v0002-b")
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.5,  # far from uniform, so that the paths can be told apart
    "eos_token_id": None,
    "pad_token_id": 0,
    "bos_token_id": None,
}


class Ear:
    """Remembers what became of a request; may be told to fail or to stop."""

    def __init__(self, on_token: Callable[[int], bool] = lambda _: False) -> None:
        self.tokens: list[int] = []
        self.sample: Sample | None = None
        self.error: EngineError | None = None
        self._on_token = on_token

    def on_token(self, token: int) -> bool:
        self.tokens.append(token)
        return self._on_token(token)

    def on_end(self, sample: Sample) -> None:
        assert self.sample is None
        self.sample = sample

    def on_error(self, error: EngineError) -> None:
        assert self.error is None
        self.error = error

    @property
    def is_done(self) -> bool:
        return self.sample is not None or self.error is not None


@dataclass
class World:
    """A model with adapters, and what transformers' own generation says on them."""

    base: Any
    adapters: dict[str, Path]
    known: dict[Any, list[int]] = field(default_factory=dict)

    def model(self, **options: Any) -> AdaptedModel:
        model = AdaptedModel(copy.deepcopy(self.base), **options)
        for version, path in self.adapters.items():
            model.load(version, path)
        return model

    def greedy(self, prompt: tuple[int, ...], adapter: str | None, tokens: int) -> list[int]:
        if (prompt, adapter) not in self.known:
            model = copy.deepcopy(self.base)
            if adapter is not None:
                model = PeftModel.from_pretrained(model, self.adapters[adapter])
            ids = torch.tensor([prompt])
            made = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=LONGEST,
                do_sample=False,
            )
            self.known[prompt, adapter] = made[0, len(prompt) :].tolist()
        return self.known[prompt, adapter][:tokens]


@pytest.fixture(scope="module", params=["qwen3", "llama", "sliding"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    torch.manual_seed(0)
    if request.param == "llama":
        base = LlamaForCausalLM(LlamaConfig(**SIZES, head_dim=8)).eval()
    elif request.param == "qwen3":
        base = Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8)).eval()
    else:
        kinds = ["sliding_attention", "full_attention"]
        window = {"use_sliding_window": True, "sliding_window": 16, "layer_types": kinds}
        base = Qwen3ForCausalLM(Qwen3Config(**SIZES, **window, head_dim=8)).eval()
    adapters = {}
    for seed, version in enumerate(ADAPTERS):
        adapters[version] = tmp_path_factory.mktemp(version)
        torch.manual_seed(seed)
        targets = ["q_proj", "k_proj", "v_proj", "down_proj"]
        lora = LoraConfig(r=4, lora_alpha=32, target_modules=targets, init_lora_weights=False)
        get_peft_model(copy.deepcopy(base), lora).save_pretrained(adapters[version])
    return World(base, adapters)


@pytest.fixture(params=["merged", "apart"])
def model(request: pytest.FixtureRequest, world: World) -> AdaptedModel:
    return world.model() if request.param == "merged" else world.model(merge_below=0)


@pytest.fixture
def scheduler(world: World) -> Callable[..., Scheduler]:
    def make(model: AdaptedModel | None = None, **limits: int) -> Scheduler:
        model = model or world.model()
        return Scheduler(model, end_ids=NO_END, limits=Limits(**limits), seed=0)

    return make


def ask(
    scheduler: Scheduler,
    prompt: tuple[int, ...] = PROMPTS[1],
    adapter: str | None = None,
    *,
    ear: Ear | None = None,
    **sampling: Any,
) -> tuple[Ear, Request]:
    ear = ear or Ear()
    sampling = {"max_tokens": LONGEST} | sampling
    request = Request(prompt, Sampling(**sampling), adapter, ear)
    scheduler.submit(request)
    return ear, request


def finish(scheduler: Scheduler, *, ticks: int = 3000) -> None:
    while scheduler.has_work:
        scheduler.tick()
        ticks -= 1
        assert ticks > 0, "the scheduler has work for ever"


def ids(ear: Ear) -> list[int]:
    assert ear.sample is not None, ear.error
    return list(ear.sample.ids)


@dataclass(frozen=True)
class Visit:
    """A request of a schedule."""

    at_tick: int
    prompt: tuple[int, ...]
    adapter: str | None
    tokens: int
    cancelled_after: int | None


VISITS = st.builds(
    Visit,
    at_tick=st.integers(0, 30),
    prompt=st.sampled_from(PROMPTS),
    adapter=st.sampled_from((None, *ADAPTERS)),
    tokens=st.integers(1, LONGEST),
    cancelled_after=st.none() | st.integers(0, 20),
)
LIMITS = st.builds(
    Limits,
    max_batch=st.integers(1, 6),
    queue_limit=st.just(100),
    token_budget=st.integers(100, 400),
    prefill_tokens=st.integers(1, 90),
)


@pytest.mark.slow
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(visits=st.lists(VISITS, min_size=1, max_size=12), limits=LIMITS)
def test_any_mix_and_order_gets_what_each_would_get_alone(
    world: World, model: AdaptedModel, visits: list[Visit], limits: Limits
) -> None:
    scheduler = Scheduler(model, end_ids=NO_END, limits=limits, seed=0)
    asked: dict[int, tuple[Ear, Request]] = {}
    for tick in range(2000):
        for number, visit in enumerate(visits):
            if visit.at_tick == tick:
                sampling = {"max_tokens": visit.tokens}
                asked[number] = ask(scheduler, visit.prompt, visit.adapter, **sampling)
            if tick - visit.at_tick == visit.cancelled_after:
                scheduler.cancel(asked[number][1])
        scheduler.tick()
        assert scheduler.tokens <= limits.token_budget
        if len(asked) == len(visits) and not scheduler.has_work:
            break
    assert not scheduler.has_work
    for number, visit in enumerate(visits):
        ear, request = asked[number]
        expected = world.greedy(visit.prompt, visit.adapter, visit.tokens)
        assert ear.tokens == expected[: len(ear.tokens)]
        assert request.is_cancelled or ids(ear) == expected


def test_a_remembered_prompt_is_never_used_under_another_adapter(
    world: World, model: AdaptedModel, scheduler: Callable[..., Scheduler]
) -> None:
    one = scheduler(model)
    for adapter in (None, *ADAPTERS, None):
        ear, _ = ask(one, adapter=adapter)
        finish(one)
        assert ids(ear) == world.greedy(PROMPTS[1], adapter, LONGEST)
    said = {tuple(world.greedy(PROMPTS[1], adapter, LONGEST)) for adapter in (None, *ADAPTERS)}
    assert len(said) == 3  # so a mistaken adapter would show


def test_an_adapter_loaded_again_under_its_name_finds_nothing_remembered(
    world: World, model: AdaptedModel, scheduler: Callable[..., Scheduler]
) -> None:
    first, second = ADAPTERS
    one = scheduler(model)
    ask(one, adapter=first)
    finish(one)
    model.unload(first)
    one.forget(first)
    model.load(first, world.adapters[second])
    ear, _ = ask(one, adapter=first)
    finish(one)
    assert ids(ear) == world.greedy(PROMPTS[1], second, LONGEST)


def test_an_adapter_prepared_while_rows_sample_serves_like_any_other(
    world: World, scheduler: Callable[..., Scheduler]
) -> None:
    model = AdaptedModel(copy.deepcopy(world.base))
    version = ADAPTERS[0]
    with attending(model.config):  # as in the middle of a step
        prepared = model.prepare(version, world.adapters[version])
    model.load(version, world.adapters[version], prepared=prepared)
    one = scheduler(model)
    ear, _ = ask(one, adapter=version)
    finish(one)
    assert ids(ear) == world.greedy(PROMPTS[1], version, LONGEST)


@pytest.mark.parametrize("piece", [1, 7, 16, 500])
def test_prompts_in_pieces_of_any_size_say_the_same(
    world: World, scheduler: Callable[..., Scheduler], piece: int
) -> None:
    one = scheduler(prefill_tokens=piece)
    ears = [ask(one, prompt)[0] for prompt in PROMPTS]
    finish(one)
    for ear, prompt in zip(ears, PROMPTS, strict=True):
        assert ids(ear) == world.greedy(prompt, None, LONGEST)


def test_a_long_prompt_delays_others_by_one_piece_a_token(
    scheduler: Callable[..., Scheduler],
) -> None:
    one = scheduler(prefill_tokens=10)
    talker, _ = ask(one, PROMPTS[0])
    one.tick()
    assert len(talker.tokens) == 1
    late, _ = ask(one, PROMPTS[6])  # 50 tokens: five pieces
    for spoken in range(2, 6):
        one.tick()
        assert (len(talker.tokens), len(late.tokens)) == (spoken, 0)
    one.tick()
    assert (len(talker.tokens), len(late.tokens)) == (6, 1)


def test_a_prompt_is_not_cut_where_it_fits_a_piece(
    world: World, scheduler: Callable[..., Scheduler]
) -> None:
    class Counting(AdaptedModel):
        """Counts forwards."""

        forwards = 0

        def using(self, version: str | None) -> Any:
            self.forwards += 1
            return super().using(version)

    model = Counting(copy.deepcopy(world.base))
    one = scheduler(model, prefill_tokens=len(PROMPTS[6]) + 10)
    ears = [ask(one, PROMPTS[6])[0], ask(one, PROMPTS[3])[0]]
    one.tick()
    assert model.forwards == 1  # there was room for 10 tokens of the second prompt
    one.tick()
    assert model.forwards == 3
    assert [len(ear.tokens) for ear in ears] == [2, 1]


@pytest.mark.parametrize("world", ["qwen3", "llama"], indirect=True)
def test_known_beginnings_are_not_computed_again(
    world: World, scheduler: Callable[..., Scheduler]
) -> None:
    one = scheduler(prefill_tokens=len(SYSTEM) + 1)
    ask(one, PROMPTS[2], max_tokens=1)
    one.tick()
    ears = [ask(one, (*SYSTEM, last), max_tokens=1)[0] for last in (52, 53, 54)]
    one.tick()  # all three in one piece, that holds a single prompt from its beginning
    assert all(ear.is_done for ear in ears)
    assert one.tokens == len(SYSTEM) + 3


def test_an_end_or_a_cancellation_frees_its_memory_at_once(
    scheduler: Callable[..., Scheduler],
) -> None:
    one = scheduler(prefill_tokens=20)
    _, sampling = ask(one, PROMPTS[0])
    one.tick()
    one.tick()
    _, computing = ask(one, PROMPTS[6])
    one.tick()
    _, waiting = ask(one, PROMPTS[1])
    assert one.tokens >= computing.tokens + LONGEST
    for request in (waiting, computing, sampling):
        one.cancel(request)
    one.tick()
    assert not one.has_work
    assert one.tokens <= len(PROMPTS[0])  # remembered, and nobody needs it


def test_a_cancelled_request_hears_nothing_more(scheduler: Callable[..., Scheduler]) -> None:
    one = scheduler()
    ear, request = ask(one)
    one.tick()
    one.cancel(request)
    heard = len(ear.tokens)
    finish(one)
    assert (len(ear.tokens), ear.is_done) == (heard, False)


def test_a_request_without_room_waits_and_then_gets_it(
    world: World, scheduler: Callable[..., Scheduler]
) -> None:
    one = scheduler(token_budget=len(PROMPTS[1]) + LONGEST)
    first, _ = ask(one, PROMPTS[1])
    second, _ = ask(one, PROMPTS[5])
    one.tick()
    while not first.is_done:
        assert not second.tokens
        one.tick()
    finish(one)
    assert ids(second) == world.greedy(PROMPTS[5], None, LONGEST)


def test_a_third_adapter_waits_until_a_lane_is_empty(
    world: World, scheduler: Callable[..., Scheduler]
) -> None:
    one = scheduler()
    short, _ = ask(one, adapter=None, max_tokens=4)
    long, _ = ask(one, adapter=ADAPTERS[0])
    third, _ = ask(one, adapter=ADAPTERS[1])
    while not short.is_done:
        assert not third.tokens
        one.tick()
    one.tick()
    one.tick()
    assert third.tokens
    assert not long.is_done
    finish(one)
    assert ids(third) == world.greedy(PROMPTS[1], ADAPTERS[1], LONGEST)


def test_a_full_line_refuses_and_goes_on(scheduler: Callable[..., Scheduler]) -> None:
    one = scheduler(max_batch=1, queue_limit=2)
    ears = [ask(one, max_tokens=2)[0] for _ in range(2)]
    with pytest.raises(EngineBusy, match="2 requests are waiting"):
        ask(one)
    one.tick()
    ears.append(ask(one, max_tokens=2)[0])
    finish(one)
    assert all(ear.sample is not None for ear in ears)


def test_the_same_seed_says_the_same_alone_and_in_a_crowd(
    scheduler: Callable[..., Scheduler],
) -> None:
    alone = scheduler()
    ear, _ = ask(alone, temperature=1.3, seed=11)
    finish(alone)
    crowd = scheduler(prefill_tokens=13)
    for number, prompt in enumerate(PROMPTS):
        ask(crowd, prompt, temperature=1.0, max_tokens=3 + number)
    among, _ = ask(crowd, temperature=1.3, seed=11)
    unseeded = [ask(crowd, temperature=1.3)[0] for _ in range(3)]
    finish(crowd)
    assert ids(among) == ids(ear)
    assert len({tuple(ids(other)) for other in unseeded}) == 3


def test_a_request_whose_text_cannot_be_told_fails_alone(
    world: World, scheduler: Callable[..., Scheduler]
) -> None:
    def choke(token: int) -> bool:
        raise ValueError("no such token")

    one = scheduler()
    bad, _ = ask(one, ear=Ear(choke))
    good, _ = ask(one)
    finish(one)
    assert "no such token" in str(bad.error)
    assert ids(good) == world.greedy(PROMPTS[1], None, LONGEST)


def test_a_request_without_finite_probabilities_fails_alone_and_leaves_no_trace(
    world: World, scheduler: Callable[..., Scheduler]
) -> None:
    model = world.model()
    with torch.no_grad(), model.using(None) as base:
        base.get_input_embeddings().weight[63] = float("nan")
    one = scheduler(model)
    good, _ = ask(one)
    bad, _ = ask(one, (*PROMPTS[1][:5], 63))
    one.tick()
    assert "no numbers" in str(bad.error)
    after, _ = ask(one, PROMPTS[0])  # takes the place that the other has left
    finish(one)
    assert ids(good) == world.greedy(PROMPTS[1], None, LONGEST)
    assert ids(after) == world.greedy(PROMPTS[0], None, LONGEST)


def test_a_forward_that_fails_takes_its_rows_along_and_the_engine_goes_on(
    world: World, scheduler: Callable[..., Scheduler]
) -> None:
    class Faulty(AdaptedModel):
        """Has one adapter's weights taken away while it is at work."""

        is_broken = False

        def using(self, version: str | None) -> Any:
            if self.is_broken and version == ADAPTERS[0]:
                raise RuntimeError("out of memory")
            return super().using(version)

    model = Faulty(copy.deepcopy(world.base))
    for version, path in world.adapters.items():
        model.load(version, path)
    one = scheduler(model)
    harmed = [ask(one, prompt, ADAPTERS[0])[0] for prompt in PROMPTS[:3]]
    spared, _ = ask(one)
    one.tick()
    one.tick()
    model.is_broken = True
    one.tick()
    assert all("out of memory" in str(ear.error) for ear in harmed)
    model.is_broken = False
    again, _ = ask(one, adapter=ADAPTERS[0])
    finish(one)
    assert ids(spared) == world.greedy(PROMPTS[1], None, LONGEST)
    assert ids(again) == world.greedy(PROMPTS[1], ADAPTERS[0], LONGEST)


def test_a_listener_can_end_its_completion(scheduler: Callable[..., Scheduler]) -> None:
    one = scheduler()
    ear = Ear()
    ear._on_token = lambda _: len(ear.tokens) == 3
    ask(one, ear=ear)
    finish(one)
    assert ear.sample is not None
    assert (len(ear.sample.ids), ear.sample.finish_reason) == (3, "stop")


@pytest.mark.parametrize("name", ["max_batch", "queue_limit", "token_budget", "prefill_tokens"])
def test_a_limit_below_one_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
        Limits(**{name: 0})
