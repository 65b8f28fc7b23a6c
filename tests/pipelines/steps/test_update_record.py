"""What is said of an update: every example of its hours is counted once, steps and slices are those of the models."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from models.artifacts import save_ranker
from models.step_norms import WHOLE, step_norms
from pipelines.hours import end_of, parse_hour, shift
from pipelines.lake.metrics import metrics_by_hour, write_metrics
from pipelines.lake.tables import table_path, table_version
from pipelines.registry.releases import ReleaseRow, release_folder
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.finetune_ranker import example_reader
from pipelines.steps.folds import in_gate_fold
from pipelines.steps.ranker_judging import Seen, judge, judged_hours
from pipelines.steps.ranker_learning import learn
from pipelines.steps.step import Attempt
from pipelines.steps.update_record import left_out, update_record
from spark_jobs.contracts import TABLES

HOURS = [shift("2026-11-10T08", n) for n in range(4)]
USERS, SHOWN, BOT_ROWS, OLD_ROWS = 30, 6, 60, 20


@pytest.fixture
def root(make_examples_root, note_done):
    """In the third hour also: a bot, rows before the newest 240, and a late label of a user who teaches."""
    settings, hour = make_examples_root(len(HOURS)), HOURS[2]
    at, user = parse_hour(hour), f"u{np.flatnonzero(~gate_users(settings))[0]}"
    row = {
        "revision": 0, "item_id": "i1", "ts": at + timedelta(minutes=5), "known_at": at, "position": 0, "labels": {"click": 1.0},
        "reward": 0.0, "reward_version": "v", "user": {"recent": []}, "item": {}, "hour": hour,
    }  # fmt: skip
    rows = [row | {"example_id": f"bot{n}", "user_id": "bot"} for n in range(BOT_ROWS)]
    rows += [row | {"example_id": f"old{n}", "user_id": "u0", "ts": at + timedelta(minutes=4)} for n in range(OLD_ROWS)]
    rows += [row | {"example_id": "late", "revision": 1, "user_id": user, "previous_labels": {"click": 0.0}}]
    data = pa.Table.from_pylist(rows, schema=TABLES["training_examples"].schema)
    write_deltalake(str(table_path(settings, "training_examples")), data, mode="append", partition_by=["hour"])
    note_done(settings, "build_examples", HOURS, {"training_examples": table_version(settings, "training_examples")})
    ranker = settings.ranker.model_copy(update={"rows_an_hour": USERS * SHOWN + BOT_ROWS + 1})
    return settings.model_copy(update={"ranker": ranker})


def gate_users(settings):
    return in_gate_fold(settings, pa.array([f"u{n}" for n in range(USERS)]), HOURS[2])


def reader_of(root, **changes):
    return replace(example_reader(Attempt(root, "test", [HOURS[-1]]), encoder_spec(root).version), **changes)


def test_each_example_of_the_hours_is_counted_once(root):
    reader, encoder, gate = reader_of(root, poisoned=frozenset(HOURS[3:])), encoder_spec(root).version, gate_users(root).sum()
    first = learn(reader, HOURS[:1], None, encoder)
    learned = learn(reader, HOURS[2:], first.state, encoder)
    candidate, seen = learned.state.served(), Seen(reader, None, HOURS[3], None)
    rows = update_record(seen, HOURS[2:], learned, candidate, judge(seen, candidate)).rows
    assert 0 < gate < USERS
    assert rows == {
        "fresh": (USERS - gate) * SHOWN + 1, "corrections": 1, "replayed": learned.replayed, "poisoned": USERS * SHOWN,
        "too old": OLD_ROWS, "bots": BOT_ROWS, "gate fold": gate * SHOWN,
    }  # fmt: skip
    assert sum(rows.values()) - rows["replayed"] - rows["corrections"] == reader.count(HOURS[2:])
    assert left_out(reader, HOURS[3:]) == {"poisoned": USERS * SHOWN, "too old": 0, "bots": 0, "gate fold": 0}


def test_steps_and_slices_are_those_of_the_candidate_against_production(root):
    reader, encoder, hour = reader_of(root), encoder_spec(root).version, HOURS[3]
    first = learn(reader, HOURS[:1], None, encoder)
    learned = learn(reader, HOURS[1:], first.state, encoder)
    champion = ReleaseRow("r000001", HOURS[0], {"ranker": "1"}, "bootstrap", "production", "test", HOURS[0], end_of(HOURS[0]))
    production, candidate = first.state.served(), learned.state.served()
    save_ranker(production, release_folder(root, "r000001") / "ranker")
    seen = Seen(reader, reader.window(judged_hours(reader, hour)), hour, champion)
    judged = judge(seen, candidate)
    record = update_record(seen, HOURS[1:], learned, production, judged)
    assert record.served == dict.fromkeys(record.whole, 0.0) and record.whole == step_norms(candidate, production)
    assert record.whole[WHOLE] > 0
    everywhere, whole = record.slices[0], judged.figures["auc_per_user_difference"]
    assert everywhere.slice == "all" and everywhere.n == len(judged.labels)
    assert (everywhere.value, everywhere.low, everywhere.high) == (whole.value, whole.low, whole.high)
    assert record.thin["all"] == (everywhere.n, int(judged.labels.sum())), "540 rows are few"
    assert record.params["judged_hours"] == f"{HOURS[1]}..{hour}" and record.params["judged_users"] == gate_users(root).sum()
    assert record.params["learning_rate"] == root.ranker.lr and record.params["held_hours"] == "none"
    assert record.params["label_maturity_h"] == "not known yet", "too few reactions"
    assert record.params["replay_share"] == pytest.approx(learned.replayed / (learned.fresh + learned.replayed), abs=1e-4)
    write_metrics(root, hour, record.metrics())
    assert metrics_by_hour(root, "update_norm", hour, 1)["whole"][hour].value == record.whole[WHOLE]
    assert metrics_by_hour(root, "update_norm", shift(hour, -1), 1) == metrics_by_hour(root, "update_norm", hour, 1, "other") == {}
    assert set(record.pictures(root, hour)) == {"slices", "steps"}, "no hour has an AUC yet"
