"""Controls: the same small run passes the gate with true labels, and never with false ones."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import Qwen3ForCausalLM

from tool_registry import ToolCall, ToolSpec, tool
from tooln1_agent import Agent, ScriptedEngine
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.codec import Codec
from tooln1_agent.examples import Exact, LabelEvent, Verify, split_of
from tooln1_agent.ids import new_id
from tooln1_agent.messages import Message
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction
from trainer.config import GrpoConfig
from trainer.job import Job
from trainer.outcome import Outcome
from trainer.retrain import retrain

pytestmark = pytest.mark.slow

NAMES = ("on", "off")
SWITCHES = tuple(ToolSpec(name=name) for name in NAMES)
DOUBT = {"on": (0.3, 0.7), "off": (0.2, 0.8)}
"""How often the untaught model says "on" and "off" to a request for either."""
RUN = GrpoConfig(steps=50, prompts_per_step=8, max_tokens=16, learning_rate=3e-3)


def asking_for(name: str, number: int) -> tuple[Message, ...]:
    return (Message(role="user", content=f"{name * 3} {number}"),)


@pytest.fixture(scope="session")
def doubtful_dir(tiny_agent_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that hears which switch is asked for, and says "off" to all, more or less surely."""
    path = tmp_path_factory.mktemp("models") / "doubtful"
    shutil.copytree(tiny_agent_dir, path)
    codec, model = Codec.load(path), Qwen3ForCausalLM.from_pretrained(path)
    replies = [
        f'<think>x</think><tool_call>[{{"name":"{name}","arguments":{{}}}}]</tool_call>'
        for name in NAMES
    ]
    ends = [[*codec.encode([(reply, True)]), codec.end_id] for reply in replies]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(150):
        name = NAMES[step % 2]
        prompt = codec.prompt_ids(asking_for(name, step), SWITCHES)
        loss = -(torch.tensor(DOUBT[name]) * reply_logprobs(model, prompt, ends)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(path)
    return path


def reply_logprobs(
    model: torch.nn.Module, prompt: Sequence[int], replies: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Log-prob of each of several replies of equal length, (replies,)."""
    logits = model(torch.tensor([[*prompt, *reply] for reply in replies])).logits
    told = logits[:, len(prompt) - 1 : -1].log_softmax(-1)
    return told.gather(2, torch.tensor(replies)[..., None]).sum(dim=(1, 2))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Requests that say which switch they want, with the truth about it."""
    path = tmp_path / "replay.db"
    with ReplayStore(path) as opened:
        for number in range(160):
            name = NAMES[number % 2]
            right = (ToolCall(name=name, arguments={}),)
            interaction = Interaction(
                id=new_id("int"),
                episode=new_id("ep"),
                messages=asking_for(name, number),
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


def run(store: Path, model: Path, *, agent: Agent | None = None, **changes: object) -> Outcome:
    out = store.parent / "adapters"
    job = Job(store, out, Console(quiet=True), model=str(model), agent=agent)
    return retrain(job, RUN.model_copy(update=changes))


def assert_not_promoted(report: Outcome, store: Path) -> None:
    assert report.gate is not None
    assert report.gate.n >= 30
    assert report.gate.outcome != "pass", report.gate.lines()
    assert AdapterStore(store.parent / "adapters").live_version() is None


def let_a_coin_pay(path: Path) -> Agent:
    """Give each example of the training side a target that a coin judges; return whose coin."""

    @tool(replay_safe=True)
    def on() -> None: ...

    @tool(replay_safe=True)
    def off() -> None: ...

    def coin(_: object) -> bool:
        return draw.random() < 0.5

    draw = random.Random(5)
    with ReplayStore(path) as opened:
        for event in opened.labels():
            if split_of(opened.interaction(event.interaction).messages) == "train":
                changes = {"target": Verify(rule="coin"), "source": "correction"}
                opened.add_label(event.model_copy(update=changes))
    return Agent(ScriptedEngine([]), tools=[on, off], rules=[coin])


def test_true_labels_are_learned_and_promoted(store: Path, doubtful_dir: Path) -> None:
    report = run(store, doubtful_dir)
    assert report.gate is not None
    assert report.gate.outcome == "pass", report.gate.lines()
    live = AdapterStore(store.parent / "adapters").live_version()
    assert live == report.gate.candidate


@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": 0.0}, {"shuffle_labels": True}],
    ids=["learning rate 0", "shuffled labels"],
)
def test_what_cannot_have_learned_is_not_promoted(
    store: Path, doubtful_dir: Path, changes: dict[str, object]
) -> None:
    assert_not_promoted(run(store, doubtful_dir, **changes), store)


def test_what_random_rewards_taught_is_not_promoted(store: Path, doubtful_dir: Path) -> None:
    report = run(store, doubtful_dir, agent=let_a_coin_pay(store))
    assert report.progress.updates >= 10
    assert_not_promoted(report, store)
