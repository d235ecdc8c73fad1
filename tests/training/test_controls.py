"""Controls: the same small run passes the gate with true labels, and never with false ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from tool_registry import ToolCall, ToolSpec
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.examples import Exact, LabelEvent
from tooln1_agent.ids import new_id
from tooln1_agent.messages import Message
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction
from trainer.config import GrpoConfig
from trainer.outcome import Outcome
from trainer.retrain import Job, retrain

pytestmark = pytest.mark.slow

SWITCHES = (ToolSpec(name="on"), ToolSpec(name="off"))
RUN = GrpoConfig(steps=40, prompts_per_step=8, max_tokens=16, learning_rate=3e-3, beta=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Requests that say which switch they want; the model, untaught, says "off" to all."""
    path = tmp_path / "replay.db"
    with ReplayStore(path) as opened:
        for number in range(160):
            name = ("on", "off")[number % 2]
            right = (ToolCall(name=name, arguments={}),)
            interaction = Interaction(
                id=new_id("int"),
                episode=new_id("ep"),
                messages=(Message(role="user", content=f"{name * 3} {number}"),),
                tools=SWITCHES,
                created_at=datetime.now(UTC),
            )
            opened.begin(interaction)
            label = LabelEvent(
                interaction=interaction.id,
                verdict="target",
                target=Exact(alternatives=(right,)),
                source="dataset",
                created_at=datetime.now(UTC),
            )
            opened.add_label(label)
    return path


def run(store: Path, model: Path, **changes: object) -> Outcome:
    job = Job(store, store.parent / "adapters", Console(quiet=True), model=str(model))
    config = RUN.model_copy(update=changes)
    return retrain(job, config)


@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": 0.0}, {"shuffle_labels": True}],
    ids=["learning rate 0", "shuffled labels"],
)
def test_what_cannot_have_learned_is_not_promoted(
    store: Path, tiny_agent_dir: Path, changes: dict[str, object]
) -> None:
    report = run(store, tiny_agent_dir, **changes)
    assert report.gate is not None
    assert report.gate.n >= 30
    assert report.gate.outcome != "pass", report.gate.lines()
    assert AdapterStore(store.parent / "adapters").live_version() is None
