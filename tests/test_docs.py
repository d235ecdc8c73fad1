"""The docs tell the truth: their Python runs, their links lead somewhere, their names exist."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer.main import get_command as click_command

from tooln1_agent.cli.main import build

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"")
NAME = re.compile(r"`((?:tooln1_agent|tool_registry|trainer)(?:\.\w+)+)`")
COMMAND = re.compile(r"^(tooln1-agent .*)$", re.M)
HELLO_WORLD_LINES = 15


def blocks() -> list[object]:
    return [
        pytest.param(code, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, code in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
    ]


def commands() -> set[str]:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    return {line.partition(" #")[0].strip() for text in texts for line in COMMAND.findall(text)}


def page_id(page: Path) -> str:
    return page.name


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks())
def test_the_python_of_the_docs_runs(code: str, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_begins_with_a_short_hello_world() -> None:
    first = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))[0]
    assert len(first.splitlines()) <= HELLO_WORLD_LINES


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    links = {a or b for a, b in LINK.findall(page.read_text(encoding="utf-8"))}
    local = {link for link in links if "://" not in link}
    assert [link for link in sorted(local) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_modules_and_names_it_speaks_of_exist(page: Path) -> None:
    names = set(NAME.findall(page.read_text(encoding="utf-8")))
    assert [name for name in sorted(names) if not exists(name)] == []


@pytest.mark.parametrize("line", sorted(commands()))
def test_the_commands_it_shows_are_understood(line: str) -> None:
    """Parses the line as the command would, without running it."""
    found, given = click_command(build()), shlex.split(line)[1:]
    context = found.make_context("tooln1-agent", list(given), resilient_parsing=True)
    while hasattr(found, "resolve_command"):
        name, found, given = found.resolve_command(context, given)
        assert found is not None
        context = found.make_context(name, list(given), parent=context)


def exists(name: str) -> bool:
    """Whether a dotted name is a module, an attribute of one, or a group of entry points."""
    if entry_points(group=name):
        return True
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            return False
        return hasattr(importlib.import_module(module), attribute) if module else False
    return True
