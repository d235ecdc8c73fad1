"""What the learning benchmark rests on: stores with other labels, retrieval, and the sums."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.evidence import changed, coin
from benchmarks.evidence.arms import ARMS
from benchmarks.evidence.cells import QUICK
from benchmarks.evidence.claiming import claim
from benchmarks.evidence.measuring import old_skills
from benchmarks.evidence.retrieval import Nearest, with_examples
from benchmarks.evidence.rounds_plot import write_plot
from benchmarks.evidence.stores import (
    Change,
    Wrong,
    add_episodes,
    copy_store,
    first,
    judged_by,
    paid_by,
)
from benchmarks.evidence.tables import (
    cell_table,
    controls_promoted,
    headline,
    markdown,
    summarise,
)
from benchmarks.rounds import summarise as summarise_rounds
from examples.deployments import DEPLOYMENTS
from tests.agent.records import after, answer, asked, calling, label, turn
from tooln1_agent.cli.targets import load_agent
from tooln1_agent.examples import Exact, Example, NoCall, Verify, split_of
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.reward import judge
from trainer.seed.deployment import Request

ROOT = Path(__file__).parents[2]
MARINA = DEPLOYMENTS["marina"].deployment
REQUESTS = MARINA.requests(1, 40)
ASKED_FOR = (
    "before_mean", "after_mean", "gain_points_mean", "gain_points_sd", "old_skills_points",
    "no_call_points", "groups_with_spread_at_start", "labels_used", "train_seconds",
)  # fmt: skip
TRUTH = {request.text: request for request in REQUESTS}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Forty requests; the right reply to each was accepted, and each eighth label is wrong."""
    path = tmp_path / "replay.db"
    with ReplayStore(path) as opened:
        for number, request in enumerate(REQUESTS):
            meant = REQUESTS[number - 1] if number % 8 == 0 else request
            served = turn(calling(*meant.gold)) if meant.gold else answer()
            made = asked(MARINA.messages(request), served, tools=MARINA.tools)
            opened.begin(made)
            opened.add_label(label(made, created_at=after(number)))
    return path


def examples(path: Path) -> Sequence[Example]:
    with ReplayStore(path, create=False) as opened:
        return opened.examples().examples


def is_right(example: Example, request: Request) -> bool:
    match example.target:
        case Exact(alternatives=((*calls,),)):
            return judge(calls, tools=example.tools, target=request.target).value == 1.0
        case other:
            return other == request.target


def examples_after(store: Path, change: Change) -> list[Example]:
    """Return the examples of a copy in which the labels are changed, in the order of asking."""
    to = store.parent / "copy" / "replay.db"
    copy_store(store, to, change=change)
    with ReplayStore(store, create=False) as old, ReplayStore(to, create=False) as new:
        assert list(old.interactions()) == list(new.interactions())
    return sorted(examples(to), key=lambda example: example.created_at)


def test_a_copy_has_the_labels_that_came_in_first_and_every_interaction(store: Path) -> None:
    assert len(examples_after(store, first(12))) == 12
    assert len(examples(store)) == 40
    assert copy_store(store, store.parent / "few.db", change=first(40), most=7) == 7
    with ReplayStore(store.parent / "few.db", create=False) as few:
        assert few.count() == 7


@pytest.mark.parametrize(("share", "wrong"), [(0.0, 0), (0.05, 2), (0.2, 8)])
def test_just_the_wanted_share_of_the_labels_is_wrong(
    store: Path, share: float, wrong: int
) -> None:
    found = examples_after(store, Wrong(40, share, TRUTH, seed=3))
    pairs = [(example, TRUTH[example.messages[-1].content]) for example in found]
    assert len(pairs) == 40
    assert sum(not is_right(example, request) for example, request in pairs) == wrong


def test_where_a_coin_pays_the_labels_judge_at_the_gate_alone(store: Path) -> None:
    found = examples_after(store, paid_by(coin.RULE, count=40))
    for example in found:
        assert isinstance(example.target, Verify) == (split_of(example.messages) == "train")
    assert {example.split for example in found} == {"train", "holdout"}


