import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from models import metrics


@pytest.fixture
def rows():
    random = np.random.default_rng(0)
    probabilities = random.beta(1, 4, size=3000)
    labels = (random.random(3000) < probabilities).astype(float)
    scores = np.round(probabilities + 0.1 * random.normal(size=3000), 1)  # many ties
    return labels, scores, probabilities, random.integers(0, 60, size=3000)


def test_auc_equals_sklearn_with_ties_and_weights(rows):
    labels, scores, probabilities, _ = rows
    assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    weighted = roc_auc_score(labels, scores, sample_weight=probabilities)
    assert metrics.auc(labels, scores, weight=probabilities) == pytest.approx(weighted)
    assert np.isnan(metrics.auc(np.ones(3), np.arange(3.0)))
    assert np.isnan(metrics.auc(np.zeros(0), np.zeros(0)))


def test_auc_per_user_equals_the_weighted_mean_of_sklearn(rows):
    labels, scores, _, user = rows
    labels = np.where(user < 3, 0.0, labels)  # users of one class do not count
    parts = [(roc_auc_score(labels[user == u], scores[user == u]), (user == u).sum()) for u in range(3, 60)]
    areas, sizes = np.array(parts).T
    assert metrics.auc_per_user(labels, scores, user) == pytest.approx(np.average(areas, weights=sizes))
    assert np.isnan(metrics.auc_per_user(np.zeros(3), np.arange(3.0), np.arange(3)))


def test_normalized_entropy_is_the_log_loss_over_that_of_the_rate(rows):
    labels, _, probabilities, _ = rows
    base = log_loss(labels, np.full(3000, labels.mean()))
    assert metrics.normalized_entropy(labels, probabilities) == pytest.approx(log_loss(labels, probabilities) / base)


def test_ndcg_equals_sklearn_group_by_group():
    random = np.random.default_rng(1)
    labels, scores = random.integers(0, 2, (40, 12)).astype(float), random.normal(size=(40, 12))
    labels[0] = 0  # a group without a positive does not count
    group = np.repeat(np.arange(40), 12)
    shuffle = random.permutation(480)
    found = metrics.ndcg_at_k(labels.ravel()[shuffle], scores.ravel()[shuffle], group[shuffle], 5)
    assert found == pytest.approx(ndcg_score(labels[1:], scores[1:], k=5))


def test_calibration_slope_equals_a_logistic_regression(rows):
    labels, _, probabilities, _ = rows
    logit = np.log(probabilities) - np.log1p(-probabilities)
    expected = LogisticRegression(C=1e9, tol=1e-10).fit(logit[:, None], labels).coef_[0, 0]
    assert metrics.calibration_slope(labels, probabilities) == pytest.approx(expected, rel=1e-3)
    sharper = 1 / (1 + np.exp(-2 * logit))
    assert metrics.calibration_slope(labels, sharper) == pytest.approx(expected / 2, rel=1e-3)


def test_the_interval_of_the_slope_covers_the_truth_and_is_wider_where_a_users_rows_are_alike():
    """Every user answers the same at 30 rows, or each row anew; 300 users, true slope 1.4."""
    covered, widths = 0, {}
    for seed in range(60):
        random = np.random.default_rng(seed)
        user = np.repeat(np.arange(300), 30)
        for alike in (False, True):
            logit = random.normal(size=300)[user] if alike else random.normal(size=9000)
            chance = 1 / (1 + np.exp(-1.4 * logit))
            labels = (random.random(300)[user] < chance if alike else random.random(9000) < chance).astype(float)
            slope, low, high = metrics.calibration_slope_interval(labels, 1 / (1 + np.exp(-logit)), user)
            assert slope == pytest.approx(metrics.calibration_slope(labels, 1 / (1 + np.exp(-logit))))
            covered += low <= 1.4 <= high
            widths.setdefault(alike, []).append(high - low)
    assert covered >= 107  # of 120 at 95 %
    assert np.mean(widths[True]) == pytest.approx(30**0.5 * np.mean(widths[False]), rel=0.15)
    assert metrics.calibration_slope_interval(np.array([0.0, 1.0]), np.array([0.2, 0.6]), np.zeros(2, int))[1:] == (-np.inf, np.inf)


def test_calibration_error_by_hand():
    labels, probabilities = np.array([0.0, 1, 1, 1]), np.array([0.4, 0.4, 0.9, 0.9])
    assert metrics.expected_calibration_error(labels, probabilities, bins=2) == pytest.approx(0.1)


