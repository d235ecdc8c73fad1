"""The few exact tests that the gate rests on; standard library only, no approximation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """Both ends of a confidence interval for a share, within 0 to 1."""

    low: float
    high: float


def sign_test(for_it: int, against_it: int) -> float:
    """Return the one-sided exact p-value of "more cases speak for it than chance would give".

    The exact McNemar test on discordant pairs: P(X >= for_it) for X ~ Binomial(n, 1/2) with
    n = for_it + against_it. 1.0 without any case.
    """
    n = for_it + against_it
    ways = sum(math.comb(n, k) for k in range(for_it, n + 1))
    return ways / (1 << n)


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Say which hypotheses to reject so that the chance of any false rejection is <= alpha.

    Holm's step-down procedure (Scand. J. Statist. 6, 1979): the smallest p-value is held
    against alpha/m, the next against alpha/(m-1), until one stands.
    """
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def wilson(right: int, n: int, *, z: float = 1.959964) -> Interval:
    """Return Wilson's score interval for a share (JASA 22, 1927); 0 to 1 where n is 0.

    Args:
        z: quantile of the normal distribution; by default for 95 %, two-sided.
    """
    if n == 0:
        return Interval(0.0, 1.0)
    share, z2 = right / n, z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def spent_alpha(alpha: float, prior_uses: int) -> float:
    """Return the level for one more use of a holdout, so that all uses together stay <= alpha.

    alpha_k = alpha * 6 / (pi^2 k^2) for the k-th use; the sum over all k is alpha.
    """
    return alpha * 6.0 / (math.pi * (prior_uses + 1)) ** 2
