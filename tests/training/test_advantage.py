from __future__ import annotations

import pytest
import torch

from trainer.advantage import group_advantages, has_spread


def test_advantages_match_the_numbers_worked_by_hand() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    # mean 1/4; sample variance (9/16 + 3/16) / 3 = 1/4, so a standard deviation of 1/2.
    expected = torch.tensor([[0.75, -0.25, -0.25, -0.25]]) / (0.5 + 1e-6)
    torch.testing.assert_close(group_advantages(rewards), expected)
    torch.testing.assert_close(
        group_advantages(rewards, scale=False), torch.tensor([[0.75, -0.25, -0.25, -0.25]])
    )


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1])
@pytest.mark.parametrize("group_size", [2, 3, 7, 8])
def test_a_group_without_spread_gets_exact_zeros(reward: float, group_size: int) -> None:
    rewards = torch.full((3, group_size), reward)
    assert torch.equal(group_advantages(rewards), torch.zeros(3, group_size))
    assert not has_spread(rewards).any()


def test_groups_do_not_see_each_other() -> None:
    together = group_advantages(torch.tensor([[1.0, 0.0], [5.0, 9.0]]))
    alone = group_advantages(torch.tensor([[5.0, 9.0]]))
    torch.testing.assert_close(together[1:], alone)


@pytest.mark.parametrize("shape", [(4,), (2, 1)])
def test_rewards_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="G >= 2"):
        group_advantages(torch.zeros(shape))