def test_the_debiased_calibration_error_of_a_calibrated_model_is_near_zero():
    random = np.random.default_rng(2)
    plain, debiased = [], []
    for _ in range(20):
        probabilities = random.uniform(0.1, 0.5, 1000)
        labels = (random.random(1000) < probabilities).astype(float)
        plain.append(metrics.expected_calibration_error(labels, probabilities))
        debiased.append(metrics.expected_calibration_error(labels, probabilities, debiased=True))
    assert np.mean(plain) > 0.03 and np.mean(debiased) < 0.5 * np.mean(plain)
    off = metrics.expected_calibration_error(labels, probabilities + 0.2, debiased=True)
    assert off == pytest.approx(0.2, abs=0.03)


def test_the_linearized_difference_by_hand():
    """Two users whose AUC rises by .5 and by 0; each has two rows: .25, with a standard error of sqrt(2 * 2 (.5)^2) / 4 = .25."""
    labels, user = np.array([1.0, 0, 1, 0]), np.array([0, 0, 1, 1])
    old, new = np.array([0.5, 0.5, 0.9, 0.1]), np.array([0.8, 0.2, 0.9, 0.1])
    mean, low, high = metrics.user_difference(labels, new, old, user, "auc_per_user", 0.98)
    assert (mean, mean - low, high - mean) == pytest.approx((0.25, 2.3263 * 0.25, 2.3263 * 0.25), rel=1e-4)
    assert metrics.user_difference(labels[:2], new[:2], old[:2], user[:2], "auc_per_user")[1:] == (-np.inf, np.inf)
    assert np.isnan(metrics.user_difference(np.ones(4), new, old, user, "auc_per_user")).all()


@pytest.mark.parametrize("metric", ["auc_per_user", "log_loss", "normalized_entropy"])
def test_the_difference_is_paired_and_over_users(rows, metric):
    labels, _, probabilities, user = rows
    worse = np.clip(probabilities + 0.2 * np.random.default_rng(4).normal(size=3000), 0.01, 0.99)
    mean, low, high = metrics.user_difference(labels, probabilities, worse, user, metric)
    single = {
        "auc_per_user": lambda p: metrics.auc_per_user(labels, p, user),
        "log_loss": lambda p: metrics.log_losses(labels, p).mean(),
        "normalized_entropy": lambda p: metrics.normalized_entropy(labels, p),
    }[metric]
    assert mean == pytest.approx(single(probabilities) - single(worse))
    assert low < mean < high and (low > 0 if metric == "auc_per_user" else high < 0)
    assert metrics.user_difference(labels, worse, worse, user, metric) == (0.0, 0.0, 0.0)


def test_the_interval_is_as_wide_as_theory_says_for_user_means():
    random = np.random.default_rng(5)
    user = np.repeat(np.arange(400), 5)
    old = np.full(2000, 0.5)
    new = np.repeat(random.uniform(0.3, 0.7, 400), 5)  # all rows of a user move together
    _, low, high = metrics.user_difference(np.ones(2000), new, old, user, "log_loss")
    expected = 2 * 1.96 * np.log(new[::5]).std() / np.sqrt(400)
    assert high - low == pytest.approx(expected, rel=0.01)


def test_a_metric_without_an_interval_is_named(rows):
    with pytest.raises(ValueError, match="no interval over users for metric 'auc'"):
        metrics.user_difference(rows[0], rows[1], rows[1], rows[3], "auc")


def test_concentration_by_hand():
    assert [metrics.gini(np.array(of)) for of in ([1, 1, 1, 1], [0, 0, 0, 5], [1, 3])] == pytest.approx([0, 0.75, 0.25])
    assert np.isnan(metrics.gini(np.zeros(3)))


def test_an_interval_over_users_knows_that_a_users_rows_are_alike():
    values = np.array([1.0, 2.0, 4.0, 5.0])
    mean, low, high = metrics.mean_of_clusters(values, np.arange(4))
    assert (mean, high - mean) == pytest.approx((3.0, 1.96 * values.std(ddof=1) / 2), rel=1e-4) and low == pytest.approx(2 * mean - high)
    assert metrics.mean_of_clusters(np.tile(values, 3), np.tile(np.arange(4), 3)) == pytest.approx((mean, low, high))
    assert metrics.mean_of_clusters(values, np.zeros(4)) == (3.0, -np.inf, np.inf)
