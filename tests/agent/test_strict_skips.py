"""The rule of the CI run: a skipped test fails it, unless the list gives a reason."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIPPED = "import pytest\n\ndef test_a():\n    pytest.skip('no data')\n\ndef test_b():\n    pass\n"
SKIPPED_MODULE = "import pytest\npytest.skip('no gpu', allow_module_level=True)\n"


def run_pytest(
    folder: Path, *options: str, tests: str, allowed: str = ""
) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder)
    (folder / "allowed_skips.txt").write_text(allowed)
    (folder / "test_it.py").write_text(tests)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", ".", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("tests", [SKIPPED, SKIPPED_MODULE + SKIPPED])
def test_an_unlisted_skip_fails_the_run_and_is_named(tmp_path: Path, tests: str) -> None:
    done = run_pytest(tmp_path, "--strict-skips", tests=tests)
    assert done.returncode != 0
    assert "test_it.py" in done.stdout.partition("not in allowed_skips.txt")[2]


def test_a_listed_skip_passes(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path, "--strict-skips", tests=SKIPPED, allowed="test_it.py::test_a  # needs data\n"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_listed_skip_needs_a_reason(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "--strict-skips", tests=SKIPPED, allowed="test_it.py::test_a\n")
    assert done.returncode != 0
    assert "expected 'GLOB  # reason'" in done.stdout + done.stderr


def test_without_the_option_a_skip_is_just_a_skip(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, tests=SKIPPED).returncode == 0
