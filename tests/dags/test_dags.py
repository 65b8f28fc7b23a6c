"""The DAG files as Airflow reads them: imported apart from this process, for both schedules."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "dags"
FILES = sorted(path for path in DAGS.glob("*.py") if path.name not in (DAGS / ".airflowignore").read_text().split())
HEAVY = ("torch", "pyspark", "mlflow", "transformers", "sklearn", "pandas", "deltalake")
CHAIN = {
    "build_features": (None, "features"),
    "score_users": ("features", "scores"),
    "finetune_ranker": ("features", "ranker_candidate"),
    "refresh_policy": ("ranker_candidate", "policy_candidate"),
    "promote_models": ("policy_candidate", "release_decision"),
    "monitor_hour": ("scores", None),
    "example_downstream": ("scores", None),
}

# Serialized as the DAG processor does it: what the scheduler sees is what is tested.
READ = f"""
import json, sys, time
import airflow.sdk, pydantic, yaml
from airflow.dag_processing.dagbag import DagBag
began = time.perf_counter()
bag = DagBag({str(DAGS)!r})
seconds = {{str(one.file): one.duration.total_seconds() for one in bag.dagbag_stats}}
heavy = sorted(name for name in {HEAVY!r} if name in sys.modules)
from airflow.serialization.serialized_objects import DagSerialization
dags = {{name: DagSerialization.to_dict(dag)["dag"] for name, dag in bag.dags.items()}}
print("\\n" + json.dumps({{"errors": bag.import_errors, "seconds": seconds, "heavy": heavy, "dags": dags}}, default=str))
"""


def read(folder: Path, schedule: str, **more: str) -> dict:
    environ = os.environ | {
        "AIRFLOW_HOME": str(folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "RECLOOP_HOME": str(folder),
        "RECLOOP__AIRFLOW__SCHEDULE": schedule, "PYTHONPATH": f"{ROOT}{os.pathsep}{DAGS}", "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        **more,
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, env=environ, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=["hourly", "manual"])
def bag(request, tmp_path_factory):
    return read(tmp_path_factory.mktemp("root"), request.param) | {"schedule": request.param}


def tasks_of(dag: dict) -> list[dict]:
    defaults = dag.get("default_args", {}).get("__var", {})
    return [defaults | task["__var"] for task in dag["tasks"]]


def task_of(dag: dict) -> dict:
    (task,) = tasks_of(dag)
    return task


def timetable(dag: dict) -> tuple[str, dict]:
    return dag["timetable"]["__type"].rpartition(".")[2], dag["timetable"]["__var"]


def test_no_import_errors_and_each_file_is_named_after_its_dag(bag):
    assert bag["errors"] == {}
    others = {
        "approve_release", "check_objectives", "maintain_tables", "rebuild_hours", "retrain_ranker", "roll_back_release",
        "stage_challenger",
    }  # fmt: skip
    assert set(bag["dags"]) == {path.stem for path in FILES} == {*CHAIN, *others}


def test_each_file_parses_within_a_second_and_imports_nothing_heavy(bag):
    assert {name: s for name, s in bag["seconds"].items() if s >= 1.0} == {}
    assert bag["heavy"] == []


def test_every_consumer_waits_for_an_asset_of_the_chain_and_every_producer_emits_it(bag):
    for name, (wanted, emitted) in CHAIN.items():
        dag = bag["dags"][name]
        kind, values = timetable(dag)
        if wanted is not None:
            assert kind == "PartitionedAssetTimetable", f"{name}: a plain asset schedule is never triggered by a partitioned asset"
            assert values["asset_condition"]["name"] == wanted
        outlets = [outlet.get("__var", outlet)["name"] for outlet in task_of(dag).get("outlets", [])]
        assert outlets == ([emitted] if emitted else [])


def test_producer_and_consumers_agree_on_the_format_of_the_hour(bag):
    kind, values = timetable(bag["dags"]["build_features"])
    if bag["schedule"] == "manual":
        assert kind == "PartitionedAtRuntime"
    else:
        assert kind == "CronPartitionTimetable"
        assert values["key_format"] == "%Y-%m-%dT%H"
        assert values["run_offset"] == -1
        assert values["expression"] == "10 * * * *"
    consumers = {name: timetable(bag["dags"][name]) for name in CHAIN if name != "build_features"}
    mappers = {name: values["default_partition_mapper"] for name, (_, values) in consumers.items()}
    assert {mapper["__type"].rpartition(".")[2] for mapper in mappers.values()} == {"IdentityMapper"}
    assert not any(timetable(bag["dags"][name])[1].get("partition_mapper_config") for name in mappers)


@pytest.mark.parametrize("name", ["rebuild_hours", "roll_back_release"])
def test_what_changes_much_is_by_hand_and_dry_unless_told_otherwise(bag, name):
    dag = bag["dags"][name]
    assert timetable(dag)[0] == "NullTimetable"
    assert {name: param["default"] for name, param in dag["params"]}["dry_run"] is True


def test_maintenance_runs_once_a_day_or_by_hand(bag):
    kind, values = timetable(bag["dags"]["maintain_tables"])
    daily = bag["schedule"] == "hourly"
    assert (kind, values.get("expression")) == (("CronTriggerTimetable", "45 3 * * *") if daily else ("NullTimetable", None))


def test_objectives_are_checked_by_the_clock_where_hours_come_by_it(bag):
    """Not by an asset: a loop that stands still emits none."""
    kind, values = timetable(bag["dags"]["check_objectives"])
    hourly = bag["schedule"] == "hourly"
    assert (kind, values.get("expression")) == (("CronTriggerTimetable", "50 * * * *") if hourly else ("NullTimetable", None))


def test_a_full_retrain_runs_once_a_week_or_by_hand_and_changes_the_lineage_only_where_asked(bag):
    dag = bag["dags"]["retrain_ranker"]
    kind, values = timetable(dag)
    weekly = bag["schedule"] == "hourly"
    assert (kind, values.get("expression")) == (("CronTriggerTimetable", "15 5 * * 0") if weekly else ("NullTimetable", None))
    assert {name: param["default"] for name, param in dag["params"]} == {"hour": None, "processes": 1, "adopt": False}


def test_an_a_a_challenger_begins_once_a_week_or_by_hand(bag):
    dag = bag["dags"]["stage_challenger"]
    assert timetable(dag)[0] == ("CronTriggerTimetable" if bag["schedule"] == "hourly" else "NullTimetable")
    assert {name: param["default"] for name, param in dag["params"]} == {"source": "same", "reason": "weekly A/A"}


def test_every_dag_has_documentation_an_owner_tags_and_one_run_at_a_time(bag):
    for name, dag in bag["dags"].items():
        assert dag["doc_md"].startswith("###"), name
        assert "recloop" in dag["tags"], name
        assert dag["max_active_runs"] == 1, name
        assert not {task["owner"] for task in tasks_of(dag)} & {"", "airflow"}, name


def test_every_task_has_retries_a_time_limit_and_its_pool(bag):
    pools = {name: task.get("pool", "default_pool") for name, dag in bag["dags"].items() for task in tasks_of(dag)}
    assert pools == {
        "build_features": "spark", "score_users": "spark", "finetune_ranker": "gpu", "refresh_policy": "gpu", "promote_models": "gpu",
        "monitor_hour": "default_pool", "example_downstream": "default_pool", "maintain_tables": "spark", "rebuild_hours": "spark",
        "retrain_ranker": "default_pool", "roll_back_release": "spark", "stage_challenger": "gpu", "check_objectives": "default_pool",
        "approve_release": "default_pool",
    }  # fmt: skip
    for name, task in ((name, task) for name, dag in bag["dags"].items() for task in tasks_of(dag)):
        assert task["retries"] == 2, name
        assert task["retry_exponential_backoff"] > 1, name
        assert task.get("execution_timeout") or task["task_type"] == "ApprovalOperator", f"{name}: only a person may take longer"


def test_a_person_is_asked_only_where_that_is_set_and_no_answer_means_no(bag, tmp_path_factory):
    assert timetable(bag["dags"]["approve_release"])[0] == "NullTimetable"
    dag = read(tmp_path_factory.mktemp("root"), "manual", RECLOOP__GATES__APPROVAL="true")["dags"]["approve_release"]
    kind, values = timetable(dag)
    assert kind == "PartitionedAssetTimetable" and values["asset_condition"]["name"] == "release_decision"
    tasks = {task["task_id"]: task for task in tasks_of(dag)}
    assert {name: list(task.get("downstream_task_ids", [])) for name, task in tasks.items()} == {
        "evidence": ["ask"], "ask": ["approved"], "approved": ["answer"], "answer": [],
    }  # fmt: skip
    assert tasks["answer"]["trigger_rule"] == "all_done", "a no skips what follows it, and is carried out too"
    assert tasks["ask"]["_task_module"].endswith("hitl") and tasks["ask"]["task_type"] == "ApprovalOperator"


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.stem)
def test_files_are_thin(path):
    assert len(path.read_text().splitlines()) <= 80


def test_bad_input_fails_at_once_and_a_registry_that_is_away_is_tried_again():
    script = (
        "import loop_dags as d; from pipelines.errors import UserError; from pipelines.registry.client import RegistryDown\n"
        "print([d.RETRY_POLICY.evaluate(e, 1, 2).action.value for e in (UserError('x'), RegistryDown('x'), RuntimeError('x'))])"
    )
    environ = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{DAGS}"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ, check=True)
    assert done.stdout.splitlines()[-1] == "['fail', 'retry', 'default']"
