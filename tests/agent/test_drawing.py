"""Where a point in [0, 1) falls among the probabilities of a vocabulary."""

from __future__ import annotations

import pytest
import torch

from tooln1_agent.engines.local.drawing import tokens_at


def draw_points(count: int) -> torch.Tensor:
    inside = torch.rand(count - 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return torch.cat([torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64), inside])


@pytest.mark.parametrize("vocabulary", [1, 63, 64, 65, 1000, 3328])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_token_is_the_first_whose_running_sum_is_above_the_point(
    vocabulary: int, sparse: bool
) -> None:
    points = draw_points(400)
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 4 * torch.randn((len(points), vocabulary), generator=generator)
    probs = logits.softmax(-1)
    if sparse:  # as after top-k: most tokens, and whole blocks of them, cannot be drawn
        keep = torch.rand(probs.shape, generator=generator) < 0.02
        keep[:, vocabulary // 2] = True
        probs = probs * keep
    found, whole = tokens_at(probs, points)
    running = probs.cumsum(-1, dtype=torch.float64)
    expected = torch.searchsorted(running, points[:, None] * running[:, -1:], right=True)[:, 0]
    torch.testing.assert_close(whole, running[:, -1])
    assert torch.equal(found[:-1], expected[:-1].clamp(max=vocabulary - 1))
    assert (probs.gather(-1, found[:, None]) > 0).all()


@pytest.mark.parametrize("scale", [1.0, 5.0, 15.0])
def test_rounding_never_leads_to_a_token_of_probability_0(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn((20_000, 256), generator=generator)
    logits[torch.rand(logits.shape, generator=generator) < 0.7] = -float("inf")
    logits[:, 77] = 0.0
    probs = logits.softmax(-1)
    ends = probs.double().unflatten(-1, (-1, 64)).sum(-1).cumsum(-1)
    for block in range(3):  # just where one block ends, and the numbers next to it
        share = ends[:, block] / ends[:, -1]
        for towards in (0.0, 0.5, 1.0):
            points = share.nextafter(share.new_tensor(towards)) if towards != 0.5 else share
            found, _ = tokens_at(probs, points.clamp(max=1.0 - 2**-53))
            assert (probs.gather(-1, found[:, None]) > 0).all()


def test_where_there_are_no_numbers_some_token_is_returned() -> None:
    found, _ = tokens_at(torch.full((2, 100), float("nan")), torch.tensor([0.0, 0.9]).double())
    assert ((found >= 0) & (found < 100)).all()
