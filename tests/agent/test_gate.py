"""The gate passes what is shown to be better, and nothing that is worse where it matters."""

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.examples import AnyCall, Exact, Example, NoCall, Possible, PossibleCall, Target
from tooln1_agent.gate import GateConfig, judge_candidate
from tooln1_agent.gate_report import GateReport
from tooln1_agent.messages import Message

NUMBERED = {"type": "object", "properties": {"n": {"type": "integer"}}}
TOOLS = (ToolSpec(name="book", parameters=NUMBERED), ToolSpec(name="cancel", parameters=NUMBERED))
RIGHT, WRONG, DODGE, MALFORMED = "right", "wrong", "dodge", "malformed"


def example(number: int, target: Target, **fields: object) -> Example:
    values = {
        "id": f"e{number}",
        "messages": (Message(role="user", content=f"request {number}"),),
        "tools": TOOLS,
        "target": target,
        "split": "holdout",
        "source": "feedback",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Example.model_validate({**values, **fields})


def call_example(number: int, tool: str = "book") -> Example:
    return example(number, Exact(alternatives=((ToolCall(name=tool, arguments={"n": number}),),)))


def text_for(one: Example, kind: str) -> str:
    """Write a completion that is right, wrong, a dodge or malformed for an example."""
    name = "book"
    if isinstance(one.target, Exact):
        name = one.target.alternatives[0][0].name
    number = one.id.removeprefix("e")
    call = (
        f'<think>do</think><tool_call>[{{"name": "{name}", "arguments": {{"n": %s}}}}]</tool_call>'
    )
    if kind == DODGE or (kind == RIGHT and not one.is_call):
        return "<think>nothing fits</think>Could you tell me more about what you would like?"
    if kind == MALFORMED:
        return (call % number).removeprefix("<think>do</think>")
    return call % (number if kind == RIGHT else -1)


def texts(examples: Sequence[Example], kinds: Sequence[str]) -> list[str]:
    return [text_for(one, kind) for one, kind in zip(examples, kinds, strict=True)]


def judge(
    examples: Sequence[Example],
    live: Sequence[str],
    candidate: Sequence[str],
    *,
    config: GateConfig | None = None,
    prior_uses: int = 0,
) -> GateReport:
    """Judge by kinds of replies (right, wrong, …), one for each example and side."""
    return judge_candidate(
        examples,
        texts(examples, live),
        texts(examples, candidate),
        config=config or GateConfig(),
        candidate="v0002-bbbbbbbbbbbb",
        live="v0001-aaaaaaaaaaaa",
        prior_uses=prior_uses,
    )


def calls(n: int) -> list[Example]:
    return [call_example(number) for number in range(n)]


def mixed(n_calls: int, n_no_calls: int) -> list[Example]:
    return calls(n_calls) + [example(n_calls + i, NoCall()) for i in range(n_no_calls)]


def test_a_candidate_that_wins_clearly_passes() -> None:
    report = judge(mixed(40, 10), [WRONG] * 20 + [RIGHT] * 30, [WRONG] * 10 + [RIGHT] * 40)
    assert report.outcome == "pass", report.reasons
    assert (report.wins, report.losses, report.n) == (10, 0, 50)
    assert report.p_value == 2**-10
    assert report.live == "v0001-aaaaaaaaaaaa"


def test_the_numbers_of_a_pass_are_reported_apart_for_call_and_no_call() -> None:
    report = judge(mixed(40, 10), [WRONG] * 20 + [RIGHT] * 30, [WRONG] * 10 + [RIGHT] * 40)
    assert (report.call.n, report.call.live_right, report.call.candidate_right) == (40, 20, 30)
    assert (report.no_call.n, report.no_call.live_right) == (10, 10)
    assert report.label_mix == {"feedback": 50}
    shown = "\n".join(report.lines())
    assert "gate: PASS" in shown
    assert "75.0% [59.8%,  85.8%]" in shown


def test_a_fall_in_call_accuracy_is_refused_however_much_no_call_rises() -> None:
    # 50 call examples: 30 right before, 29 after. 50 no-call examples: none before, all after.
    examples = mixed(50, 50)
    live = [RIGHT] * 30 + [WRONG] * 70
    candidate = [RIGHT] * 29 + [WRONG] * 21 + [RIGHT] * 50
    report = judge(examples, live, candidate)
    assert (report.wins, report.losses) == (50, 1)
    assert report.p_value < 1e-12
    assert report.outcome == "refuse"
    assert "call: fell from 30 to 29 right of 50" in report.reasons[0]


def test_a_stated_margin_allows_a_small_fall_in_call_accuracy() -> None:
    examples = mixed(50, 50)
    live = [RIGHT] * 30 + [WRONG] * 70
    candidate = [RIGHT] * 29 + [WRONG] * 21 + [RIGHT] * 50
    config = GateConfig(call_margin=0.02)
    assert judge(examples, live, candidate, config=config).outcome == "pass"


def test_a_fall_in_no_call_accuracy_is_refused_however_much_calls_rise() -> None:
    examples = mixed(50, 20)
    live = [WRONG] * 50 + [RIGHT] * 20
    candidate = [RIGHT] * 50 + [RIGHT] * 17 + [WRONG] * 3
    report = judge(examples, live, candidate)
    assert report.outcome == "refuse"
    assert "no call: fell from 20 to 17" in report.reasons[0]


def test_a_fall_on_one_tool_is_refused_though_the_others_rise() -> None:
    examples = [call_example(i, "book") for i in range(60)]
    examples += [call_example(60 + i, "cancel") for i in range(10)]
    live = [WRONG] * 30 + [RIGHT] * 40
    candidate = [RIGHT] * 60 + [RIGHT] * 7 + [WRONG] * 3
    report = judge(examples, live, candidate)
    assert report.outcome == "refuse"
    assert report.reasons[0].startswith("cancel: fell from 10 to 7 right of 10")
    assert [(tool.name, tool.n) for tool in report.tools] == [("book", 60), ("cancel", 10)]


def test_a_significant_fall_within_every_margin_is_refused() -> None:
    wide = GateConfig(call_margin=0.5, no_call_margin=0.5, tool_margin=0.5)
    examples = mixed(60, 60)
    live = [WRONG] * 60 + [RIGHT] * 60
    candidate = [RIGHT] * 60 + [RIGHT] * 48 + [WRONG] * 12
    report = judge(examples, live, candidate, config=wide)
    assert report.outcome == "refuse"
    assert "no call" in report.reasons[0]
    assert "more than chance" in report.reasons[0]


def test_a_fall_of_the_format_is_refused_though_more_calls_are_right() -> None:
    examples = calls(60)
    live = [WRONG] * 60
    candidate = [RIGHT] * 50 + [MALFORMED] * 10
    report = judge(examples, live, candidate)
    assert report.outcome == "refuse"
    assert any(reason.startswith("well formed: fell from 60 to 50") for reason in report.reasons)


def test_a_candidate_that_avoids_calling_is_refused() -> None:
    examples = calls(60)
    report = judge(examples, [WRONG] * 60, [RIGHT] * 50 + [DODGE] * 10)
    assert report.outcome == "refuse"
    assert "avoids calling" in report.reasons[0]
    assert (report.live_dodges, report.candidate_dodges) == (0, 10)


def test_one_lost_must_pass_example_is_enough_to_be_refused() -> None:
    examples = calls(60)
    live, candidate = [RIGHT] + [WRONG] * 59, [WRONG] + [RIGHT] * 59
    assert judge(examples, live, candidate).outcome == "pass"
    report = judge(examples, live, candidate, config=GateConfig(must_pass=("e0", "e5")))
    assert report.outcome == "refuse"
    assert report.reasons[0] == "must-pass example 'e0' was lost"


def test_a_must_pass_example_that_is_not_there_keeps_from_passing() -> None:
    report = judge(calls(60), [WRONG] * 60, [RIGHT] * 60, config=GateConfig(must_pass=("gone",)))
    assert report.outcome == "inconclusive"
    assert "'gone'" in report.reasons[0]


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_a_drift_of_the_reply_length_is_refused(factor: float) -> None:
    examples = calls(40)
    short, long = "so", "so " * 75
    ours, theirs = (long, short) if factor > 1 else (short, long)

    def thought(kind: str, one: Example, words: str) -> str:
        return text_for(one, kind).replace("do", words, 1)

    report = judge_candidate(
        examples,
        [thought(WRONG, one, theirs) for one in examples],
        [thought(RIGHT, one, ours) for one in examples],
        config=GateConfig(),
        candidate="c",
        live=None,
        prior_uses=0,
    )
    assert report.outcome == "refuse"
    assert "median reply" in report.reasons[0]
    assert report.length_ratio == pytest.approx(factor, rel=0.35)


def test_the_length_of_malformed_replies_is_not_a_drift() -> None:
    examples = calls(40)
    report = judge_candidate(
        examples,
        ["ramble " * 400] * 40,
        texts(examples, [RIGHT] * 40),
        config=GateConfig(),
        candidate="c",
        live=None,
        prior_uses=0,
    )
    assert report.outcome == "pass"
    assert report.length_ratio is None


@pytest.mark.parametrize("n", [0, 1, 29])
def test_a_small_holdout_decides_nothing(n: int) -> None:
    report = judge(calls(n), [WRONG] * n, [RIGHT] * n)
    assert report.outcome == "inconclusive"
    assert report.reasons[0].startswith(f"{n} held-out examples decide nothing, at least 30")
    assert report.lines()


def test_too_few_differences_decide_nothing() -> None:
    report = judge(calls(200), [WRONG] * 200, [RIGHT] * 5 + [WRONG] * 195)
    assert report.outcome == "inconclusive"
    assert "differ on 5 of 200" in report.reasons[0]


def test_each_use_of_a_holdout_raises_what_has_to_be_shown() -> None:
    examples, live = calls(60), [WRONG] * 60
    candidate = [RIGHT] * 8 + [WRONG] * 52  # p = 1/256 = 0.0039
    outcomes = [judge(examples, live, candidate, prior_uses=k).outcome for k in range(4)]
    assert outcomes == ["pass", "pass", "inconclusive", "inconclusive"]
    last = judge(examples, live, candidate, prior_uses=3)
    assert "after 3 earlier uses" in last.reasons[0]
    assert last.alpha == pytest.approx(0.05 * 6 / math.pi**2 / 16)


KINDS = st.sampled_from([RIGHT, WRONG, DODGE, MALFORMED])


@settings(deadline=None, max_examples=60)
@given(st.lists(KINDS, max_size=70), st.integers(min_value=0, max_value=70))
def test_live_against_itself_never_passes(kinds: list[str], n_calls: int) -> None:
    n_calls = min(n_calls, len(kinds))
    report = judge(mixed(n_calls, len(kinds) - n_calls), kinds, kinds)
    assert report.outcome == "inconclusive"
    assert (report.wins, report.losses) == (0, 0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(KINDS, KINDS), min_size=30, max_size=70), st.data())
