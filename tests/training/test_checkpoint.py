"""A run's files: whole or absent, and passed over where they are damaged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from tooln1_agent.examples import Example
from tooln1_agent.messages import Message
from trainer.checkpoint import Progress, latest_checkpoint, save_checkpoint
from trainer.config import GrpoConfig
from trainer.errors import CheckpointError
from trainer.logged import Logged
from trainer.run import Manifest, create_run, known_runs, unfinished_run
from trainer.selection import OrderState

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def save(directory: Path, step: int) -> Path:
    tensors = {"weight/a": torch.full((2, 3), float(step))}
    return save_checkpoint(directory, Progress(step=step), tensors)


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path: Path) -> None:
    order = OrderState(drawn=(3, 4), again=(1, 0), unsure=(("a", 5),))
    progress = Progress(step=7, order=order, trained_s=0.1, first_reward=0.1, last_reward=0.7)
    tensors = {"weight/a": torch.randn(2, 3), "generator": torch.Generator().get_state()}
    save_checkpoint(tmp_path, progress, tensors)
    found = latest_checkpoint(tmp_path)
    assert found.progress == progress
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (0, 5, 10, 15):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000010", "step-000015"]


def _cut_tensors(path: Path) -> None:
    file = path / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def _flip_a_bit(path: Path) -> None:
    file = path / "state.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def _cut_progress(path: Path) -> None:
    file = path / "progress.json"
    file.write_bytes(file.read_bytes()[:20])


def _no_progress(path: Path) -> None:
    (path / "progress.json").unlink()


DAMAGES = [_cut_tensors, _flip_a_bit, _cut_progress, _no_progress]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    save(tmp_path, 5)
    damage(save(tmp_path, 10))
    assert latest_checkpoint(tmp_path).progress.step == 5


def test_a_damaged_checkpoint_is_written_anew_when_its_step_comes_again(tmp_path: Path) -> None:
    _cut_tensors(save(tmp_path, 10))
    save(tmp_path, 10)
    assert latest_checkpoint(tmp_path).progress.step == 10


def test_what_a_crash_left_half_written_is_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 5)
    (tmp_path / ".tmp-step-000010").mkdir()
    (tmp_path / ".tmp-step-000010" / "state.safetensors").write_bytes(b"half")
    assert latest_checkpoint(tmp_path).progress.step == 5
    save(tmp_path, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000005", "step-000010"]


def test_no_whole_checkpoint_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is none; start the training again"):
        latest_checkpoint(tmp_path)
    _cut_tensors(save(tmp_path, 5))
    with pytest.raises(CheckpointError, match=r"step-000005.* damaged"):
        latest_checkpoint(tmp_path)


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        name="20260301-1",
        created_at=NOW,
        store="replay.db",
        base_model="tiny",
        prompt_version="tooln1-1",
        tokenizer_hash="",
        parent=None,
        known_until=None,
        seen_until=NOW,
        config=GrpoConfig(seed=4),
    )


def test_a_run_keeps_its_examples_as_they_were(
    tmp_path: Path, manifest: Manifest, make_examples: Callable[..., list[Example]]
) -> None:
    odd = Message(role="user", content="one\u2028two\x85three")  # line ends, to some
    examples = [e.model_copy(update={"messages": (odd,)}) for e in make_examples(["on", "", "off"])]
    create_run(tmp_path, manifest, examples)
    run = unfinished_run(tmp_path)
    assert run.examples() == examples
    assert run.logged() == []
    assert run.manifest.config == manifest.config
    (run.path / "examples.jsonl").write_text("")
    with pytest.raises(CheckpointError, match="not what the run began with"):
        run.examples()


def test_a_run_keeps_its_logged_replies_as_they_were(tmp_path: Path, manifest: Manifest) -> None:
    reply = Logged(example="a", adapter=None, completion_ids=(1, 2), logprobs=(-0.1, -0.5))
    create_run(tmp_path, manifest, [], logged=[reply])
    run = unfinished_run(tmp_path)
    assert run.logged() == [reply]
    (run.path / "logged.jsonl").write_text("")
    with pytest.raises(CheckpointError, match="not what the run began with"):
        run.logged()


def test_the_newest_unfinished_run_is_found(tmp_path: Path, manifest: Manifest) -> None:
    for name in ("a", "b", "c"):
        create_run(tmp_path, manifest.model_copy(update={"name": name}), [])
    known_runs(tmp_path)[-1].note(finished=True)
    (tmp_path / ".tmp-half").mkdir()
    assert [run.manifest.name for run in known_runs(tmp_path)] == ["a", "b", "c"]
    assert unfinished_run(tmp_path).manifest.name == "b"


def test_without_an_unfinished_run_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing to resume"):
        unfinished_run(tmp_path / "absent")


def test_two_processes_cannot_work_on_one_run(tmp_path: Path, manifest: Manifest) -> None:
    run = create_run(tmp_path, manifest, [])
    with run.held(), pytest.raises(CheckpointError, match="another process"), run.held():
        pass
    with run.held():
        pass
