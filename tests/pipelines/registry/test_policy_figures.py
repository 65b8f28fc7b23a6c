"""What a policy run tells: values, churn under the same noise, weights, and what would be shown by age and popularity."""

import io

import numpy as np
import pytest
import torch

from models.records import LoggedSlates, SlateLimits
from models.slates import conditional_log_probs, draw
from pipelines.lake.metrics import GATE_FOLD, Metric
from pipelines.registry.policy_charts import policy_figure
from pipelines.registry.policy_figures import CANDIDATE, LOGGED, PRODUCTION, Compared

SLATES, ITEMS, SIZE = 4000, 8, 2
AGE_H = torch.tensor([1.0, 20.0, 100.0, 500.0, 1000.0, 3000.0, 3000.0, 3000.0])
SHOWN = torch.tensor([0.0, 5.0, 50.0, 500.0, 5000.0, 0.0, 0.0, 0.0])
PAYS = torch.tensor([1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def slates():
    """Uniform draws of 2 of 8 items, of which two pay."""
    noise = torch.from_numpy(np.random.default_rng(1).gumbel(size=(SLATES, ITEMS)))
    logits, limits = torch.zeros(SLATES, ITEMS, dtype=torch.double), SlateLimits.none(SLATES, ITEMS, SIZE)
    action, propensity = draw(logits, noise, limits)
    features = torch.zeros(SLATES, ITEMS, 6)
    features[..., 2], features[..., 5] = SHOWN.log1p(), AGE_H.log1p()
    return LoggedSlates(
        torch.zeros(SLATES, 1), features, torch.ones(SLATES, ITEMS, dtype=torch.bool), logits, action,
        torch.ones(SLATES, SIZE, dtype=torch.bool), propensity, PAYS.double()[action], torch.arange(SLATES), torch.full((SLATES,), -1),
        torch.zeros(SLATES, dtype=torch.int64), limits,
    )  # fmt: skip


def compared(slates, target, base=None):
    rows = torch.arange(1, ITEMS + 1).expand(SLATES, -1)
    wide = [torch.tensor(logits, dtype=torch.double).expand(SLATES, -1) for logits in (target, base or [0.0] * ITEMS)]
    return Compared(slates, *wide, rows, seed=3)


def true_value(logits):
    """Of a Plackett-Luce policy with these logits, by enumeration."""
    pairs = torch.tensor([(a, b) for a in range(ITEMS) for b in range(ITEMS) if a != b])
    wide = torch.tensor(logits, dtype=torch.double).expand(len(pairs), -1)
    chance = conditional_log_probs(wide, pairs, SlateLimits.none(len(pairs), ITEMS, SIZE)).exp().prod(1)
    return float((chance * PAYS.double()[pairs].sum(1)).sum())


def test_values_are_those_of_each_policy(slates):
    better = [1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    record = compared(slates, better).record()
    for name, logits in ((CANDIDATE, better), (PRODUCTION, [0.0] * ITEMS), (LOGGED, [0.0] * ITEMS)):
        assert record.values[name].low < true_value(logits) < record.values[name].high
    assert record.weights.mean() == pytest.approx(1.0, abs=0.05) and len(record.weights) == SLATES
    named = {(row.name, row.subject): row for row in record.metrics()}
    assert named["policy_value", CANDIDATE].value == record.values[CANDIDATE].mean
    assert {row.slice for row in record.metrics()} == {GATE_FOLD} and len(named) == 7
    assert record.entropy[CANDIDATE] < record.entropy[PRODUCTION] == pytest.approx(np.log(8) + np.log(7))


def test_equal_policies_do_not_churn_and_opposite_ones_change_everything(slates):
    first, last = [6.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 6.0, 6.0]
    assert compared(slates, first, first).churn() == 0.0
    assert compared(slates, first, last).churn() > 0.95
    assert 0 < compared(slates, [0.3, *[0.0] * 7]).churn() < 0.2


def test_shares_are_of_what_would_be_shown(slates):
    record = compared(slates, [7.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).record()
    assert record.by_age[PRODUCTION].tolist() == pytest.approx([2 / 8, 1 / 8, 1 / 8, 1 / 8, 3 / 8], abs=0.02)
    assert record.by_popularity[PRODUCTION].tolist() == pytest.approx([4 / 8, 1 / 8, 1 / 8, 1 / 8, 1 / 8], abs=0.02)
    assert record.by_age[CANDIDATE][0] > 0.97 and record.by_popularity[CANDIDATE][:2].sum() > 0.97


def test_the_picture_says_it_all(slates):
    record = compared(slates, [1.0, *[0.0] * 7]).record()
    hours = ("2026-11-10T08", "2026-11-10T09")
    points = {hour: Metric("policy_value", CANDIDATE, 0.3 + n / 10, 0.2, 0.8, 900) for n, hour in enumerate(hours)}
    picture = policy_figure(record, {CANDIDATE: points})
    content = io.BytesIO()
    picture.savefig(content, format="png")
    texts = " ".join(text.get_text() for text in picture.findobj(lambda artist: hasattr(artist, "get_text")))
    assert content.getvalue().startswith(b"\x89PNG") and f"churn {record.churn:.1%}" in texts
    curve = picture.axes[5].lines[0].get_ydata().tolist()
    assert curve == pytest.approx([0.3, 0.4])