def test_a_candidate_that_is_not_better_never_passes(
    kinds: list[tuple[str, str]], data: st.DataObject
) -> None:
    n_calls = data.draw(st.integers(min_value=0, max_value=len(kinds)))
    live, candidate = zip(*kinds, strict=True)
    report = judge(mixed(n_calls, len(kinds) - n_calls), live, candidate)
    if report.overall.candidate_right <= report.overall.live_right:
        assert report.outcome != "pass"
    if report.call.candidate_right < report.call.live_right:
        assert report.outcome != "pass"


def simulate(draws: int, *, live: float, candidate: float, seed: int) -> float:
    """Return the share of passes among draws with the given chances to be right."""
    draw = random.Random(seed)
    examples = mixed(60, 20)

    def kinds(chance: float) -> list[str]:
        return [RIGHT if draw.random() < chance else WRONG for _ in examples]

    outcomes = [judge(examples, kinds(live), kinds(candidate)).outcome for _ in range(draws)]
    return outcomes.count("pass") / draws


@pytest.mark.slow
def test_of_two_equally_good_the_candidate_passes_at_most_five_per_cent_of_the_time() -> None:
    for seed, chance in enumerate((0.2, 0.5, 0.8)):
        passed = simulate(400, live=chance, candidate=chance, seed=seed)
        assert passed < 0.05, (chance, passed)


