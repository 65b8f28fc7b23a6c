"""Open Bandit out of a wheel made by hand, judged as anybody would."""

import hashlib
import zipfile

import pytest

from pipelines.errors import UserError
from pipelines.evaluation.decision_log import judged
from pipelines.local.open_bandit import write_open_bandit
from pipelines.local.pinned_wheel import Wheel

HEADER = ",timestamp,item_id,position,click,propensity_score,user_feature_0\n"


@pytest.fixture
def make_wheel(tmp_path):
    """In the cache already, with these propensities of the random policy."""

    def make(random):
        cache = tmp_path / "cache"
        cache.mkdir()
        rows = {
            "bts": [(0, 0.5), (1, 0.5), (1, 0.25), (0, 0.125)],  # weights 0.5, 0.5, 1 and 2
            "random": [(click, random[n % len(random)]) for n, click in enumerate([1, 0, 0, 0])],
        }
        with zipfile.ZipFile(cache / "obp.whl", "w") as archive:
            for policy, shown in rows.items():
                lines = (f"{n},2019-11-24 00:00:0{n}+00:00,{n},1,{click},{propensity},x\n" for n, (click, propensity) in enumerate(shown))
                archive.writestr(f"obp/dataset/obd/{policy}/men/men.csv", HEADER + "".join(lines))
        return Wheel("obp==0", "obp.whl", hashlib.sha256((cache / "obp.whl").read_bytes()).hexdigest()), cache

    return make


def test_the_log_of_one_policy_judges_the_other_that_was_shown_beside_it(make_wheel, tmp_path):
    wheel, cache = make_wheel([0.25])
    log = write_open_bandit(tmp_path / "out", cache, "men", wheel)
    assert (log.path.name, log.rows, log.shown, log.earned) == ("open-bandit-men.parquet", 4, 4, 0.25)
    found = judged(log.path, None, (), float("inf"), 0.0, False).result
    assert found.values["ipw"].mean == pytest.approx((0.5 + 1) / 4) and found.values["snipw"].mean == pytest.approx(1.5 / 4)
    assert found.outside == 0


def test_another_campaign_and_a_random_policy_that_is_none_are_one_line(make_wheel, tmp_path):
    wheel, cache = make_wheel([0.25, 0.5])
    with pytest.raises(UserError, match="expected one of all, men, women"):
        write_open_bandit(tmp_path, cache, "kids", wheel)
    with pytest.raises(UserError, match="its random policy has 2 propensities, expected one"):
        write_open_bandit(tmp_path, cache, "men", wheel)
    assert not list(tmp_path.glob("*.parquet"))
