"""Ten adapters, one after another, under sixteen streaming clients on the embedded engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.swapping import check_swaps, swap_under_load
from tests.e2e.vllm_models import add_adapter, save_model
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.local.engine import LocalEngine

pytestmark = pytest.mark.slow

SWAPS = 10


def test_ten_swaps_under_sixteen_streams_fail_nothing_and_mix_nothing(tmp_path: Path) -> None:
    model_dir = save_model(tmp_path / "tiny")
    adapters = AdapterStore(tmp_path / "adapters")
    versions = [
        add_adapter(adapters, model_dir, seed=40 + n, probe_of=40 + n) for n in range(SWAPS + 1)
    ]
    adapters.promote(versions[0], reason="test")
    engine = LocalEngine(model_dir, threads=1)
    load = swap_under_load(engine, adapters, versions)
    check_swaps(load, versions, model_dir=model_dir, adapters=adapters)
    print(json.dumps(load.figures()))
