"""The command line: what it does, and that its errors are one line that says what to do."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from tool_registry.calls import ToolCall, ToolResult
from tool_registry.tool import ToolSpec
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.cli import main, plugins
from tooln1_agent.cli.output import console
from tooln1_agent.messages import Completion, Message, Usage
from tooln1_agent.parsing import Reply
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction, Turn

WEATHER = ToolSpec(
    name="weather",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)
ROME = ToolCall(id="call_1", name="weather", arguments={"city": "Rome"})


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Said]:
    """Run the command in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 300)  # a test runner may have set COLUMNS before
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["tooln1-agent", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0, said.out, said.err)

    return call


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """A store with one interaction of two turns."""
    path = tmp_path / "logged.db"
    called = Turn(
        completion=Completion(text="raw", adapter="v0001-0123456789ab", usage=Usage()),
        reply=Reply(think="I [must] look", calls=(ROME,)),
        results=(ToolResult(call=ROME, content="sunny", ok=True),),
    )
    answered = Turn(completion=Completion(text="raw"), reply=Reply(think="t", answer="Sunny."))
    with ReplayStore(path) as store:
        store.begin(
            Interaction(
                id="int_1",
                episode="ep_1",
                principal="ada",
                messages=(Message(role="user", content="Weather in Rome?"),),
                tools=(WEATHER,),
                turns=(called, answered),
                stop="answer",
                created_at=datetime(2026, 1, 2, tzinfo=UTC),
            )
        )
    return path


def refused(said: Said, *words: str) -> None:
    """Check that a command ended with one plain error line."""
    assert said.code == 2, said
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err


def test_the_version_is_shown(run: Callable[..., Said]) -> None:
    said = run("--version")
    assert said.code == 0
    assert said.out.startswith("tooln1-agent 0.")


@pytest.mark.parametrize(
    "command",
    [
        "serve",
        "label",
        "labels",
        "renew",
        "redact",
        "find-labels",
        "stats",
        "show",
        "import",
        "export",
        "gate",
        "probe",
        "adapters",
    ],
)
def test_every_option_of_every_command_has_help(run: Callable[..., Said], command: str) -> None:
    assert run(command, "--help").code == 0
    loaded = typer.main.get_command(__import__("tooln1_agent.cli.main", fromlist=["x"]).build())
    parts = loaded.get_command(None, command)  # type: ignore[attr-defined]
    for part in getattr(parts, "commands", {"": parts}).values():
        bare = [p.name for p in part.params if not getattr(p, "help", None)]
        assert part.help
        assert bare == []


@pytest.mark.slow
def test_help_and_scripted_serving_never_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['tooln1-agent', '--help']\n"
        "from tooln1_agent.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "import tooln1_agent.server.app, tooln1_agent.cli.startup\n"
        "heavy = {'torch', 'transformers', 'peft'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)


