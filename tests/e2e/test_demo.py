"""The demo: every step in small, with real processes; and what it does when a step fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from examples.demo import make_room
from examples.demo_config import DemoConfig, FeedbackMix, fast_precision
from examples.demo_people import Mood, People, Served
from examples.demo_processes import DemoError
from examples.demo_results import Results
from examples.demo_scores import Tally, Verdict, changes, tally
from examples.demo_traffic import draw_moods
from examples.home_office.tools import TOOLS
from examples.home_office.users import INSTRUCTIONS, Request, held_out, traffic

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "examples.demo", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=280,
    )


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2).is_success
    except httpx.TransportError:
        return False


def address(log: Path) -> str | None:
    found = re.search(r"http://[\d.]+:\d+", log.read_text()) if log.exists() else None
    return found[0] if found else None


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("sse4_2 avx2", ("--precision", "float32")),
        ("avx512_bf16", ("--precision", "bfloat16", "--sampling-precision", "float32")),
        ("avx512_bf16 amx_bf16", ("--precision", "bfloat16", "--sampling-precision", "bfloat16")),
        (None, ("--precision", "float32")),
    ],
)
def test_the_demo_trains_in_the_numbers_that_the_processor_is_fastest_with(
    tmp_path: Path, flags: str | None, expected: tuple[str, ...]
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor : 0\nflags : fpu {flags} sse\n")
    assert fast_precision(cpuinfo) == expected


@pytest.mark.slow
def test_every_step_is_taken_and_no_request_fails(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("--fast", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((out / "results.json").read_text())
    assert figures["failed"] == 0
    assert figures["requests"] > DemoConfig().agent_share
    assert figures["promoted"]
    assert figures["after"]["all"]["n"] == figures["before"]["all"]["n"] == 8
    assert figures["labels"]
    url = address(out / "server.log")
    assert url is not None
    assert not is_up(url), "the server was left running"
    report = (out / "report.html").read_text()
    assert report.count("<svg") == 3
    assert not re.search(r'(?:src|href)="(?:https?:)?//', report), "the report opens offline"
    assert "<script" not in report


@pytest.mark.slow
def test_a_failing_step_ends_it_with_a_reason_and_no_traceback(tmp_path: Path) -> None:
    done = run("--fast", "--out", str(tmp_path / "out"), "--model", str(tmp_path / "no-model"))
    assert done.returncode == 1
    assert "the server ended while starting" in done.stdout
    assert "no-model" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_stopped_demo_leaves_no_server_behind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    demo = subprocess.Popen(command("--fast", "--out", str(out)), cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while (url := address(out / "server.log")) is None or not is_up(url):
            assert time.monotonic() < deadline
            assert demo.poll() is None
            time.sleep(0.1)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(timeout=60) != 0
    finally:
        demo.kill()
    assert not is_up(url)


def test_it_never_removes_a_directory_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DemoError, match="not of an earlier demo"):
        make_room(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_it_removes_what_an_earlier_run_left(tmp_path: Path) -> None:
    make_room(tmp_path / "out")
    (tmp_path / "out" / "replay.db").touch()
    make_room(tmp_path / "out")
    assert not (tmp_path / "out" / "replay.db").exists()


@pytest.fixture
def people() -> People:
    return People("http://127.0.0.1:1", tools=TOOLS, instructions=INSTRUCTIONS)


@pytest.fixture
def request_with_call() -> Request:
    return next(request for request in traffic(0, 20) if request.gold)


def served(request: Request, mood: Mood, *, is_right: bool) -> Served:
    calls = request.gold if is_right else ()
    return Served(request, mood, 0.0, 0.1, interaction="int_1", calls=calls)


@pytest.mark.parametrize(
    ("mood", "is_right", "verdict"),
    [
        (Mood("client"), True, None),
        (Mood("client", speaks=True), True, "correction"),
        (Mood("client", speaks=True, accepts=True), True, "accept"),
        (Mood("client", speaks=True, accepts=True), False, "correction"),
        (Mood("client", speaks=True, errs=True), False, "accept"),
        (Mood("agent", speaks=True, accepts=True), True, "correction"),
    ],
)
def test_people_say_what_their_mood_and_the_answer_make_them_say(
    people: People, request_with_call: Request, mood: Mood, is_right: bool, verdict: str | None
) -> None:
    body = people.feedback_on(served(request_with_call, mood, is_right=is_right))
    assert (None if body is None else body["verdict"]) == verdict


def test_about_half_of_the_people_speak_and_a_seed_decides_which() -> None:
    moods = draw_moods(DemoConfig(requests=500, feedback=FeedbackMix()))
    assert moods == draw_moods(DemoConfig(requests=500, feedback=FeedbackMix()))
    assert 0.5 < sum(mood.speaks for mood in moods) / 500 < 0.6
    assert {mood.mode for mood in moods} == {"agent", "client"}


def test_nothing_that_is_measured_was_ever_traffic() -> None:
    config = DemoConfig()
    asked = traffic(config.seed, config.requests + config.trickle_requests)
    measured = held_out(config.seed, config.eval_requests)
    assert {r.text for r in asked}.isdisjoint(r.text for r in measured)


def test_a_failed_request_fails_the_demo(request_with_call: Request) -> None:
    results = Results(DemoConfig(), started_s=0.0)
    one = Served(request_with_call, Mood("client"), 0.0, 0.1, error="APIConnectionError: gone")
    results.trickle = [one]
    with pytest.raises(DemoError, match=r"1 of 1 requests failed.*gone"):
        results.check()


def test_scores_tell_calls_from_no_calls_and_pair_the_same_requests() -> None:
    def verdict(is_call: bool, ok: bool) -> Verdict:
        return Verdict("", is_call, ok, "", "", None)

    before = [verdict(True, False), verdict(True, True), verdict(False, True)]
    after = [verdict(True, True), verdict(True, False), verdict(False, True)]
    assert tally(before, "call") == Tally(1, 2)
    assert tally(before, "no call") == Tally(1, 1)
    assert tally(before, "all") == Tally(2, 3)
    assert changes(before, after) == (1, 1)
    assert str(Tally(5, 10)) == "50.0% (23.7% to 76.3%; 5 of 10)"
    assert str(Tally(0, 0)) == "none"
