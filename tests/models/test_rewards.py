import pytest
import torch

from models.rewards import expected_reward, reward_log_odds, session_returns


def test_expected_reward_by_hand():
    logits = torch.tensor([[0.0, 100.0], [-100.0, 0.0]])
    torch.testing.assert_close(expected_reward(logits, (1.0, 3.0)), torch.tensor([3.5, 1.5]))
    with pytest.raises(ValueError, match="2 tasks, found 1"):
        expected_reward(logits, (1.0,))


def test_log_odds_of_a_reward_by_hand():
    torch.testing.assert_close(reward_log_odds(torch.tensor([0.85, 1.275]), 1.7), torch.tensor([0.0, 1.0986123]), atol=1e-5, rtol=0)


def test_a_session_is_worth_its_discounted_rewards_by_hand():
    reward = torch.tensor([1.0, 10.0, 2.0, 5.0, 4.0])
    following = torch.tensor([2, -1, 4, -1, -1])  # 0, 2, 4 in a row; 1 and 3 alone
    total, first = session_returns(reward, following, 0.5)
    assert first.tolist() == [0, 1, 3] and total.tolist() == [1.0 + 1.0 + 1.0, 10.0, 5.0]
    none, rows = session_returns(reward[:0], following[:0], 0.5)
    assert len(none) == len(rows) == 0
