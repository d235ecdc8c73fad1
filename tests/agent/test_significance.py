"""The exact tests agree with cases worked by hand and keep their promises."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooln1_agent.significance import holm, sign_test, spent_alpha, wilson

COUNTS = st.integers(min_value=0, max_value=60)


@pytest.mark.parametrize(
    ("wins", "losses", "p_value"),
    [
        (0, 0, 1.0),
        (5, 0, 1 / 32),
        (9, 1, 11 / 1024),
        (0, 5, 1.0),
        (3, 3, 42 / 64),
        (3000, 2000, 0.0),
    ],
)
def test_the_sign_test_counts_the_ways(wins: int, losses: int, p_value: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p_value, abs=1e-30)


@given(COUNTS, COUNTS)
def test_one_more_win_never_makes_it_less_likely(wins: int, losses: int) -> None:
    assert sign_test(wins + 1, losses) <= sign_test(wins, losses) <= 1.0


@given(COUNTS, COUNTS)
def test_wins_and_losses_share_all_outcomes_but_the_one_they_have_in_common(
    wins: int, losses: int
) -> None:
    n = wins + losses
    common = math.comb(n, wins) / 2**n
    assert sign_test(wins, losses) + sign_test(losses, wins) == pytest.approx(1.0 + common)


def test_holm_stops_at_the_first_that_stands() -> None:
    # Against 0.05/4, 0.05/3, 0.05/2: the third stands, and so does the fourth behind it.
    assert holm([0.04, 0.001, 0.016, 0.026], 0.05) == [False, True, True, False]
    assert holm([], 0.05) == []


def test_holm_rejects_something_true_at_most_alpha_of_the_time() -> None:
    draw = random.Random(1)
    false_alarms = sum(any(holm([draw.random() for _ in range(8)], 0.05)) for _ in range(2000))
    assert false_alarms / 2000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_the_wilson_interval_is_the_published_one() -> None:
    # Newcombe, Statist. Med. 17 (1998), table I: 81 of 263, and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@given(COUNTS, COUNTS)
def test_the_wilson_interval_holds_the_share(right: int, wrong: int) -> None:
    low, high = wilson(right, right + wrong)
    assert 0.0 <= low <= high <= 1.0
    if right + wrong:
        assert low - 1e-9 <= right / (right + wrong) <= high + 1e-9


def test_all_uses_of_a_holdout_together_spend_alpha() -> None:
    assert spent_alpha(0.05, 0) == pytest.approx(0.0304, abs=5e-5)
    spent = sum(spent_alpha(0.05, uses) for uses in range(20_000))
    assert 0.0499 < spent < 0.05
