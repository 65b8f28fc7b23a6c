"""What an item is worth in the long run: double Q-learning on slates, decomposed as in SlateQ (Ie et al. 2019).

Letters: S slates, C candidates, K positions.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.policies.base import OnMetrics, PolicyConfig, RefreshSettings, SlatePolicy, batch_rows, check_finite, without_masked
from models.records import LoggedSlates
from models.slates import bound_logits, standardized

TARGET_RATE = 0.02  # share of the way that the target network goes to the learning one each step
_FIRST_TASK = 1  # column of the candidates' features: log odds that the item is chosen


class _Values(nn.Module):
    """Q of choosing each candidate (S, C), and of choosing none (S,)."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.from_user = nn.Linear(config.user_dim, config.hidden)
        self.from_candidate = nn.Linear(config.candidate_dim, config.hidden, bias=False)
        self.hidden = nn.Linear(config.hidden, config.hidden)
        self.out = nn.Linear(config.hidden, 1)
        self.none = nn.Linear(config.hidden, 1)

    def forward(self, user: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        first = self.from_user(user)  # (S, hidden)
        both = (first.unsqueeze(1) + self.from_candidate(candidates)).relu()
        return self.out(self.hidden(both).relu()).squeeze(-1), self.none(first.relu()).squeeze(-1)


class SlateQ(SlatePolicy):
    """Candidates by (how likely they are chosen) x (what that is worth, with everything that follows in the session).

    At most one item of a slate counts as chosen by the choice model, whose odds are the ranker's for the first task. Choosing none
    has a value of its own. A penalty keeps the values of what was never shown from growing (Kumar et al. 2020). Rewards may be shaped, by a
    potential of what is known of the user and by nothing else: that moves all values of a slate alike, so no order (Ng et al. 1999).
    `share` is how much of the order is the values': 0 before the first refresh, which is the temperature rule.
    """

    needs_sessions = True
    share: Tensor

    def __init__(self, config: PolicyConfig) -> None:
        if config.candidate_dim <= _FIRST_TASK:
            raise ValueError(f"slate_q reads the first task's log odds in column {_FIRST_TASK}, found {config.candidate_dim} columns")
        super().__init__(config)
        self.values = _Values(config)
        self.register_buffer("share", torch.zeros((), dtype=torch.float64))

    def forward(self, user_vector: Tensor, candidates: Tensor, mask: Tensor) -> Tensor:
        known = without_masked(candidates, mask)
        chosen, none = self._of(self.values, user_vector, known)
        worth = standardized(_odds(known) * (chosen - none.unsqueeze(1)), mask)
        score = (1 - self.share) * standardized(candidates[..., 0], mask) + self.share * worth
        return bound_logits(score, mask, self.temperature, self.config.logit_range).to(candidates.dtype)

    def learn(self, slates: LoggedSlates, start_logits: Tensor, settings: RefreshSettings, on_metrics: OnMetrics | None = None) -> int:
        """Needs sessions: `following` of the whole record."""
        target = copy.deepcopy(self.values)
        optimizer = torch.optim.Adam(self.values.parameters(), lr=settings.lr)
        generator = torch.Generator().manual_seed(settings.seed)
        for step in range(settings.steps):
            batch = slates.rows(batch_rows(slates, settings.batch_size, generator))
            after = self._after(slates, batch.following, target) + self._shaping(slates, batch)  # (B,)
            loss = self._loss(batch, after, settings.conservative)
            check_finite("the loss of the slates' values", loss.item(), step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                for own, other in zip(target.parameters(), self.values.parameters(), strict=True):
                    own.lerp_(other, TARGET_RATE)
            if on_metrics is not None:
                on_metrics(step, {"policy_loss": loss.item(), "value_after": after.mean().item()})
        self.share.fill_(1.0)
        return settings.steps

    def _of(self, values: _Values, user_vector: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = values(self.user_numbers(user_vector), self.candidate_numbers(candidates))
        return found

    def _loss(self, batch: LoggedSlates, after: Tensor, conservative: float) -> Tensor:
        """Squared error of what was chosen, or of none, against reward and what came after; plus the penalty."""
        chosen, none = self._of(self.values, batch.user_vector, without_masked(batch.candidates, batch.mask))
        taken = batch.shown & (batch.reward != 0)  # (B, K)
        said = chosen.gather(1, batch.action)
        wanted = batch.reward.float() + after.unsqueeze(1)
        error = functional.mse_loss(said[taken], wanted[taken], reduction="sum")
        nothing = ~taken.any(1)
        error = error + functional.mse_loss(none[nothing], after[nothing], reduction="sum")
        usual = chosen.masked_fill(~batch.mask, -torch.inf).logsumexp(1, keepdim=True) - batch.mask.sum(1, keepdim=True).clamp(min=1).log()
        penalty = (usual - said)[taken].sum()
        return (error + conservative * penalty) / max(len(batch), 1)

    def _shaping(self, slates: LoggedSlates, batch: LoggedSlates) -> Tensor:
        """(B,) discounted potential of each row's next slate, 0 at a session's end, less that of the row."""
        def potential(of: LoggedSlates) -> Tensor:
            return self.config.shaping * of.user_vector[:, self.config.potential]

        later = potential(slates.rows(batch.following.clamp(min=0))) * (batch.following >= 0)
        return self.config.discount * later - potential(batch)

    @torch.no_grad()
    def _after(self, slates: LoggedSlates, following: Tensor, target: _Values) -> Tensor:
        """(B,) discounted value of each row's next slate, 0 at a session's end: chosen by the learning network, valued by the target's."""
        found = torch.zeros(len(following), device=following.device)
        goes_on = following >= 0
        later = slates.rows(following[goes_on])
        known = without_masked(later.candidates, later.mask)
        odds = _odds(known)
        chosen, none = self._of(self.values, later.user_vector, known)
        score = (odds * (chosen - none.unsqueeze(1))).masked_fill(~later.mask, -torch.inf)
        best = score.topk(min(later.action.shape[1], score.shape[1]), dim=1).indices
        there = later.mask.gather(1, best)
        odds = odds.gather(1, best) * there
        chosen, none = self._of(target, later.user_vector, known)
        total = (odds * chosen.gather(1, best)).sum(1) + none
        found[goes_on] = self.config.discount * total / (1 + odds.sum(1))
        return found


def _odds(candidates: Tensor) -> Tensor:
    """(S, C) odds that a candidate is chosen rather than nothing."""
    return candidates[..., _FIRST_TASK].clamp(-10, 5).exp()
