"""Processes that can be killed without waiting for their imports: each is forked from one that has made them and done nothing else."""

import atexit
import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.settings import environment

ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # as in the tests' process: sums over threads differ in their last digits
_PARENT = """
import importlib, json, os, sys, traceback
from pathlib import Path
for name in (
    "mlflow", "torch", "transformers", "deltalake", "matplotlib.figure", "pyspark.sql.connect.session", "spark_jobs.scoring",
    "pipelines.registry.versions", "pipelines.registry.policy_charts", "pipelines.steps.policy_learning", "pipelines.steps.ranker_learning",
    *(f"pipelines.steps.{step}" for step in ("build_features", "score_users", "finetune_ranker", "refresh_policy", "promote_models")),
):
    importlib.import_module(name)
from pipelines.settings import load_settings
for line in sys.stdin:
    job = json.loads(line)
    if not (child := os.fork()):
        said = os.open(job["said"], os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1), os.dup2(said, 2)
        os.environ.update(job["environ"])
        try:
            step = importlib.import_module("pipelines.steps." + job["step"])
            outcome = step.run(load_settings(Path(job["home"])), job["hour"])
            print(f"{outcome.status}: {outcome.detail}", flush=True)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def run_warm(home: Path, step: str, hour: str, **environ: str) -> tuple[int, str]:
    """Exit status of the step of the hour, and what it printed."""
    parent = _parent()
    assert parent.stdin and parent.stdout
    with tempfile.NamedTemporaryFile("r") as said:
        job = {"home": str(home), "step": step, "hour": hour, "environ": environ, "said": said.name}
        parent.stdin.write(json.dumps(job) + "\n")
        parent.stdin.flush()
        return int(parent.stdout.readline()), said.read()


@functools.cache
def _parent() -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], env=environment(**ONE_THREAD), text=True, stdin=pipe, stdout=pipe)
    atexit.register(parent.kill)
    return parent
