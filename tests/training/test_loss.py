from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from trainer.loss import (
    clipped_loss,
    clipped_share,
    completion_ratios,
    importance_weights,
    k2_divergence,
    k3_divergence,
    masked_sum,
    token_ratios,
    weighted_loss,
)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.0, 2.0, -2.0),
        (1.1, 2.0, -2.2),  # inside the range
        (1.5, 2.0, -2.4),  # a good token grows no further than 1.2
        (0.5, 2.0, -1.0),  # a good token that shrank keeps its gradient
        (0.5, -1.0, 0.8),  # a bad token shrinks no further than 0.8
        (1.5, -1.0, 1.5),  # a bad token that grew keeps its gradient
    ],
)
def test_the_surrogate_matches_the_cases_worked_by_hand(
    ratio: float, advantage: float, expected: float
) -> None:
    loss = clipped_loss(torch.tensor([[ratio]]), advantages=torch.tensor([advantage]))
    torch.testing.assert_close(loss, torch.tensor([[expected]]))


def test_the_upper_clip_is_its_own() -> None:
    loss = clipped_loss(
        torch.tensor([[1.5]]), advantages=torch.ones(1), clip_low=0.2, clip_high=0.28
    )
    torch.testing.assert_close(loss, torch.tensor([[-1.28]]))


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ("token", [[0.5, 2.0, 1.0], [1.0, 2.0, 1.0]]),  # 3 and 2.5 are cut to 2
        ("completion", [[1.5, 1.5, 1.5], [2.0, 2.0, 2.0]]),  # 0.5 x 3, and 2.5
    ],
)
def test_weights_are_the_probability_now_over_then_up_to_the_cap(
    of: Literal["token", "completion"], expected: list[list[float]]
) -> None:
    ratios = torch.tensor([[0.5, 3.0, 7.0], [1.0, 2.5, 7.0]])
    now = torch.full((2, 3), -2.0, requires_grad=True)
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])  # what stands on padding is not read
    weights = importance_weights(now, now.detach() - ratios.log(), mask=mask, cap=2.0, of=of)
    torch.testing.assert_close(weights, torch.tensor(expected))
    assert not weights.requires_grad


@pytest.mark.parametrize("of", ["token", "completion"])
def test_what_the_policy_itself_drew_weighs_exactly_one(
    of: Literal["token", "completion"],
) -> None:
    now = torch.tensor([[-0.1, -77.7]])
    weights = importance_weights(now, now, mask=torch.ones(1, 2), cap=1.0, of=of)
    assert weights.tolist() == [[1.0, 1.0]]


def test_a_clipped_token_has_no_gradient() -> None:
    logprobs = torch.tensor([[math.log(1.5), math.log(1.1)]], requires_grad=True)
    ratios = token_ratios(logprobs, torch.zeros(1, 2))
    clipped_loss(ratios, advantages=torch.ones(1)).sum().backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, torch.tensor([[0.0, -1.1]]))


def test_a_token_beyond_the_clip_of_a_weight_keeps_its_gradient() -> None:
    logprobs = torch.tensor([[math.log(1.5), math.log(1.1)]], requires_grad=True)
    ratios = token_ratios(logprobs, torch.zeros(1, 2))
    loss = weighted_loss(
        ratios, logprobs, advantages=torch.tensor([2.0]), clip_low=1.0, clip_high=0.2
    )
    torch.testing.assert_close(loss, torch.tensor([[-2.4 * math.log(1.5), -2.2 * math.log(1.1)]]))
    loss.sum().backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, torch.tensor([[-2.4, -2.2]]))


def test_the_ratio_of_a_completion_is_the_geometric_mean_of_its_real_tokens() -> None:
    ratios = torch.tensor([[2.0, 0.5, 0.125, 99.0], [4.0, 1.0, 99.0, 99.0]])
    mask = torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0]])
    logprobs = ratios.log().requires_grad_()
    found = completion_ratios(logprobs, torch.zeros(2, 4), mask=mask)
    torch.testing.assert_close(found, torch.tensor([[0.5] * 4, [2.0] * 4]))
    found[:, 0].sum().backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, torch.tensor([[0.5 / 3] * 3 + [0], [1, 1, 0, 0]]))


def test_at_ratio_one_the_gradient_is_minus_the_advantage_over_the_tokens() -> None:
    torch.manual_seed(0)
    logprobs = (-torch.rand(3, 4)).requires_grad_()
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    advantages = torch.tensor([1.5, -0.5, 0.0])
    per_token = clipped_loss(token_ratios(logprobs, logprobs.detach()), advantages=advantages)
    (masked_sum(per_token, mask) / mask.sum()).backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, -advantages[:, None] * mask / 7.0)


def test_k2_has_the_gradient_of_the_divergence_from_the_reference() -> None:
    scores = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).log_softmax(0)
    policy = scores.log_softmax(0)
    (expected,) = torch.autograd.grad((policy.exp() * (policy - ref)).sum(), scores)
    # The mean over the policy's own draws, whose probabilities are constants to the gradient.
    estimate = (
        scores.log_softmax(0).exp().detach() * k2_divergence(scores.log_softmax(0), ref)
    ).sum()
    (found,) = torch.autograd.grad(estimate, scores)
    torch.testing.assert_close(found, expected)


def test_k3_matches_the_numbers_worked_by_hand() -> None:
    logprobs = torch.tensor([[math.log(0.5), math.log(0.2)]])
    ref = torch.tensor([[math.log(0.25), math.log(0.2)]])
    expected = torch.tensor([[0.5 - math.log(0.5) - 1.0, 0.0]])
    torch.testing.assert_close(k3_divergence(logprobs, ref), expected)


def test_k3_averages_to_the_true_divergence_and_is_never_negative() -> None:
    torch.manual_seed(1)
    policy, ref = torch.randn(2, 50).log_softmax(dim=1)
    each = k3_divergence(policy, ref)
    assert (each >= 0).all()
    torch.testing.assert_close((policy.exp() * each).sum(), (policy.exp() * (policy - ref)).sum())


def test_padding_counts_for_nothing_whatever_stands_on_it() -> None:
    values = torch.tensor([[1.0, 2.0, float("nan")], [4.0, float("inf"), 0.0]], requires_grad=True)
    total = masked_sum(values, torch.tensor([[1.0, 1, 0], [1, 0, 0]]))
    assert total.item() == 7.0
    total.backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[1, 1, 0], [1, 0, 0]]


def test_the_clipped_share_counts_both_sides() -> None:
    ratios = torch.tensor([[0.7, 0.9, 1.1, 1.25, 1.3]])
    share = clipped_share(ratios, clip_low=0.2, clip_high=0.28)
    assert share.tolist() == [[1, 0, 0, 0, 1]]
