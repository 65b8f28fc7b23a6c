"""The stream of a full retrain: the rows that the hourly step learns from, each once a pass, never more at once than allowed."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.training import finetune
from pipelines.hours import end_of, parse_hour, shift
from pipelines.lake.held import HeldHours
from pipelines.steps.example_batches import ExampleReader, joined
from pipelines.steps.folds import in_gate_fold
from pipelines.steps.ranker_learning import finetune_settings
from pipelines.steps.retrain_learning import buffers, retrain, untrained
from spark_jobs.catalogue import build_catalogue
from spark_jobs.contracts import TABLES
from spark_jobs.counters import counter_names

START = "2026-11-10T08"
HOURS = [shift(START, n) for n in range(6)]
USERS = [f"u{n}" for n in range(50)]
TASKS = ("click",)
NAMES = counter_names(TASKS)


def example(number, user, hour, revision=0, click=0.0, arrived=None):
    start = parse_hour(hour)
    before = {"click": 0.0} if revision else None
    return {
        "example_id": f"e{number}", "revision": revision, "user_id": user, "item_id": f"i{number % 3}", "ts": start + timedelta(minutes=5),
        "known_at": start, "position": number % 4, "labels": {"click": click}, "previous_labels": before, "reward": 0.0,
        "reward_version": "v", "user": {"recent": [], "clicks_24h": float(number)}, "item": {}, "hour": arrived or hour,
    }  # fmt: skip


@pytest.fixture
def make_reader(settings, write, nobody_liked):
    """Hour k shows each user one item; the clicks of hour 1 come in hour 3. A row is known again by its counter."""

    def make(poisoned=()):
        rows = [example(100 * k + n, user, hour, click=float(n % 3 == 0)) for k, hour in enumerate(HOURS) for n, user in enumerate(USERS)]
        rows += [example(100 + n, user, HOURS[1], 1, 1.0, HOURS[3]) for n, user in enumerate(USERS) if n % 5 == 0]
        version = write("training_examples", rows)
        item = {"updated_hour": START, "title": "i", "available": True, "published_at": end_of(START)}
        items = pa.Table.from_pylist([item | {"item_id": f"i{n}"} for n in range(3)], schema=TABLES["items"].schema)
        catalogue = build_catalogue(items, TABLES["item_embeddings"].schema.empty_table(), "none")
        own = settings.model_copy(update={"ranker": settings.ranker.model_copy(update={"batch_size": 16, "dim": 4, "hidden": 8})})
        return ExampleReader(own, HeldHours(own, "training_examples", version), catalogue, nobody_liked, NAMES, TASKS, frozenset(poisoned))

    return make


def known(batch):
    """Counter and weight of each row: late labels come with the same counter twice, of weights 1 and -1."""
    columns = (batch.user.counters[:, NAMES.index("clicks_24h")], batch.weight, batch.labels[:, 0])
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def taught(settings):
    """By hand: all rows of whoever is outside the gate fold; a late click in hour 3 as one row more and one less."""
    outside = ~in_gate_fold(settings, pa.array(USERS), START)
    first = [(100.0 * k + n, 1.0, float(n % 3 == 0)) for k in range(6) for n in np.flatnonzero(outside)]
    late = [(100.0 + n, weight, label) for n in np.flatnonzero(outside) if n % 5 == 0 for weight, label in ((1.0, 1.0), (-1.0, 0.0))]
    return sorted(first + late)


@pytest.mark.parametrize("at_least", [1, 60, 100, 10_000])
def test_a_pass_teaches_each_row_once_in_the_order_of_the_hours_and_holds_few(make_reader, settings, at_least):
    reader = make_reader()
    found = list(buffers(reader, HOURS, at_least))
    assert sorted(row for batch in found for row in known(batch)) == taught(settings)
    hour_rows = max(len(reader.fresh(hour, gate=False).batch) for hour in HOURS)
    assert max(map(len, found)) < at_least + hour_rows
    newest = [max(known(batch))[0] for batch in found]
    assert newest == sorted(newest) and all(len(batch) >= at_least for batch in found[:-1])


def test_poisoned_hours_teach_nothing(make_reader, settings):
    reader = make_reader(poisoned=[HOURS[2]])
    found = list(buffers(reader, reader.teaching(HOURS), 1))
    assert sorted(row for batch in found for row in known(batch)) == [row for row in taught(settings) if not 200 <= row[0] < 300]


def test_a_streamed_retrain_is_the_one_in_memory(make_reader):
    """With one buffer for all, it is plain passes over all rows at once: two of the bootstrap and one of the hour."""
    reader = make_reader()
    start = untrained(reader, HOURS, "none")
    found = retrain(reader, HOURS, start, buffer_rows=10_000)
    everything, state = joined([reader.fresh(hour, gate=False).batch for hour in HOURS]), start
    for bootstrap, times in ((True, reader.settings.ranker.bootstrap_epochs), (False, 1)):
        learning = finetune_settings(reader.settings, bootstrap)
        for _ in range(times):
            state = finetune(state, everything, reader.catalogue.table, replace(learning, epochs=1))
    for name, weight in state.ranker.state_dict().items():
        assert torch.equal(weight, found.state.ranker.state_dict()[name]), name
    assert (found.rows, found.most_held) == (len(everything), len(everything))
    assert len(found.steps) == state.step == 3 * -(-len(everything) // 16)
    streamed = retrain(reader, HOURS, start, buffer_rows=60)
    assert streamed.rows == len(everything) and streamed.most_held < 60 + 60
    assert start.step == 0, "the start is left as it is"


def test_nothing_to_learn_from_is_no_ranker(make_reader):
    assert untrained(make_reader(), [], "none") is None
