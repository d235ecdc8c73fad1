"""The wheel: the three packages with the seed model, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("tool_registry", "tooln1_agent", "trainer")
MAX_WEIGHTS_BYTES = 10_000_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_it_holds_the_three_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {*PACKAGES, "tooln1_agent-0.1.0.dist-info"}


def test_it_holds_every_module_and_type_marker(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for pattern in ("*.py", "py.typed")
        for path in (ROOT / package).rglob(pattern)
    }
    assert modules - names == set()
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_it_holds_the_seed_model_within_its_size(wheel: zipfile.ZipFile) -> None:
    sizes = {i.filename: i.file_size for i in wheel.infolist() if "/seed_model/" in i.filename}
    names = {name.rpartition("/")[2] for name in sizes}
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= names
    assert sum(sizes.values()) <= MAX_WEIGHTS_BYTES


def test_it_holds_no_cache_and_no_data(wheel: zipfile.ZipFile) -> None:
    odd = ("__pycache__", ".pyc", ".db", ".jsonl", ".gz", ".ckpt", ".pt")
    assert [name for name in wheel.namelist() if any(part in name for part in odd)] == []


def test_the_base_install_is_light_and_the_licence_is_inside(wheel: zipfile.ZipFile) -> None:
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    headers = Parser().parsestr(wheel.read(metadata).decode())
    base = [r for r in headers.get_all("Requires-Dist", []) if "extra ==" not in r]
    heavy = ("torch", "transformers", "peft", "vllm", "matplotlib", "openai", "pytest")
    assert [line for line in base if line.startswith(heavy)] == []
    assert headers["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())
