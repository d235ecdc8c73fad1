"""Models and adapters are known by what they compute: in the embedded engine, and written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.vllm_models import add_adapter, save_model
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.cli.probing import probe
from tooln1_agent.engines.base import ModelRequest, complete
from tooln1_agent.engines.local.adapted import AdaptedModel
from tooln1_agent.engines.local.engine import LocalEngine
from tooln1_agent.engines.local.model import load_base
from tooln1_agent.engines.local.scoring import check_probe
from tooln1_agent.errors import AdapterError
from tooln1_agent.messages import Message, Sampling
from tooln1_agent.probe import Probe, read_probe
from tooln1_agent.server.live import AdapterPointer
from tooln1_agent.server.tracked import TrackedEngine
from tooln1_agent.telemetry import Metrics

ASKED = ModelRequest((Message(role="user", content="Light on."),), (), Sampling(max_tokens=8))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("probed") / "tiny")


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


@pytest.mark.parametrize("merge_below", [0, 10**9], ids=["kept once", "merged copies"])
def test_weights_that_were_swapped_under_a_probe_are_refused_and_leave_nothing(
    model_dir: Path, store: AdapterStore, merge_below: int
) -> None:
    good = add_adapter(store, model_dir, seed=1, probe_of=1)
    swapped = add_adapter(store, model_dir, seed=2, probe_of=1)
    model = AdaptedModel(load_base(model_dir), merge_below=merge_below)
    for loaded in ([], [good]):
        for version in loaded:
            model.load(version, store.get(version).path)
        with pytest.raises(AdapterError, match=r"not what was trained.*nats off the trainer's"):
            model.load(swapped, store.get(swapped).path)
        with pytest.raises(AdapterError, match="not loaded"), model.using(swapped):
            pass
    with model.using(good):
        pass


def test_a_probe_of_other_tokens_is_refused(
    model_dir: Path, store: AdapterStore, tmp_path: Path
) -> None:
    source = store.get(add_adapter(store, model_dir, seed=1, probe_of=1)).path
    place = tmp_path / "other"
    place.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (place / name).write_bytes((source / name).read_bytes())
    written = read_probe(source)
    assert written is not None
    Probe.model_validate(written.model_dump() | {"prompt_ids": (10**6,)}).write(place)
    model = AdaptedModel(load_base(model_dir))
    with pytest.raises(AdapterError, match=r"probe\.json.*another vocabulary"):
        model.load("v0009-000000000000", place)


async def test_while_a_swapped_adapter_is_live_in_the_store_the_one_before_serves_on(
    model_dir: Path, store: AdapterStore
) -> None:
    good = add_adapter(store, model_dir, seed=1, probe_of=1)
    swapped = add_adapter(store, model_dir, seed=2, probe_of=1)
    metrics = Metrics()
    engine = TrackedEngine(LocalEngine(model_dir, threads=1), metrics)
    pointer = AdapterPointer(engine, store, metrics=metrics)
    try:
        for version in (good, swapped):
            store.promote(version, reason="test")
            await pointer.look()
            assert pointer.version() == good
        assert swapped in str(pointer.problem)
        assert "not what was trained" in str(pointer.problem)
        request = ModelRequest(ASKED.messages, (), ASKED.sampling, pointer.version())
        assert (await complete(engine, request)).adapter == good
    finally:
        await engine.aclose()


def test_the_probe_of_a_model_holds_for_it_and_for_no_other(tmp_path: Path) -> None:
    one, other = (save_model(tmp_path / str(seed), seed=seed) for seed in (1, 2))
    probe(str(one))
    check_probe(load_base(one), one)
    with pytest.raises(AdapterError, match="nats off"):
        check_probe(load_base(other), one)
