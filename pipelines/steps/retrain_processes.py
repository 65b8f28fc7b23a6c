"""The retrain on several processes through Spark's ``TorchDistributor``: on GPUs where each has one (nccl), else by gloo."""

import contextlib
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import TransientError
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipelines.steps.retrain_learning import Retrained

_ERROR = re.compile(r"^(?:\[rank\d+\]:\s*)?((?:\w+\.)*\w*(?:Error|Exception): .+)$", re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """What every process is told. ``folder`` holds the state to begin with (``start``) and gets the one at the end (``ranker_state``).

    ``inputs``: the table versions that all must read; ``hours``: those that teach.
    """

    settings: Settings
    hour: str
    hours: tuple[str, ...]
    encoder_version: str
    inputs: Mapping[str, int]
    folder: Path
    buffer_rows: int


START, END = "start", "ranker_state"


def retrain_in(job: Job, processes: int, here: bool) -> "Retrained":
    """The retrain by so many processes that learn as one: ``here`` as children of this process, else as tasks of one Spark stage.

    Executors must see the root's folder under its own path, and learn on GPUs where the cluster gives its tasks some
    (``spark.task.resource.gpu.amount``). Raises TransientError where a process fails.
    """
    from pyspark.ml.torch.distributor import TorchDistributor

    from models.training import TrainState
    from pipelines.steps.ranker_learning import finetune_settings
    from pipelines.steps.retrain_learning import Retrained

    logging.getLogger("TorchDistributor").addHandler(logging.NullHandler())
    log = job.settings.logs / "retrain.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with _own_session(job.settings) as spark, log.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        given = not here and float(spark.conf.get("spark.task.resource.gpu.amount", "0") or 0) >= 1
        distributor = TorchDistributor(num_processes=processes, local_mode=here, use_gpu=given)
        try:
            answer: Any = distributor.run(work, job)
        except Exception as error:  # it only says that something failed: the reason is in what the processes printed
            file.flush()
            reasons = _ERROR.findall(f"{log.read_text(encoding='utf-8')}\n{error}")
            raise TransientError(f"a process of the retrain failed: {reasons[0] if reasons else 'no reason given'}; see {log}") from error
    shutil.rmtree(job.folder / START)
    state = TrainState.load(job.folder / END, finetune_settings(job.settings, bootstrap=False))
    steps, rows, most = answer
    return Retrained(state, steps, rows, most)


def work(job: Job) -> tuple[list[dict[str, float]], int, int]:
    """What each process does; the answer is that of process 0, which also writes the state."""
    import torch.distributed as dist

    from models.devices import process_backend
    from models.parallel import Group
    from models.training import TrainState
    from pipelines.steps.finetune_ranker import example_reader
    from pipelines.steps.ranker_learning import finetune_settings
    from pipelines.steps.retrain_learning import retrain
    from pipelines.steps.step import Attempt

    current = Attempt(job.settings, "retrain_ranker", [job.hour])
    reader = example_reader(current, job.encoder_version)
    if current.inputs != dict(job.inputs):
        raise TransientError(f"the tables moved from {dict(job.inputs)} to {current.inputs} meanwhile; run the retrain again")
    dist.init_process_group(process_backend())
    try:
        start = TrainState.load(job.folder / START, finetune_settings(job.settings, bootstrap=True))
        group = Group(dist.get_rank(), dist.get_world_size())
        found = retrain(reader, job.hours, start, group, job.buffer_rows)
        if group.rank == 0:
            found.state.save(job.folder / END)
    finally:
        dist.destroy_process_group()
    return list(found.steps), found.rows, found.most_held


@contextlib.contextmanager
def _own_session(settings: Settings) -> Iterator["SparkSession"]:
    """A Spark session beside the root's: who opens that one interrupts what runs in it, and an hour must not wait for a retrain.

    It is this thread's active one, which ``TorchDistributor`` asks for: Spark names the first session of a process so, closed or not.
    """
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.session import SparkSession as ConnectSession

    from pipelines.lake.session import unnamed
    from pipelines.local.services import ensure_spark

    builder: Any = SparkSession.builder
    spark = builder.remote(unnamed(ensure_spark(settings))).create()
    ConnectSession._active_session.session = spark
    try:
        yield spark
    finally:
        spark.stop()
