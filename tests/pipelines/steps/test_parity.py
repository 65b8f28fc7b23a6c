"""Serving and learning compute the same logits; where they do not, the figure says by how much."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipelines.registry.releases import release_folder
from pipelines.steps.parity import parity
from spark_jobs.release import load_release


@pytest.fixture
def release(settings, champion):
    rewards = tuple(term.weight for term in settings.reward.terms)
    return load_release(release_folder(settings, champion.release_id), champion.release_id, rewards)


def found(log, release, release_id):
    reader = log.reader(np.ones(len(log.slates), bool))
    return parity(reader, release_id, reader.composed(release))


def test_what_serving_logged_is_what_the_models_give_on_its_features(log, release):
    (gap,) = found(log, release, release.release_id)
    assert gap.value < 1e-4 and gap.n == len(log.slates) > 50


def test_another_logit_of_one_candidate_is_seen(log, release):
    logits = log.slates.decisions["logits"].to_pylist()
    logits[3][-1] += 0.25
    decisions = log.slates.decisions
    place = decisions.column_names.index("logits")
    decisions = decisions.set_column(place, "logits", pa.array(logits, type=decisions.schema.field("logits").type))
    changed = replace(log, slates=replace(log.slates, decisions=decisions))
    (gap,) = found(changed, release, release.release_id)
    assert gap.value == pytest.approx(0.25, abs=1e-3)


def test_slates_of_other_releases_say_nothing(log, release):
    assert found(log, release, "r000009") == []
