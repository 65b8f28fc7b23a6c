"""The file of business rules: read whole or refused in one line, kept for the hours that were drawn by it, known to off-policy work."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.off_policy import propensity_audit
from pipelines.errors import UserError
from pipelines.hours import end_of
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.verify.findings import Findings
from pipelines.lake.verify.landing import check_landing
from pipelines.steps.business_rules import rules_in_force, rules_of
from spark_jobs.business_rules import Boost, BusinessRules

HOUR = "2026-11-10T08"
FULL = """
block: {items: [m1], tags: [gore, war]}
stock: {attribute: stock, at_least: 2}
boost:
  - {tags: [new], logits: 0.5}
pin:
  - {position: 0, item: m9}
cap: {by: brand, at_most: 3}
seen_days: 7
"""


@pytest.fixture
def with_file(settings):
    def write(text, name="rules.yaml"):
        (settings.home / "rules.yaml").write_text(text)
        return settings.model_copy(update={"slates": settings.slates.model_copy(update={"rules": name})})

    return write


def drawn(kept):
    return LedgerRow(HOUR, "score_users", "frozen", "abc", end_of(HOUR), end_of(HOUR), files=kept)


def test_everything_in_the_file_is_read(with_file):
    rules, _ = rules_in_force(with_file(FULL))
    expected = BusinessRules(
        rules.version, ("m1",), ("gore", "war"), ("stock", 2.0), (Boost(0.5, (), ("new",)),), ((0, "m9"),), "brand", 3, 7,
    )  # fmt: skip
    assert rules == expected and len(rules.version) == 12
    assert rules_in_force(with_file(""))[0] == BusinessRules(rules_in_force(with_file(""))[0].version)


def test_no_file_is_no_rule(settings):
    assert rules_in_force(settings) == (BusinessRules(), ())
    assert rules_of(settings, None) == rules_of(settings, drawn(())) == BusinessRules()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("blok: {items: [m1]}", "blok: .*; keys of the file: block, stock, boost, pin, cap, seen_days"),
        ("boost: [{items: [m1], logits: 5}]", "boost.0.logits: Input should be less than or equal to 2; found 5"),
        ("pin: [{position: 0, item: a}, {position: 0, item: b}]", "pin: .* position 0 is pinned twice"),
        ("pin: [{position: 0, item: a}, {position: 1, item: a}]", "item a is pinned twice"),
        ("cap: {by: tag, at_most: 0}", "cap.at_most: Input should be greater than or equal to 1"),
        ("block: [", "not YAML"),
        ("- block", "found a list, expected keys and values: block"),
    ],
)
def test_a_wrong_file_is_one_line(with_file, text, said):
    with pytest.raises(UserError, match=said) as found:
        rules_in_force(with_file(text))
    assert "\n" not in str(found.value)


def test_a_missing_file_says_what_to_do(with_file):
    with pytest.raises(UserError, match=r"slates.rules names .*other.yaml, which cannot be read; write the file, or set"):
        rules_in_force(with_file(FULL, "other.yaml"))


def test_a_rerun_goes_by_the_rules_of_its_first_attempt(with_file, settings):
    rules, kept = rules_in_force(with_file(FULL))
    changed = with_file("seen_days: 1")
    assert rules_of(changed, drawn(kept)) == rules and rules_in_force(changed)[0].seen_days == 1
    found = Findings()
    check_landing(found, settings, [drawn(kept)])
    assert not found.findings
    (settings.home / kept[0].path).write_text("seen_days: 2")
    with pytest.raises(UserError, match="the rules that 2026-11-10T08 was drawn by, is gone or changed"):
        rules_of(changed, drawn(kept))
    check_landing(found, settings, [drawn(kept)])
    assert "cannot be drawn again" in str(found.findings[0])


RULES = BusinessRules(
    "v", blocked_tags=("t1",), boosts=(Boost(1.0, items=("i03", "i05", "i09")),), pins=((1, "i07"),), cap_by="tag", cap_at=1
)


@pytest.fixture
def rules():
    return RULES


def test_off_policy_work_knows_the_rules_of_a_draw(log, champion, settings):
    from pipelines.registry.releases import release_folder
    from spark_jobs.release import load_release

    reader = log.learning(100)
    slates = reader.as_drawn()
    error, mean, _ = propensity_audit(slates)
    assert error < 1e-6 and 0.5 < mean < 2
    assert (slates.propensity[:, 1] == 1).all() and (slates.limits.pinned[:, 1] >= 0).all()
    release = load_release(release_folder(settings, champion.release_id), champion.release_id, (0.2, 1.0, 0.5))
    composed = reader.composed(release)
    inside = slates.mask
    torch.testing.assert_close(composed.logits[inside], slates.behavior_logits.double()[inside], atol=1e-4, rtol=1e-4)
    free = replace(slates, limits=type(slates.limits).none(*slates.mask.shape, slates.action.shape[1]))
    assert propensity_audit(free)[0] > 0.05, "without the limits the same log does not add up"
    assert np.isfinite(mean)
