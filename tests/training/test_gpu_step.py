"""The benchmark for one GPU, as far as it goes without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.gpu_step import MODELS, layer_weights, qwen, update_flops
from benchmarks.peers.work import Shape

ROOT = Path(__file__).resolve().parents[2]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "benchmarks/gpu_step.py", *words]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "advice"),
    [((), "--device cpu --tiny"), (("--device", "cpu"), "add --tiny")],
)
def test_without_a_gpu_it_refuses_and_says_what_to_do(words: tuple[str, ...], advice: str) -> None:
    refused = run(*words)
    assert refused.returncode == 2
    assert advice in refused.stderr
    assert not refused.stdout


@pytest.mark.slow
def test_the_small_shapes_give_every_figure_on_a_cpu() -> None:
    done = run("--device", "cpu", "--tiny", "--json", "--peak-tflops", "1")
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    (name,) = found["tiny"]["share_of_bound"]
    timed: dict[str, Any] = found["tiny"][name]
    assert {"ours_mib", "trl_mib"} == found["tiny"]["peak_memory"][name].keys()
    assert timed["trl_over_ours"] > 0 < timed["naive_over_ours"]
    for side in ("ours", "naive", "trl"):
        whole = 8 * (200 + 8)
        assert timed["tokens_per_s"][side] == pytest.approx(whole / timed[f"{side}_s"], rel=1e-2)
        assert 0 < timed["mfu"][side] <= timed["busy"][side] < 1


@pytest.mark.parametrize(("shared", "expected"), [(True, 18_464), (False, 33_920)])
def test_operations_are_those_of_a_case_worked_by_hand(shared: bool, expected: int) -> None:
    # 160 weights; 19 or 40 tokens, 78 or 120 pairs: 4 * 160 * 19 + 12 * 4 * 78 + 4 * 16 * 10 * 4
    model = qwen(4, layers=1, heads=2, inner=8, vocabulary=10)
    assert update_flops(model, Shape(3, 2), shared=shared) == expected


@pytest.mark.parametrize(("name", "weights"), [("0.5b", 494_032_768), ("1.5b", 1_543_714_304)])
def test_the_shapes_are_those_of_qwen(name: str, weights: int) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(MODELS[name])
    assert sum(weight.numel() for weight in model.parameters()) == weights
    matrices = (m for m in model.model.layers.modules() if isinstance(m, torch.nn.Linear))
    assert sum(matrix.weight.numel() for matrix in matrices) == layer_weights(MODELS[name])