AGENT = """
from tooln1_agent import Agent, ScriptedEngine
agent = Agent(ScriptedEngine(["<think>x</think>hi"]), name="tiny")
number = 3
"""


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("app.py", ["names no agent", "MODULE:AGENT"]),
        ("none.py:agent", ["no file 'none.py'"]),
        ("no_such_module:agent", ["no module 'no_such_module'"]),
        ("no.such.module:agent", ["no module 'no.such.module'"]),
        ("app.py:other", ["has no 'other'", "agents there: agent"]),
        ("app.py:number", ["'number', a int", "agents there: agent"]),
        ("app:other", ["has no 'other'"]),
        ("broken.py:agent", ["ZeroDivisionError", "broken.py:2"]),
        ("broken:agent", ["ZeroDivisionError", "broken.py:2"]),
        ("wrong.py:agent", ["SyntaxError", "wrong.py:1"]),
        ("needs.py:agent", ["No module named 'not_installed'", "needs.py:1"]),
        ("needs:agent", ["No module named 'not_installed'", "needs.py:1"]),
        ("badtool.py:agent", ["tool"]),
    ],
)
def test_an_agent_that_cannot_be_found_or_loaded_is_explained(
    run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, target: str, words: list[str]
) -> None:
    Path("app.py").write_text(AGENT)
    Path("broken.py").write_text("\n1 / 0\n")
    Path("wrong.py").write_text("def\n")
    Path("needs.py").write_text("import not_installed\n")
    Path("badtool.py").write_text(
        "from tooln1_agent import Agent\nagent = Agent('seed', tools=[lambda x: x])\n"
    )
    for name in ("app", "broken", "wrong", "needs", "badtool"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    refused(run("serve", target), *words)


def test_serving_refuses_what_cannot_work_in_one_line(run: Callable[..., Said]) -> None:
    Path("app.py").write_text(AGENT)
    Path("model.py").write_text(AGENT.replace("ScriptedEngine([", '"no/such/model" or (['))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(run("serve", "app.py:agent", "--port", port), f"port {port}", "in use", "--port")
    refused(run("serve", "app.py:agent", "--host", "0.0.0.0"), "no API key")
    refused(
        run("serve", "app.py:agent", "--host", "no.such.host.invalid", "--insecure"), "resolved"
    )
    refused(run("serve", "app.py:agent", "--model", "no/such"), "'no/such'")
    refused(run("serve", "model.py:agent"), "'no/such/model'")
    refused(run("serve", "app.py:agent", "--context-limit", 9), "context_limit", "--model")
    refused(run("serve", "app.py:agent", "--port", 70000), "port")
    refused(run("serve", "app.py:agent", "--config", "none.toml"), "none.toml")
    refused(run("serve", "app.py:agent", "--store", "no/such/dir/x.db"), "no/such/dir")


def test_serving_a_store_of_a_newer_schema_is_refused(run: Callable[..., Said]) -> None:
    Path("app.py").write_text(AGENT)
    ReplayStore("new.db").close()
    db = sqlite3.connect("new.db")
    db.execute("PRAGMA user_version = 999")
    db.close()
    refused(run("serve", "app.py:agent", "--store", "new.db"), "new.db", "999", "upgrade")


def test_a_scripted_model_has_no_batches(run: Callable[..., Said]) -> None:
    Path("app.py").write_text(AGENT)
    Path("s.json").write_text('["<think>x</think>hi"]')
    said = run("serve", "app.py:agent", "--model", "scripted:s.json", "--max-batch", 4)
    refused(said, "max_batch", "embedded engine")


def test_a_label_is_added_to_the_store(run: Callable[..., Said], logged: Path) -> None:
    calls = json.dumps([{"name": "weather", "arguments": {"city": "Oslo"}}])
    said = run("label", logged, "int_1", "correction", "--calls", calls, "--author", "ada")
    assert said.code == 0, said
    run("label", logged, "int_1", "accept", "--turn", 1)
    with ReplayStore(logged) as store:
        first, second = store.labels("int_1")
    assert (first.author, first.source, first.verdict) == ("ada", "correction", "target")
    assert (second.turn, second.verdict) == (1, "accept")
    assert second.author


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["int_1", "correction"], "either 'calls' or 'no_call'"),
        (["int_1", "praise"], "verdict"),
        (["int_1", "correction", "--calls", "[{"], "not valid JSON"),
        (["int_1", "correction", "--calls", '[{"name": "nope", "arguments": {}}]'], "nope"),
        (["int_2", "accept"], "int_2"),
    ],
)
def test_a_label_that_makes_no_sense_is_refused(
    run: Callable[..., Said], logged: Path, arguments: list[str], word: str
) -> None:
    refused(run("label", logged, *arguments), word)


def test_what_was_logged_can_be_read(run: Callable[..., Said], logged: Path) -> None:
    listed = run("show", logged)
    assert "int_1" in listed.out
    assert "Weather in Rome?" in listed.out
    assert "v0001-0123456789ab" in listed.out
    whole = run("show", logged, "int_1").out
    for part in ("I [must] look", '{"city": "Rome"}', "sunny", "Sunny.", "ada", "turn 1"):
        assert part in whole
    assert json.loads(run("show", logged, "int_1", "--json").out)["turns"][1]["reply"]["answer"]
    assert json.loads(run("show", logged, "--json").out)[0]["id"] == "int_1"
    refused(run("show", logged, "int_9"), "int_9")
    refused(run("show", "none.db"), "none.db")


