"""Ten adapters, one after another, under the load of sixteen streaming clients on vLLM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Vllm
from tests.e2e.swapping import check_swaps, stay_under_load, swap_under_load
from tests.e2e.vllm_models import add_adapter
from tooln1_agent.adapters import AdapterStore

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(600)]

SWAPS = 10
TOKENS = 40
STEADY_ANSWERS = 100


def test_adapters_are_swapped_under_load_and_nobody_notices(
    narrow_vllm: Vllm, tmp_path: Path
) -> None:
    adapters = AdapterStore(tmp_path / "adapters")
    versions = [
        add_adapter(adapters, narrow_vllm.model_dir, seed=40 + n, probe_of=40 + n)
        for n in range(SWAPS + 1)
    ]
    adapters.promote(versions[0], reason="test")

    swapped = swap_under_load(narrow_vllm.engine(), adapters, versions, tokens=TOKENS)
    check_swaps(swapped, versions, model_dir=narrow_vllm.model_dir, adapters=adapters)
    steady = stay_under_load(narrow_vllm.engine(), adapters, answers=STEADY_ANSWERS, tokens=TOKENS)
    print(json.dumps({"swaps": swapped.figures(), "steady": steady.figures()}))
    longest = swapped.figures()["longest_gap_ms"]
    assert longest < steady.figures()["longest_gap_ms"] + 2000
