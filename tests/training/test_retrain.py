"""`tooln1-agent retrain` from store to live adapter, with a model of two layers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.local.model import base_name
from tooln1_agent.renderers.tooln1 import TOOLN1
from tooln1_agent.replay.store import ReplayStore
from trainer.run import known_runs
from trainer.selection import kept_back

MakeStore = Callable[..., Path]
SMALL = ("--prompts-per-step", "4", "--max-tokens", "16", "--learning-rate", "3e-3")


def command(*arguments: object) -> list[str]:
    program = "from tooln1_agent.cli import main; main()"
    return [sys.executable, "-c", program, "retrain", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=280)


@pytest.fixture
def wants_on(make_store: MakeStore) -> Path:
    """Requests that all want "on", which the model does somewhat less than half of the time."""
    return make_store(["on"] * 200)


@pytest.mark.slow
def test_a_plan_tells_what_would_be_used_and_does_nothing(
    make_store: MakeStore, tiny_model_dir: Path, tmp_path: Path
) -> None:
    store = make_store(["on", "off", "", "on"] * 10)
    before = store.read_bytes()
    done = run("--store", store, "--model", tiny_model_dir, "--out", tmp_path / "out", "--plan")
    assert done.returncode == 0, done.stderr
    with ReplayStore(store) as opened:
        examples = [e for e in opened.examples().examples if e.split == "train"]
    silent = sum(not e.is_call for e in examples)
    assert f"{len(examples)} ({len(examples)} new, {silent} without a call)" in done.stdout
    assert f"held out for the gate: {40 - len(examples)}" in done.stdout
    assert f"by label: dataset {len(examples)}" in done.stdout
    assert f"(no call) {silent}" in done.stdout
    assert "advised: --method grpo (as set)" in done.stdout
    assert not (tmp_path / "out").exists()
    assert store.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("with_turns", [False, True])
def test_a_store_without_examples_is_refused_with_advice(
    make_store: MakeStore, tiny_model_dir: Path, tmp_path: Path, with_turns: bool
) -> None:
    store = make_store([]) if with_turns else tmp_path / "absent.db"
    done = run("--store", store, "--model", tiny_model_dir, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert ("give feedback on served turns" if with_turns else "absent.db") in done.stderr
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
def test_flat_groups_are_told_in_words_and_leave_no_adapter(
    make_store: MakeStore, tiny_model_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flags = ("--prompts-per-step", "2", "--group-size", "2", "--max-tokens", "4")
    done = run("--store", make_store(["on"] * 9), "--model", tiny_model_dir, "--out", out, *flags)
    assert done.returncode == 3
    assert "every group was all wrong" in done.stderr
    assert "Traceback" not in done.stderr
    assert AdapterStore(out).list() == ()
    again = run("--store", tmp_path / "replay.db", "--out", out, "--resume")
    assert again.returncode == 2
    assert "nothing to resume" in again.stderr


@pytest.mark.slow
def test_an_adapter_for_another_base_is_refused(
    make_store: MakeStore, tiny_model_dir: Path, tmp_path: Path
) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (staging / name).write_text("{}")
    adapters = AdapterStore(tmp_path / "out")
    other = adapters.add(
        staging,
        base_model="another-base",
        parent=None,
        prompt_version=TOOLN1.version,
        trained_on={},
        config_hash="",
    )
    adapters.promote(other.version, reason="test")
    store = make_store(["on"] * 9)
    done = run("--store", store, "--model", tiny_model_dir, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "another-base" in done.stderr
    assert base_name(tiny_model_dir) in done.stderr


@pytest.mark.slow
def test_what_was_learned_goes_live_and_the_next_run_starts_from_it(
    wants_on: Path, tiny_agent_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flags = ("--store", wants_on, "--model", tiny_agent_dir, "--out", out, *SMALL)
    done = run(*flags, "--steps", 12)
    assert done.returncode == 0, done.stdout + done.stderr
    live = AdapterStore(out).live(base_name(tiny_agent_dir))
    assert live is not None, done.stdout
    assert f"live now: {live.version}" in done.stdout
    assert live.parent is None
    assert live.trained_on["steps"] <= 12
    gate = json.loads((live.path / "gate.json").read_text())
    assert gate["outcome"] == "pass"
    assert "step    1  reward 0." in done.stdout
    assert list((out / "runs").glob("*/tensorboard/events*"))

    again = run(*flags, "--steps", 1, "--no-gate", "--validation-share", 0.3)
    assert f"from adapter {live.version}" in again.stdout
    assert "nothing was promoted" in again.stdout
    examples = known_runs(out / "runs")[-1].examples()
    kept = kept_back(examples, share=0.3)
    assert kept
    assert AdapterStore(out).list()[-1].trained_on["examples"] == len(examples) - len(kept)
    assert "(0 new" in run(*flags, "--plan").stdout


@pytest.mark.slow
@pytest.mark.parametrize("control", [("--learning-rate", "0"), ("--shuffle-labels",)])
def test_an_adapter_that_learned_nothing_true_does_not_go_live(
    make_store: MakeStore, tiny_agent_dir: Path, tmp_path: Path, control: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    store = make_store(["on", "off"] * 80)
    done = run(
        "--store", store, "--model", tiny_agent_dir, "--out", out, *SMALL, "--steps", 6, *control
    )
    assert done.returncode == 0, done.stdout + done.stderr
    adapters = AdapterStore(out)
    assert len(adapters.list()) == 1
    assert adapters.live() is None
    assert "not promoted" in done.stdout


@pytest.mark.slow
def test_a_killed_run_leaves_no_adapter_and_resumes_to_the_same_weights(
    wants_on: Path, tiny_agent_dir: Path, tmp_path: Path
) -> None:
    flags = ("--model", tiny_agent_dir, *SMALL, "--steps", 6, "--no-gate", "--checkpoint-every", 1)
    flags = ("--store", wants_on, *flags)
    whole = run(*flags, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr

    out = tmp_path / "cut"
    process = subprocess.Popen(command(*flags, "--out", out), stdout=subprocess.DEVNULL)
    _until(lambda: any(out.glob("runs/*/checkpoints/step-000002")), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert AdapterStore(out).list() == ()

    resumed = run("--store", wants_on, "--model", tiny_agent_dir, "--out", out, "--no-gate",
                  "--resume")  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    (expected,), (found,) = AdapterStore(tmp_path / "whole").list(), AdapterStore(out).list()
    assert found.version == expected.version  # the version is a hash of the weights
    (metrics,) = out.glob("runs/*/metrics.jsonl")
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_an_adapter_of_half_the_scale_changes_the_base_model_half_as_much(
    wants_on: Path, tiny_agent_dir: Path, tmp_path: Path
) -> None:
    flags = ("--store", wants_on, "--model", tiny_agent_dir, *SMALL, "--steps", 2, "--no-gate")
    found = []
    for scale in (1.0, 0.5):
        out = tmp_path / str(scale)
        done = run(*flags, "--adapter-scale", scale, "--out", out)
        assert done.returncode == 0, done.stderr
        (adapter,) = AdapterStore(out).list()
        found.append(load_file(adapter.path / "adapter_model.safetensors"))
    whole, half = found
    assert any(weight.any() for name, weight in whole.items() if "lora_B" in name)
    for name, weight in whole.items():
        expected = 0.5 * weight if "lora_B" in name else weight
        assert torch.equal(half[name], expected), name


def _until(reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 250
    while not reached():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.slow
def test_help_and_a_wrong_flag_need_no_torch() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; import typer, trainer.cli\n"
        "app = typer.Typer(); app.command()(trainer.cli.retrain)\n"
        "assert '--min-new' in CliRunner().invoke(app, ['--help']).output\n"
        "assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=120)
    assert done.returncode == 0
