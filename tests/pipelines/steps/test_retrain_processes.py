"""The retrain through Spark's TorchDistributor over Connect: what it gives is what one process gives."""

from dataclasses import replace

import pytest
import torch

from models.ranker import Ranker
from models.training import TrainState
from pipelines.errors import TransientError
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.finetune_ranker import example_reader
from pipelines.steps.ranker_learning import finetune_settings
from pipelines.steps.retrain_learning import retrain, untrained
from pipelines.steps.retrain_processes import START, Job, retrain_in
from pipelines.steps.step import Attempt

pytestmark = pytest.mark.spark
BUFFER_ROWS = 400


@pytest.fixture
def told(make_examples_root, spark_server):
    """The job, and what the plain function makes of it. Without dropout: its masks depend on how many rows a process has."""
    root = make_examples_root(4, RECLOOP__SPARK__REMOTE=spark_server)
    encoder, hour = encoder_spec(root).version, "2026-11-10T11"
    current = Attempt(root, "test", [hour])
    reader = example_reader(current, encoder)
    start = untrained(reader, reader.examples.hours, encoder)
    ranker = Ranker(replace(start.ranker.config, dropout=0.0))
    ranker.load_state_dict(start.ranker.state_dict())
    start = TrainState.create(ranker, finetune_settings(root, bootstrap=True))
    job = Job(root, hour, tuple(reader.examples.hours), encoder, dict(current.inputs), root.home / "retrains" / hour, BUFFER_ROWS)
    start.save(job.folder / START)
    torch.set_num_threads(1)
    return job, retrain(reader, job.hours, start, buffer_rows=BUFFER_ROWS)


@pytest.mark.parametrize("here", [True, False], ids=["children of this process", "tasks of a Spark stage"])
def test_two_processes_end_where_one_ends(told, here):
    job, alone = told
    found = retrain_in(job, 2, here)
    assert (found.rows, found.most_held, len(found.steps)) == (alone.rows, alone.most_held, len(alone.steps))
    for name, weight in alone.state.ranker.state_dict().items():
        torch.testing.assert_close(found.state.ranker.state_dict()[name], weight, rtol=1e-3, atol=1e-4)
    assert [step["loss"] for step in found.steps] == pytest.approx([step["loss"] for step in alone.steps], rel=1e-3)


def test_one_process_is_the_plain_function_to_the_bit(told, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    job, alone = told
    found = retrain_in(job, 1, here=True)
    for name, weight in alone.state.ranker.state_dict().items():
        assert torch.equal(found.state.ranker.state_dict()[name], weight), name
    assert list(found.steps) == list(alone.steps)


def test_a_process_that_fails_says_why_in_one_line(told):
    job, _ = told
    other = replace(job, inputs=job.inputs | {"items": 7})
    with pytest.raises(TransientError, match=r"a process of the retrain failed: .*the tables moved from .*'items': 7.*; see ") as error:
        retrain_in(other, 2, here=True)
    assert "\n" not in str(error.value)
