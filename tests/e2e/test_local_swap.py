"""Ten adapters, one after another, under sixteen streaming clients on the embedded engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.swapping import check_swaps, stay_under_load, swap_under_load
from tests.e2e.vllm_models import add_adapter, save_model
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.local.engine import LocalEngine

pytestmark = pytest.mark.slow

SWAPS = 10
STEADY_ANSWERS = 100


def test_ten_swaps_under_sixteen_streams_fail_nothing_and_mix_nothing(tmp_path: Path) -> None:
    model_dir = save_model(tmp_path / "tiny")
    adapters = AdapterStore(tmp_path / "adapters")
    versions = [
        add_adapter(adapters, model_dir, seed=40 + n, probe_of=40 + n) for n in range(SWAPS + 1)
    ]
    adapters.promote(versions[0], reason="test")
    swapped = swap_under_load(LocalEngine(model_dir, threads=1), adapters, versions)
    check_swaps(swapped, versions, model_dir=model_dir, adapters=adapters)
    steady = stay_under_load(LocalEngine(model_dir, threads=1), adapters, answers=STEADY_ANSWERS)
    print(json.dumps({"swaps": swapped.figures(), "steady": steady.figures()}))
