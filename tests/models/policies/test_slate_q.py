"""Values of slates: by hand on a chain of two, and a world where what is clicked most now costs what comes later."""

import numpy as np
import pytest
import torch

from models.policies.base import PolicyConfig, RefreshSettings
from models.policies.learners import make_policy
from models.policies.refresh import refresh_policy
from models.records import LoggedSlates, SlateLimits

FREE = {"kl_limit": 50.0, "kl_p99_limit": 500.0, "least_entropy": 0.0}
LENGTH, CANDIDATES, SIZE = 8, 6, 2
LURES = np.array([True, True, True, False, False, False])


def test_a_chain_of_two_slates_has_the_value_of_both():
    """One candidate, always chosen but for its odds e^5: reward 1, then reward 3 at the session's end."""
    n, discount = 400, 0.5
    first = torch.arange(n) % 2 == 0
    slates = LoggedSlates(
        first.float().unsqueeze(1), torch.tensor([0.0, 5.0]).expand(n, 1, 2), torch.ones(n, 1, dtype=torch.bool), torch.zeros(n, 1),
        torch.zeros(n, 1, dtype=torch.int64), torch.ones(n, 1, dtype=torch.bool), torch.ones(n, 1),
        torch.where(first, 1.0, 3.0).unsqueeze(1), torch.arange(n), torch.where(first, torch.arange(n) + 1, -1),
        torch.zeros(n, dtype=torch.int64), SlateLimits.none(n, 1, 1),
    )  # fmt: skip
    policy = make_policy(PolicyConfig(1, 2, hidden=16, learner="slate_q", discount=discount))
    policy.fit_statistics(slates.user_vector, slates.candidates, slates.mask)
    policy.learn(slates, torch.zeros(n, 1), RefreshSettings(steps=1500, lr=3e-3, conservative=0.0))
    with torch.no_grad():
        chosen, none = policy._of(policy.values, slates.user_vector[:2], slates.candidates[:2])
    odds = np.exp(5)
    after = discount * (odds * 3.0 + none[1].item()) / (1 + odds)
    assert chosen[1].item() == pytest.approx(3.0, abs=0.05) and chosen[0].item() == pytest.approx(1.0 + after, abs=0.1)


class Sessions:
    """Half of the candidates lure: they are clicked more, and each click on one leaves the user in a worse mood, on another in a better.

    What is known of a slate is the mood. Rewards are clicks, at most one a slate.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def odds(self, mood: np.ndarray) -> np.ndarray:
        """(n, C) of a click."""
        return np.exp(-2.0 + 3.0 * mood[:, None] + np.where(LURES, 0.5, 0.0))

    def inputs(self, mood: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        log_odds = np.log(self.odds(mood))
        kind = np.broadcast_to(LURES, log_odds.shape).astype(float)
        utility = np.log(1 / (1 + np.exp(-log_odds)))
        candidates = torch.from_numpy(np.stack([utility, log_odds, kind], axis=-1)).float()
        return torch.from_numpy(mood).float().unsqueeze(1), candidates, torch.ones(len(mood), CANDIDATES, dtype=torch.bool)

    def run(self, policy, users: int) -> tuple[LoggedSlates, float]:
        """The slates of one session a user, and the mean clicks of a session."""
        mood, steps, clicks = np.full(users, 0.5), [], 0.0
        for _ in range(LENGTH):
            user_vector, candidates, mask = self.inputs(mood)
            with torch.no_grad():
                logits = policy(user_vector, candidates, mask).double()
            keys = logits.numpy() + self.random.gumbel(size=logits.shape)
            action = np.argsort(-keys, axis=1)[:, :SIZE]
            odds = np.take_along_axis(self.odds(mood), action, 1)
            edges = np.cumsum(odds / (1 + odds.sum(1, keepdims=True)), axis=1)
            chosen = (self.random.random((users, 1)) > edges).sum(1)  # SIZE = none
            reward = (chosen[:, None] == np.arange(SIZE)).astype(np.float32)
            lured = np.take_along_axis(np.broadcast_to(LURES, keys.shape), action, 1)
            mood = np.clip(mood + 0.25 * (reward * np.where(lured, -1, 1)).sum(1), 0, 1)
            steps.append((user_vector, candidates, mask, logits.float(), torch.from_numpy(action), torch.from_numpy(reward)))
            clicks += reward.sum() / users
        columns = [torch.cat(parts) for parts in zip(*steps, strict=True)]
        n, rows = users * LENGTH, torch.arange(users * LENGTH)
        following = torch.where(rows + users < n, rows + users, -1)
        shown, propensity = torch.ones(n, SIZE, dtype=torch.bool), torch.full((n, SIZE), 0.5)
        limits = SlateLimits.none(n, CANDIDATES, SIZE)
        return LoggedSlates(*columns[:5], shown, propensity, columns[5], rows % users, following, torch.zeros_like(rows), limits), clicks


def test_a_potential_changes_no_order_and_moves_every_value_by_itself():
    """The listed world: `Sessions`, whose mood is the potential. What is chosen is worth less by the potential of the moment."""
    log, _ = Sessions(1).run(make_policy(PolicyConfig(1, 3, learner="softmax", temperature=2.0)), 600)
    mood = np.linspace(0, 1, 9)
    user, candidates, _ = Sessions(0).inputs(mood)
    worth, none = {}, {}
    for shaping in (0.0, 2.0):
        policy = make_policy(PolicyConfig(1, 3, hidden=32, learner="slate_q", discount=0.9, shaping=shaping), seed=3)
        policy.fit_statistics(log.user_vector, log.candidates, log.mask)
        policy.learn(log, torch.zeros(len(log), CANDIDATES), RefreshSettings(steps=2500, lr=3e-3, conservative=0.0))
        with torch.no_grad():
            worth[shaping], none[shaping] = policy._of(policy.values, user, candidates)
    moved, known = worth[2.0] - worth[0.0], slice(1, -1)
    np.testing.assert_allclose(moved[known].mean(1).numpy(), -2.0 * mood[known], atol=0.25)
    gaps = [(found[:, 3:].mean(1) - found[:, :3].mean(1))[known].numpy() for found in worth.values()]
    assert gaps[0][mood[known] <= 0.5].min() > 0.5, "where the mood can rise, what lifts it is worth more than what lures"
    np.testing.assert_allclose(gaps[1], gaps[0], atol=0.25)


def test_a_delayed_effect_is_learned_where_learning_for_the_moment_makes_it_worse():
    log, _ = Sessions(1).run(make_policy(PolicyConfig(1, 3, learner="softmax", temperature=2.0)), 600)
    clicks = {}
    for learner in ("softmax", "neural_linear", "slate_q"):
        policy = make_policy(PolicyConfig(1, 3, hidden=32, temperature=0.35, learner=learner, discount=0.9))
        learned, _ = refresh_policy(policy, log, RefreshSettings(steps=1200, lr=3e-3, **FREE))
        clicks[learner] = Sessions(2).run(learned, 600)[1]
    assert clicks["slate_q"] > 1.3 * max(clicks["softmax"], clicks["neural_linear"])
