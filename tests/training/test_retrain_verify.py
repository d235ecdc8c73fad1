"""`retrain` on `Verify` targets: an agent's tools are run and its rules judge what they return."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.conftest import DAY
from tool_registry import Registry, tool
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.examples import LabelEvent, Verify
from tooln1_agent.gate_report import GateReport
from tooln1_agent.ids import new_id
from tooln1_agent.messages import Message
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction

AGENT = """
from contextlib import contextmanager
from tool_registry import RunContext, tool
from tooln1_agent import Agent, ScriptedEngine

@tool(name="on", replay_safe=True)
def switch_on(context: RunContext[dict]) -> str:
    context.deps["lamp"] = "on"
    return "on"

@tool(name="off", replay_safe=True)
def switch_off(context: RunContext[dict]) -> str:
    context.deps["lamp"] = "off"
    return "off"

def lamp_is(outcome):
    return outcome.results[-1].content == outcome.given["lamp"]

@contextmanager
def scratch():
    yield {}

agent = Agent(ScriptedEngine([]), tools=[switch_on, switch_off], rules=[lamp_is], scratch=scratch)
"""


@tool
def on() -> str:
    return "on"


@tool
def off() -> str:
    return "off"


@pytest.fixture
def paths(tmp_path: Path) -> Path:
    """A directory with a store of 60 requests that want the lamp on, and the agent's module."""
    (tmp_path / "lamp.py").write_text(AGENT)
    with ReplayStore(tmp_path / "replay.db") as store:
        for number in range(60):
            interaction = Interaction(
                id=new_id("int"),
                episode=new_id("ep"),
                messages=(Message(role="user", content=f"request {number}"),),
                tools=Registry([on, off]).specs,
                created_at=DAY,
            )
            store.begin(interaction)
            target = Verify(rule="lamp_is", given={"lamp": "on"})
            store.add_label(
                LabelEvent(
                    interaction=interaction.id,
                    verdict="target",
                    target=target,
                    source="dataset",
                    created_at=DAY,
                )
            )
    return tmp_path


def retrain(paths: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    program = "from tooln1_agent.cli import main; main()"
    flags = ("--store", paths / "replay.db", "--out", paths / "out", *arguments)
    command = [sys.executable, "-c", program, "retrain", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


@pytest.mark.slow
def test_without_an_agent_they_are_left_out_and_counted(paths: Path, tiny_agent_dir: Path) -> None:
    done = retrain(paths, "--model", tiny_agent_dir, "--plan")
    assert done.returncode == 2
    assert "verify_without_agent 60" in done.stderr


@pytest.mark.slow
def test_with_an_agent_they_are_learned_and_judged(paths: Path, tiny_agent_dir: Path) -> None:
    flags = ("--model", tiny_agent_dir, "--agent", paths / "lamp.py:agent")
    plan = retrain(paths, *flags, "--plan")
    assert plan.returncode == 0, plan.stderr
    assert re.search(r"by tool: \(any tool\) \d+", plan.stdout)
    small = ("--prompts-per-step", "4", "--max-tokens", "16", "--learning-rate", "3e-3")
    done = retrain(paths, *flags, *small, "--steps", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    (adapter,) = AdapterStore(paths / "out").list()
    report = GateReport.model_validate_json((adapter.path / "gate.json").read_text())
    assert report.n > 0
    assert report.overall.candidate_right > 0
    assert "'lamp_is' judges" in _resumed_without_its_agent(paths, tiny_agent_dir)
    said = done.stdout.split("mean reward of the rollouts ")[1].split()
    assert float(said[2].rstrip(";")) > float(said[0])


def _resumed_without_its_agent(paths: Path, model: Path) -> str:
    """Mark the run as unfinished and try to go on with it; return what is said."""
    (run,) = (paths / "out" / "runs").glob("*/run.json")
    run.write_text(run.read_text().replace('"finished": true', '"finished": false'))
    done = retrain(paths, "--model", model, "--resume")
    assert done.returncode == 2
    return done.stderr