def test_without_labels_the_rule_of_the_deployment_judges_every_request(store: Path) -> None:
    to = store.parent / "copy" / "replay.db"
    assert copy_store(store, to, change=first(0)) == 0
    assert judged_by(to, "entered_as_asked") == 40
    with ReplayStore(to, create=False) as opened:
        known = load_agent(DEPLOYMENTS["marina"].app).rules
        assert len(opened.examples().judgeable(known).examples) == 40


def test_rehearsed_episodes_are_imported_and_are_none_of_those_that_measure(store: Path) -> None:
    added = add_episodes(store, seed=1, count=40)
    imported = [example for example in examples(store) if example.imported]
    assert 30 <= added == len(imported)
    measured = {question.id for question in old_skills(seed=1, count=90)}
    assert measured.isdisjoint(example.id for example in imported)


def test_every_deployment_has_an_agent_whose_rule_is_a_coin() -> None:
    for name, place in DEPLOYMENTS.items():
        agent = load_agent(f"{coin.__name__}:{name}")
        assert agent.registry.specs == place.deployment.tools
        assert coin.RULE in agent.rules
    throws = [coin.coin(None) for _ in range(400)]  # type: ignore[arg-type]
    assert 150 < sum(throws) < 250


def test_the_nearest_texts_share_the_rarest_words() -> None:
    nearest = Nearest(["hail a courier", "hail a cab for Ada", "a lovely day", "courier with Ada"])
    assert nearest("courier, Ada!", 2) == [3, 0]
    assert nearest("zebra", 1) == [0]


@pytest.mark.parametrize("place", ["exchanges", "instructions"])
def test_corrections_are_shown_before_the_request_and_the_nearest_last(
    store: Path, place: str
) -> None:
    known = [e.model_copy(update={"split": "holdout"}) for e in examples(store)]
    (shown,) = with_examples(known[:1], known, k=2, place=place)  # type: ignore[arg-type]
    assert shown.messages[-1] == known[0].messages[-1]
    assert shown.messages[0].content.startswith(MARINA.instructions)
    assert shown.target == known[0].target
    said = [message.content for message in shown.messages]
    text = said[-1]
    if place == "exchanges":
        users = [m.content for m in shown.messages if m.role == "user"]
        assert len(users) == 3
        assert users[1] == text  # it is among the known ones here, and nearest to itself
    else:
        assert len(said) == 2
        assert said[0].count("Request: ") == 2
        assert said[0].rindex("Request: ") < said[0].rindex(text)


def result(arm: str, seed: int, right: float, **changes: object) -> dict[str, object]:
    shares = {"call": right, "no_call": 90.0, "well_formed": 99.0, "tools": 80.0, "calls": right}
    figures = {"right": right, **shares}
    found = {"deployment": "marina", "seed": seed, "arm": arm, "labels": 300, "held_out": figures}
    return found | {"old_skills": figures | {"right": 60.0}} | changes


