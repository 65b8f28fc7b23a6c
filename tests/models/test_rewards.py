import numpy as np
import pytest
import torch

from models.rewards import RewardDefinition, RewardTerm

REWARD = RewardDefinition("r1", (RewardTerm("click", 1.0), RewardTerm("watch", 2.0, cap=0.5)))


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_reward_is_the_weighted_sum_of_capped_labels(kind):
    labels = kind([[1.0, 0.9], [0.0, 0.25], [1.0, 0.0]])
    assert REWARD.reward(labels).tolist() == [2.0, 0.5, 1.0]


def test_tasks_and_weights_keep_the_order_of_the_terms():
    assert REWARD.tasks == ("click", "watch") and REWARD.task_rewards == (1.0, 2.0)


def test_wrong_columns_and_weights_are_refused():
    with pytest.raises(ValueError, match=r"2 tasks .* found labels with 3 columns"):
        REWARD.reward(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="finite weight and a cap above 0"):
        RewardTerm("click", 1.0, cap=0.0)
