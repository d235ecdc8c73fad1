"""The gate asks the engine, keeps its report, counts its looks, and promotes only a pass."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.base import ModelRequest
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.errors import AdapterError, EngineBusy, EngineDown
from tooln1_agent.examples import Exact, Example, NoCall
from tooln1_agent.gate import GateConfig
from tooln1_agent.gate_report import GateReport
from tooln1_agent.gate_run import promote_if_passed, replies, run_gate
from tooln1_agent.holdout_ledger import holdout_hash, record_use, uses
from tooln1_agent.messages import Message
from tooln1_agent.renderers.tooln1 import TOOLN1

RIGHT = '<think>a</think><tool_call>[{"name": "go", "arguments": {}}]</tool_call>'
WRONG = '<think>a</think><tool_call>[{"name": "go", "arguments": {"x": 1}}]</tool_call>'


def example(number: int, text: str = "") -> Example:
    return Example(
        id=f"e{number}",
        messages=(Message(role="user", content=text or f"request {number}"),),
        tools=(ToolSpec(name="go"),),
        target=Exact(alternatives=((ToolCall(name="go", arguments={}),),)),
        split="holdout",
        source="feedback",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


EXAMPLES = [example(number) for number in range(40)]


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


def add(
    store: AdapterStore,
    name: str,
    *,
    base_model: str = "scripted",
    prompt_version: str = TOOLN1.version,
) -> str:
    source = store.root.parent / name
    source.mkdir()
    (source / "adapter_config.json").write_text("{}")
    (source / "adapter_model.safetensors").write_text(name)
    return store.add(
        source,
        base_model=base_model,
        parent=None,
        prompt_version=prompt_version,
        trained_on={},
        config_hash="",
    ).version


def adapters_say(says: dict[str | None, str]) -> Callable[[ModelRequest], str]:
    return lambda request: says[request.adapter]


async def gate(
    engine: ScriptedEngine,
    store: AdapterStore,
    candidate: str,
    examples: list[Example] | None = None,
) -> GateReport:
    return await run_gate(
        engine,
        EXAMPLES if examples is None else examples,
        store=store,
        candidate=candidate,
        config=GateConfig(),
    )


async def test_replies_are_greedy_and_come_in_the_order_of_the_examples() -> None:
    engine = ScriptedEngine(lambda request: request.messages[0].content)
    texts = await replies(engine, EXAMPLES, adapter="v1", max_tokens=64, concurrency=4)
    assert texts == [f"request {number}" for number in range(40)]
    assert {r.sampling.temperature for r in engine.requests} == {0.0}
    assert {r.adapter for r in engine.requests} == {"v1"}
    assert {r.sampling.max_tokens for r in engine.requests} == {64}


async def test_a_prompt_over_the_context_limit_counts_as_wrong() -> None:
    engine = ScriptedEngine(lambda _: RIGHT, context_limit=512)
    texts = await replies(
        engine, [example(1), example(2, "long " * 900)], adapter=None, max_tokens=64
    )
    assert texts == [RIGHT, ""]


async def test_a_plain_answer_cut_by_the_token_limit_earns_nothing() -> None:
    no_call = example(1).model_copy(update={"target": NoCall()})
    engine = ScriptedEngine(lambda _: "<think>none fits</think>" + "word " * 100)
    assert await replies(engine, [no_call], adapter=None, max_tokens=20) == [""]


async def test_a_busy_engine_is_asked_again_and_a_dead_one_raises() -> None:
    fails = [EngineBusy("full", retry_after_s=0.0)] * 3

    def busy(_: ModelRequest) -> str:
        if fails:
            raise fails.pop()
        return RIGHT

    assert await replies(ScriptedEngine(busy), EXAMPLES, adapter=None) == [RIGHT] * 40

    def dead(_: ModelRequest) -> str:
        raise EngineDown("gone")

    with pytest.raises(EngineDown, match="gone"):
        await replies(ScriptedEngine(dead), EXAMPLES, adapter=None)


async def test_the_first_adapter_is_judged_against_the_base_model_and_promoted(
    store: AdapterStore,
) -> None:
    candidate = add(store, "good")
    engine = ScriptedEngine(adapters_say({None: WRONG, candidate: RIGHT}))
    report = await gate(engine, store, candidate)
    assert report.outcome == "pass", report.reasons
    assert report.live is None
    assert engine.adapters == {candidate: store.root / candidate}
    kept = (store.get(candidate).path / "gate.json").read_text()
    assert GateReport.model_validate_json(kept) == report
    assert promote_if_passed(store, report, who="ada")
    assert store.live_version() == candidate
    assert store.history()[0].reason.startswith("gate: better: 40 won, 0 lost")


async def test_an_adapter_equal_to_the_live_one_is_never_promoted(store: AdapterStore) -> None:
    live, same = add(store, "live"), add(store, "same")
    store.promote(live, reason="test")
    engine = ScriptedEngine(adapters_say({live: RIGHT, same: RIGHT}))
    report = await gate(engine, store, same)
    assert report.outcome == "inconclusive"
    assert report.live == live
    assert not promote_if_passed(store, report)
    assert store.live_version() == live
    assert set(engine.adapters) == {live, same}


async def test_a_worse_adapter_is_refused(store: AdapterStore) -> None:
    candidate = add(store, "bad")
    engine = ScriptedEngine(adapters_say({None: RIGHT, candidate: WRONG}))
    report = await gate(engine, store, candidate)
    assert report.outcome == "refuse"
    assert not promote_if_passed(store, report)
    assert store.live() is None


async def test_a_pass_is_not_carried_over_to_another_live_version(store: AdapterStore) -> None:
    candidate, other = add(store, "good"), add(store, "other")
    engine = ScriptedEngine(adapters_say({None: WRONG, candidate: RIGHT}))
    report = await gate(engine, store, candidate)
    store.promote(other, reason="someone was faster")
    with pytest.raises(AdapterError, match="run the gate again"):
        promote_if_passed(store, report)
    assert store.live_version() == other


@pytest.mark.parametrize("trained_for", [{"base_model": "other"}, {"prompt_version": "other"}])
async def test_an_adapter_for_another_base_or_prompt_is_not_asked(
    store: AdapterStore, trained_for: dict[str, str]
) -> None:
    candidate = add(store, "foreign", **trained_for)
    engine = ScriptedEngine(lambda _: RIGHT)
    with pytest.raises(AdapterError, match="'other'"):
        await gate(engine, store, candidate)
    assert engine.requests == []
    assert uses(store) == ()


async def test_an_empty_holdout_is_inconclusive_and_spends_nothing(store: AdapterStore) -> None:
    candidate = add(store, "good")
    report = await gate(ScriptedEngine(lambda _: RIGHT), store, candidate, [])
    assert report.outcome == "inconclusive"
    assert "0 held-out examples" in report.reasons[0]
    assert uses(store) == ()


async def test_each_further_candidate_has_to_show_more(store: AdapterStore) -> None:
    versions = [add(store, f"candidate{i}") for i in range(3)]
    engine = ScriptedEngine(adapters_say({None: WRONG, **dict.fromkeys(versions, RIGHT)}))
    reports = [await gate(engine, store, version) for version in versions]
    assert [report.prior_uses for report in reports] == [0, 1, 2]
    assert reports[0].alpha > reports[1].alpha > reports[2].alpha
    again = await gate(engine, store, versions[2])
    assert again.prior_uses == 2


async def test_a_look_is_counted_even_if_the_engine_dies(store: AdapterStore) -> None:
    candidate = add(store, "good")

    def dead(_: ModelRequest) -> str:
        raise EngineDown("gone")

    with pytest.raises(EngineDown):
        await gate(ScriptedEngine(dead), store, candidate)
    assert [use.candidate for use in uses(store)] == [candidate]
    assert not (store.root / candidate / "gate.json").exists()


def test_a_holdout_is_the_same_in_any_order() -> None:
    assert holdout_hash(["b", "a", "b"]) == holdout_hash(["a", "b"])
    assert holdout_hash(["a"]) != holdout_hash(["a", "b"])


def test_earlier_looks_count_while_half_of_the_examples_are_shared(store: AdapterStore) -> None:
    ids = [f"e{i}" for i in range(10)]
    assert record_use(store, ids, candidate="v1", live=None) == 0
    assert record_use(store, [*ids, "new"], candidate="v2", live=None) == 1
    assert record_use(store, ids, candidate="v1", live="v0") == 2
    fresh = [f"f{i}" for i in range(10)]
    assert record_use(store, [*fresh, *ids[:9]], candidate="v3", live=None) == 0


def test_a_damaged_ledger_is_an_error(store: AdapterStore) -> None:
    record_use(store, ["a"], candidate="v1", live=None)
    ledger = store.root / "holdout-uses.jsonl"
    ledger.write_text("{}\n" + ledger.read_text())
    with pytest.raises(AdapterError, match=r"holdout-uses\.jsonl"):
        record_use(store, ["a"], candidate="v2", live=None)