def test_gains_are_taken_within_a_cell_and_cells_without_a_start_are_left_out() -> None:
    found = [
        result("none", 1, 20.0, start={"with_spread": 60.0}),
        result("none", 2, 40.0, start={"with_spread": 80.0}),
        result("grpo", 1, 80.0, gate="pass", train_seconds=200.0),
        result("grpo", 2, 90.0, gate=None, train_seconds=100.0),
        result("grpo", 3, 0.0, gate="pass"),
    ]
    rows = summarise(found)
    told = headline(rows)
    assert (told["before_mean"], told["after_mean"]) == (30.0, 85.0)
    assert told["gain_points_mean"] == 55.0
    assert told["gain_points_sd"] == pytest.approx(7.07, abs=0.01)
    assert (told["groups_with_spread_at_start"], told["train_seconds"]) == (70.0, 150.0)
    assert (told["old_skills_points"], told["no_call_points"], told["labels_used"]) == (0, 0, 300)
    assert rows["grpo"]["gate"] == {"pass": 1, "no adapter": 1}
    found.append(result("random", 1, 40.0, gate="pass"))
    assert (controls_promoted(rows), controls_promoted(summarise(found))) == (0, 1)
    assert "| 30.0 → 85.0 | +55.0 (7.1) |" in markdown(rows)
    assert "| `grpo` | 80.0 | 90.0 | 0.0 |" in cell_table(found)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_changed_deployment_has_other_names_one_more_tool_and_other_days(name: str) -> None:
    before, after_it = DEPLOYMENTS[name].deployment, changed.changed_by_name(name)
    old, new = ({spec.name for spec in place.tools} for place in (before, after_it))
    assert len(new) == len(old) + 1
    assert len(old & new) == len(old) // 2
    assert {errand.tool for errand in after_it.errands} == new
    assert before.conventions.date != after_it.conventions.date
    agent = load_agent(f"{changed.__name__}:{name}")
    assert agent.registry.specs == after_it.tools
    for request in after_it.requests(5, 60):
        assert all(agent.registry.validate(call)[1] is None for call in request.gold)


def test_rounds_are_averaged_over_courses_and_drawn(tmp_path: Path) -> None:
    found = [
        {"arm": arm, "round": number, "begin": {"right": begin}, "end": {"right": end},
         "labels": 100 * number, "gate": gate}
        for arm in ("none", "grpo")
        for number, begin, end, gate in ((1, 20.0, 60.0, "pass"), (1, 30.0, 80.0, None),
                                         (2, 50.0, 90.0, "pass"))
    ]  # fmt: skip
    rows = summarise_rounds(found)
    first_round, second = rows["grpo"]
    assert (first_round["begin"], first_round["end"], first_round["promoted"]) == (25.0, 70.0, 0.5)
    assert (second["labels"], second["courses"]) == (200, 1)
    write_plot(tmp_path / "rounds.svg", rows, changes_in=2)
    assert "the deployment changes" in (tmp_path / "rounds.svg").read_text()


def test_a_work_directory_is_of_one_set_of_settings(tmp_path: Path) -> None:
    for _ in range(2):
        claim(tmp_path / "work", QUICK, model="seed")
    with pytest.raises(ValueError, match="give another --work"):
        claim(tmp_path / "work", replace(QUICK, labels=9), model="seed")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_benchmark_goes_from_traffic_to_table_and_does_nothing_twice(tmp_path: Path) -> None:
    work, table = tmp_path / "work", tmp_path / "table.md"
    few = ["--deployments", "marina", "--seeds", "1", "--threads", "1", "--arms", "grpo"]
    command = [sys.executable, "benchmarks/learning.py", "--quick", "--json", *few]
    places = ["--work", str(work), "--table", str(table)]

    def run() -> dict[str, object]:
        done = subprocess.run(
            [*command, *places], cwd=ROOT, capture_output=True, text=True, timeout=800
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]

    found = run()
    assert found["labels_used"] == QUICK.labels
    assert all(name in found for name in ASKED_FOR)
    assert "| GRPO (`grpo`) |" in table.read_text()
    kept = {path: path.stat().st_mtime_ns for path in work.rglob("*.json")}
    assert run() == found
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


def test_what_an_arm_is_compared_with_comes_before_it() -> None:
    order = list(ARMS)
    assert order[0] == "none"
    for arm in ARMS.values():
        if arm.as_long_as is not None:
            assert order.index(arm.as_long_as) < order.index(arm.name)


def test_a_request_that_wants_no_call_is_mislabelled_with_one(store: Path) -> None:
    found = examples_after(store, Wrong(40, 1.0, TRUTH, seed=1))
    silent = [e for e in found if not TRUTH[e.messages[-1].content].gold]
    assert silent
    assert not any(isinstance(example.target, NoCall) for example in silent)
