"""A skipped test is a hole: with `--strict-skips` only those that are listed may be skipped.

Tests marked `vllm` or `verl` need an environment that is made apart: without `--vllm-python` or
`--verl-python` they are left out, which the head of the report says; `make test-vllm` and
`make test-verl`, which `.ci/run` calls, run them.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: what a property takes is not what it is about.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

_LIST = Path(__file__).with_name("allowed_skips.txt")
_APART = {"vllm": "vLLM", "verl": "verl"}
"""Marks of tests that need an interpreter of their own, and what it has to have."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help=f"fail when a test is skipped that {_LIST.name} does not list with a reason",
    )
    for mark, name in _APART.items():
        parser.addoption(
            f"--{mark}-python",
            type=Path,
            help=f"interpreter of an environment with {name}, for the tests marked {mark}",
        )


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [f"left out: tests marked {mark} (make test-{mark})" for mark in _lacking(config)]


def _lacking(config: pytest.Config) -> list[str]:
    """Return the marks of tests whose interpreter was not given."""
    return [mark for mark in _APART if config.getoption(f"--{mark}-python") is None]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lacking = _lacking(config)
    left_out = [item for item in items if any(map(item.get_closest_marker, lacking))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--strict-skips"):
        config.pluginmanager.register(_StrictSkips(_read_allowed(_LIST)), "strict-skips")


def _read_allowed(path: Path) -> tuple[str, ...]:
    """Read the globs of the list; a line without a reason is refused."""
    globs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        glob, _, reason = line.partition("  # ")
        if not glob.strip() or not reason.strip():
            raise pytest.UsageError(
                f"{path.name}:{number}: expected 'GLOB  # reason', got {line!r}"
            )
        globs.append(glob.strip())
    return tuple(globs)


class _StrictSkips:
    """Collects skips that are not on the list, and fails the session for them."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed
        self._holes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or any(fnmatch.fnmatch(report.nodeid, g) for g in self._allowed):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        self._holes[report.nodeid] = reason

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._holes and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._holes:
            terminalreporter.section("skipped, and not in allowed_skips.txt", red=True)
            for nodeid, reason in self._holes.items():
                terminalreporter.line(f"{nodeid}: {reason}")