def test_live_against_live_passes_at_most_five_of_a_hundred_held_out_sets() -> None:
    draw = random.Random(11)
    outcomes = []
    for _ in range(100):
        examples = mixed(draw.randint(30, 90), draw.randint(0, 30))
        chances = [draw.betavariate(0.7, 0.7) for _ in examples]  # most are easy or hard for both
        live, again = (
            [RIGHT if draw.random() < chance else WRONG for chance in chances] for _ in range(2)
        )
        outcomes.append(judge(examples, live, again).outcome)
    assert outcomes.count("pass") <= 5


def test_a_worse_candidate_passes_almost_never_and_a_much_better_one_mostly() -> None:
    assert simulate(100, live=0.6, candidate=0.5, seed=1) == 0.0
    assert simulate(100, live=0.3, candidate=0.8, seed=2) > 0.9


def test_each_kind_of_target_counts_under_its_tools() -> None:
    possible = Possible(calls=(PossibleCall(name="book", arguments={"n": [1]}),))
    both = Exact(
        alternatives=((ToolCall(name="book", arguments={}), ToolCall(name="cancel", arguments={})),)
    )
    examples = [example(1, possible), example(2, both), example(3, AnyCall()), example(4, NoCall())]
    report = judge(examples, [RIGHT] * 4, [RIGHT] * 4)
    assert [(tool.name, tool.n) for tool in report.tools] == [("book", 2), ("cancel", 1)]
    assert (report.call.n, report.no_call.n) == (3, 1)
    assert (report.call.live_right, report.no_call.live_right) == (2, 1)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [({"split": "train"}, "train"), ({"source": "hindsight"}, "hindsight")],
)
def test_an_example_unfit_to_judge_by_is_refused(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        judge([example(1, NoCall(), **fields)], [RIGHT], [RIGHT])


def test_texts_and_examples_must_match_one_to_one() -> None:
    with pytest.raises(ValueError, match="twice"):
        judge([call_example(1), call_example(1)], [RIGHT] * 2, [RIGHT] * 2)
    with pytest.raises(ValueError, match="shorter"):
        judge_candidate(
            calls(2), ["a", "b"], ["a"], config=GateConfig(), candidate="c", live=None, prior_uses=0
        )


def test_a_report_survives_its_json() -> None:
    report = judge(mixed(40, 5), [WRONG] * 45, [RIGHT] * 45)
    assert GateReport.model_validate_json(report.model_dump_json()) == report
    assert any("too few to see a harm" in reason for reason in report.reasons)


def test_long_tables_and_lists_are_cut_for_reading() -> None:
    examples = [call_example(i, f"tool{i:02d}") for i in range(40)]
    shown = "\n".join(judge(examples, [RIGHT] * 40, [WRONG] * 40).lines())
    assert "and 28 tools with fewer examples" in shown
    assert "e4 and 35 more" in shown


def half_imported() -> list[Example]:
    """Forty prompts that were served, then forty that were imported."""
    served = [call_example(number) for number in range(40)]
    imported = [call_example(number) for number in range(40, 80)]
    return [*served, *(one.model_copy(update={"imported": True}) for one in imported)]


def test_what_was_learned_does_not_make_up_for_imported_prompts_that_were_unlearned() -> None:
    live = [WRONG] * 40 + [RIGHT] * 40
    candidate = [RIGHT] * 40 + [RIGHT] * 37 + [WRONG] * 3
    report = judge(half_imported(), live, candidate)
    assert report.outcome == "refuse"
    assert report.reasons[0].startswith("imported: fell from 40 to 37 right of 40")
    assert any(line.startswith("imported ") for line in report.lines())
    lenient = GateConfig(imported_margin=0.1)
    assert judge(half_imported(), live, candidate, config=lenient).outcome == "pass"


def test_imported_prompts_are_a_slice_only_beside_served_ones() -> None:
    examples = half_imported()
    for part in (examples[:40], examples[40:]):
        assert judge(part, [WRONG] * 40, [RIGHT] * 40).imported is None