def test_counts_are_shown(run: Callable[..., Said], logged: Path) -> None:
    assert "interactions" in run("stats", logged).out
    assert json.loads(run("stats", logged, "--json").out)["turns"] == 2
    refused(run("stats", "none.db"), "none.db")


def test_benchmark_rows_are_imported(run: Callable[..., Said]) -> None:
    row = {
        "id": "row_1",
        "source": "test",
        "category": "simple",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [WEATHER.to_openai()],
        "expected": [{"name": "weather", "arguments": {"city": "Rome"}}],
        "match": "exact",
    }
    Path("rows.jsonl").write_text(json.dumps(row) + "\n")
    assert "added: 1," in run("import", "--format", "bfcl", "new.db", "rows.jsonl").out
    assert "there already: 1" in run("import", "new.db", "rows.jsonl").out
    Path("bad.jsonl").write_text("{}\n")
    refused(run("import", "new.db", "bad.jsonl"), "bad.jsonl")
    refused(run("import", "new.db", "none.jsonl"), "none.jsonl")


def test_adapters_are_listed_and_moved(run: Callable[..., Said], tmp_path: Path) -> None:
    store = AdapterStore(tmp_path / "adapters")
    source = tmp_path / "trained"
    source.mkdir()
    (source / "adapter_config.json").write_text("{}")
    (source / "adapter_model.safetensors").write_bytes(b"1")
    version = store.add(
        source,
        base_model="tiny",
        parent=None,
        prompt_version="p",
        trained_on={},
        config_hash="c",
    ).version
    assert "base model alone" in run("adapters", "list", "adapters").out
    assert run("adapters", "promote", "adapters", version).code == 0
    assert store.live_version() == version
    assert json.loads(run("adapters", "list", "adapters", "--json").out)["live"] == version
    assert "base model alone" in run("adapters", "rollback", "adapters").out
    refused(run("adapters", "promote", "adapters", "v0009-0123456789ab"), "v0009")
    refused(run("adapters", "rollback", "adapters"), "nothing was live")
    refused(run("adapters", "list", "none"), "'none'")


def test_the_gate_says_what_is_missing(run: Callable[..., Said], logged: Path) -> None:
    refused(run("gate", logged, "none"), "'none'")
    Path("adapters").mkdir()
    refused(run("gate", logged, "adapters"), "holds no adapter")


def registered(name: str, value: str) -> Callable[..., tuple[EntryPoint, ...]]:
    entry = EntryPoint(name=name, value=value, group=plugins.GROUP)

    def found(*, group: str, **wanted: str) -> tuple[EntryPoint, ...]:
        return (entry,) if wanted.get("name", name) == name else ()

    return found


def test_a_registered_command_runs_with_its_own_options(
    run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("extra.py").write_text(
        "def greet(name: str, loud: bool = False) -> None:\n"
        "    'Say hello.'\n"
        "    print(f'HELLO {name}' if loud else f'hello {name}')\n"
    )
    sys.path.insert(0, str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "extra", raising=False)
    monkeypatch.setattr(plugins, "entry_points", registered("greet", "extra:greet"))
    assert "Say hello." in run("--help").out
    assert run("greet", "ada", "--loud").out == "HELLO ada\n"


@pytest.mark.parametrize("value", ["no_such_package:run", "json:no_such_function"])
def test_a_command_that_cannot_be_loaded_says_so_only_when_it_is_run(
    run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setattr(plugins, "entry_points", registered("odd", value))
    assert "odd" in run("--help").out
    refused(run("odd", "--any", "thing"), "'odd'", value, "pip install")


def test_a_foreign_package_named_trainer_is_told_at_start(
    run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert plugins.foreign_trainer() is None
    theirs = tmp_path / "site" / "trainer"
    theirs.mkdir(parents=True)
    (theirs / "__init__.py").write_text("")
    monkeypatch.delitem(sys.modules, "trainer", raising=False)
    sys.path.insert(0, str(theirs.parent))
    said = run("--version")
    assert said.code == 0
    assert "is not the one of tooln1-agent" in said.err
    assert "pip uninstall trainer" in said.err
