"""Several processes that train together: the result of one, and failing as one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.together import Course, learn, together
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.errors import ConfigError, ContextTooLong
from tooln1_agent.examples import Example
from trainer.checkpoint import latest_checkpoint
from trainer.config import GrpoConfig
from trainer.distributed import (
    add_gradients,
    as_first,
    count,
    divided,
    everyone,
    from_first,
    is_first,
    joined,
    part,
)
from trainer.metrics import read_metrics
from trainer.run import known_runs

Make = Callable[..., list[Example]]
SMALL: dict[str, Any] = {
    "lora_rank": 8, "prompts_per_step": 3, "group_size": 8, "max_tokens": 4, "steps": 4,
    "learning_rate": 1e-3, "checkpoint_every": 2,
}  # fmt: skip


def alike(found: Course, expected: Course) -> None:
    """All that a training decides is the same, and the weights to 1e-5."""
    assert found.reason == expected.reason
    timed = {"trained_s"}
    assert found.progress.model_dump(exclude=timed) == expected.progress.model_dump(exclude=timed)
    for one, other in zip(found.steps, expected.steps, strict=True):
        assert (one.reward, one.trained, one.groups) == (other.reward, other.trained, other.groups)
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        assert one.kl == pytest.approx(other.kl, abs=1e-5)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)
    for name, weight in expected.weights.items():
        torch.testing.assert_close(found.weights[name], weight, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "grpo", "updates_per_batch": 2, "kl_on_flat": "keep", "beta": 0.1},
        {"method": "sft+grpo", "sft_steps": 2, "thoughts": "own"},
        {"prompts_per_step": 1},  # one of the processes has nothing to do
        {"shard": True, "tokens_per_pass": 64, "beta": 0.1},
        {"shard": True, "gradient_checkpointing": True, "prompts_per_step": 1},
        {"shard": True, "tokens_per_pass": 64, "imported_beta": 0.3},  # some passes are held
    ],
    ids=[
        *("plain", "two-updates", "imitation", "idle"),
        *("sharded", "sharded-checkpointing", "sharded-held"),
    ],
)
def test_two_processes_end_with_the_weights_of_one(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path, settings: dict[str, Any]
) -> None:
    examples = [
        example.model_copy(update={"imported": number < 2})
        for number, example in enumerate(make_examples(["on", "off", "", "on", "on"]))
    ]
    config = GrpoConfig(**SMALL | settings)
    expected = learn(tiny_model_dir, examples, config, tmp_path / "one")
    assert expected.progress.updates >= 3
    both = together(2, learn, tiny_model_dir, examples, config, tmp_path / "two")
    assert [ended.code for ended in both] == [0, 0], both
    first, second = (ended.made for ended in both)
    alike(first, expected)
    alike(second, expected)
    assert all(torch.equal(w, second.weights[name]) for name, w in first.weights.items())


@pytest.mark.slow
def test_torchrun_makes_the_adapter_that_one_process_makes(
    make_store: Callable[..., Path], tiny_agent_dir: Path, tmp_path: Path
) -> None:
    flags = (
        *("-m", "trainer", "--store", make_store(["on", "off", "", "on"] * 8), "--no-gate"),
        *("--model", tiny_agent_dir, "--steps", 2, "--prompts-per-step", 3, "--max-tokens", 16),
        *("--learning-rate", 1e-3),  # AdamW magnifies rounding by it
    )
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    made = []
    for name, before in (("one", ()), ("two", launch)):
        words = [sys.executable, *before, *flags, "--threads", 1, "--out", tmp_path / name]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("stopped because: all 2 steps are done") == 1
        (run,) = known_runs(tmp_path / name / "runs")
        (adapter,) = AdapterStore(tmp_path / name).list()
        made.append((read_metrics(run.path), load_file(adapter.path / "adapter_model.safetensors")))
    (steps, weights), (same_steps, same_weights) = made
    assert [step.reward for step in same_steps] == [step.reward for step in steps]
    torch.testing.assert_close(same_weights, weights, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_any_number_of_processes_goes_on_from_a_checkpoint(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    examples = make_examples(["on", "off", "", "on", "on"])
    config = GrpoConfig(**SMALL)
    half = config.model_copy(update={"steps": 2})
    whole = learn(tiny_model_dir, examples, config, tmp_path / "whole")

    learn(tiny_model_dir, examples, half, tmp_path / "begun-by-one")
    ended = together(2, learn, tiny_model_dir, examples, config, tmp_path / "begun-by-one")
    assert ended[1].made.progress.step == 4
    alike(ended[1].made._replace(steps=[]), whole._replace(steps=[]))

    together(2, learn, tiny_model_dir, examples, half, tmp_path / "begun-by-two")
    alone = learn(tiny_model_dir, examples, config, tmp_path / "begun-by-two")
    assert len(alone.steps) == 2
    alike(alone._replace(steps=[]), whole._replace(steps=[]))


@pytest.mark.slow
def test_the_same_number_of_processes_repeats_bit_for_bit(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    examples = make_examples(["on", "off", "", "on", "on"])
    arguments = (tiny_model_dir, examples, GrpoConfig(**SMALL, refill=0.0))
    one, two = (together(2, learn, *arguments, tmp_path / name)[0].made for name in "ab")
    assert all(torch.equal(weight, two.weights[name]) for name, weight in one.weights.items())


def exchange() -> dict[str, Any]:
    """What one process of several sees of the exchanges."""
    weights = [torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)]
    if is_first():
        weights[0].grad = torch.tensor([1.0, 2.0])
    weights[1].grad = torch.ones(3)
    add_gradients(weights)
    return {
        "part": part("abcde"),
        "divided": divided("abcde", lambda mine: [f"{each}{count()}" for each in mine]),
        "everyone": everyone(lambda: part("abc")[0]),
        "as_first": as_first(part("abc")[0]),
        "gradients": [weight.grad.tolist() for weight in weights],
    }


def test_one_process_exchanges_with_nobody() -> None:
    assert exchange() == {
        "part": list("abcde"),
        "divided": ["a1", "b1", "c1", "d1", "e1"],
        "everyone": ["a"],
        "as_first": "a",
        "gradients": [[1.0, 2.0], [1.0, 1.0, 1.0]],
    }


@pytest.mark.slow
def test_every_process_gets_what_all_of_them_made() -> None:
    shared = {
        "divided": ["a3", "b3", "c3", "d3", "e3"],
        "everyone": ["a", "b", "c"],
        "as_first": "a",
        "gradients": [[1.0, 2.0], [3.0, 3.0, 3.0]],
    }
    parts = [["a", "d"], ["b", "e"], ["c"]]
    ended = together(3, exchange)
    assert [each.made for each in ended] == [shared | {"part": mine} for mine in parts]


def fail_in_second(place: str) -> None:
    """Meet an error in the second of two processes: within an exchange, or between two."""

    def fail() -> None:
        if not is_first():
            raise ContextTooLong(prompt_tokens=5, max_tokens=6, limit=7)

    everyone(fail) if place == "within" else fail()
    everyone(lambda: None)
    from_first(lambda: None)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["within", "between"])
def test_an_error_of_one_process_ends_all_and_the_first_tells_it(place: str) -> None:
    first, second = together(2, fail_in_second, place)
    assert first.error.startswith("ContextTooLong: the prompt has 5 tokens")
    assert (second.error, second.code) == ("", 1)


@pytest.mark.slow
def test_a_training_that_diverges_in_one_process_ends_in_all_with_its_state_kept(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    examples = make_examples(["on", "off", "", "on", "on"])
    config = GrpoConfig(**SMALL | {"steps": 9, "learning_rate": 1e30, "checkpoint_every": 9})
    first, second = together(2, learn, tiny_model_dir, examples, config, tmp_path / "run")
    assert "--resume and a lower --learning-rate" in first.error
    assert first.error.startswith("Diverged")
    assert second.code == 1
    found = latest_checkpoint(tmp_path / "run")
    assert found.progress.step >= 1
    weights = [t for name, t in found.tensors.items() if name.startswith("weight/")]
    assert all(torch.isfinite(weight).all() for weight in weights)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "2"}, "RANK expected, but not set"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "'two'"),
    ],
)
def test_an_environment_that_is_not_a_launchers_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node") as refused, joined():
        pass
    assert said in str(refused.value)


def test_a_base_that_is_split_over_processes_needs_a_form_of_one_pass() -> None:
    assert GrpoConfig(shard=True).form_on("cuda") == "packed"
    with pytest.raises(ValueError, match="use prefix_form='auto'"):
        GrpoConfig(shard=True, prefix_form="cached")
