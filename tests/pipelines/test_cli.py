"""The command as a shell sees it: exit codes, one line for what a user can mend, and a quick start."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.clock import wall_clock
from pipelines.commands import look
from pipelines.hours import hour_of, shift
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.settings import load_settings

ROOT = Path(__file__).parents[2]
AGES = "{slate_decisions: 9, slate_log: 9, scores: 9}"
VERBS = (
    "demo", "up", "down", "hour", "backfill", "rebuild", "maintain", "status", "top", "demo-data", "simulate", "report", "verify",
    "doctor", "import", "quarantine", "export", "hold", "impact", "init", "evaluate", "search", "adapt-encoder", "use-encoder",
    "retrain", "tune", "transfer", "ope", "explain", "releases", "stage", "promote", "reject", "rollback", "check-objectives",
)  # fmt: skip


def recloop(home, *arguments, **environ):
    """The command in a process of its own, as installed."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "RECLOOP_HOME": str(home), "COLUMNS": "100"} | environ
    command = [sys.executable, "-c", "from pipelines.cli import run; run()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=home, check=False)


def refused(done):
    """The one line on stderr of a command that ended with exit code 1."""
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("recloop: "), done.stderr
    return done.stderr


@pytest.fixture
def home(tmp_path):
    (tmp_path / "recloop.yaml").write_text("lake: {start_hour: 2026-11-01T00}\n")
    return tmp_path


def test_help_names_every_verb_and_its_purpose(tmp_path):
    done = recloop(tmp_path, "--help")
    assert done.returncode == 0
    for verb in VERBS:
        (line,) = [line for line in done.stdout.splitlines() if f"│ {verb} " in line]
        assert len(line.strip("│ ").removeprefix(verb).strip()) > 20


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_of_its_own(tmp_path, verb, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recloop", verb, "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert "Usage: recloop" in capsys.readouterr().out


def test_nothing_heavy_is_loaded_before_a_verb_needs_it():
    heavy = "torch pyspark mlflow transformers pandas numpy deltalake pyarrow pydantic"
    code = f"import sys, pipelines.cli; print([name for name in '{heavy}'.split() if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip() == "[]"


def test_an_hour_in_the_future(home):
    hour = shift(hour_of(wall_clock()), 2)
    assert f"hour {hour} has not ended" in refused(recloop(home, "hour", hour))
    assert "has not ended" in refused(recloop(home, "backfill", "--from", "2026-11-01T00", "--to", hour))


def test_a_range_that_ends_before_it_begins(home):
    error = refused(recloop(home, "backfill", "--from", "2026-11-02T00", "--to", "2026-11-01T23"))
    assert "lies after" in error and "earlier hour first" in error


def test_an_encoder_and_the_way_back_at_once(home):
    for arguments in ((), ("0123456789ab", "--back")):
        assert "give either the VERSION" in refused(recloop(home, "use-encoder", *arguments))


def test_a_dry_run_of_a_check_alone(home):
    assert "--dry-run goes with --repair" in refused(recloop(home, "verify", "--dry-run"))


def test_what_is_no_hour(home):
    assert "expected UTC as YYYY-MM-DDTHH" in refused(recloop(home, "simulate", "2026-11-02"))


def test_malformed_yaml_and_unknown_keys_and_domains(tmp_path):
    path = tmp_path / "recloop.yaml"
    for text, expected in (("a: [", "not YAML"), ("domain: books", "legal values: ecommerce"), ("sed: 1", "unknown key sed")):
        path.write_text(text)
        assert expected in refused(recloop(tmp_path, "status"))


def test_a_user_asked_for_before_anything_was_scored(home):
    assert "run `recloop demo`" in refused(recloop(home, "top", "u1"))
    assert "run `recloop demo`" in refused(recloop(home, "export", "scores"))
    assert [path.name for path in home.iterdir()] == ["recloop.yaml"]


def test_home_is_an_option_too(home, tmp_path):
    other = tmp_path / "other folder"
    assert str(other / "warehouse") in refused(recloop(home, "--home", str(other), "top", "u1"))


def test_a_wrong_option_is_a_usage_error(home):
    done = recloop(home, "export", "scores", "--format", "xlsx")
    assert done.returncode == 2 and "parquet" in done.stderr


def test_demo_data_made_up_and_what_it_says_the_second_time(tmp_path):
    first, again = recloop(tmp_path, "demo-data", "made-up"), recloop(tmp_path, "demo-data", "made-up")
    assert (first.returncode, again.returncode) == (0, 0)
    assert "a made-up catalogue: " in first.stdout and "loop hours from 20" in first.stdout
    assert "already there" in again.stdout
    assert "asked for" in refused(recloop(tmp_path, "demo-data", "made-up", "--speed", "fast"))


def test_an_import_is_shown_written_and_not_repeated(tmp_path):
    (tmp_path / "clicks.csv").write_text("who,what,at,name\nu1,m1,2026-11-01T08:00:00Z,Stuhl\n,m1,2026-11-01T09:00:00Z,Stuhl\n")
    (tmp_path / "m.yaml").write_text(
        "sources: [{user_id: who, item_id: what, ts: at, feedback: [{type: {constant: click}}], items: {title: name}}]"
    )
    command = ("import", "clicks*.csv", "--mapping", "m.yaml")
    dry = recloop(tmp_path, *command, "--dry-run")
    assert dry.returncode == 0 and "missing_key" in dry.stdout and "nothing was written" in dry.stdout
    assert not (tmp_path / "landing").exists()
    first, again = recloop(tmp_path, *command), recloop(tmp_path, *command)
    assert "written: 2 landing files" in first.stdout and "lake: {start_hour: 2026-11-01T08}" in first.stdout
    assert "recloop hour 2026-11-01T08" in first.stdout and "nothing changed" in again.stdout
    (tmp_path / "clicks.csv").write_text("who,item,at,name\n")
    assert "has no column 'what', which the mapping names" in refused(recloop(tmp_path, *command))


def test_an_interrupt_ends_quietly(home, monkeypatch, capsys):
    def interrupted(_context):
        raise KeyboardInterrupt

    monkeypatch.setattr(look, "settings_of", interrupted)
    monkeypatch.setattr(sys, "argv", ["recloop", "status"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_the_status_of_an_empty_root_is_json_for_scripts(home):
    done = recloop(home, "status", "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert (status["home"], status["scores"], status["in_force"]) == (str(home), None, None)
    assert {step["step"] for step in status["steps"]} >= {"build_features", "score_users", "promote_models"}


def test_objectives_that_are_broken_are_lines_and_exit_code_1(home):
    done = recloop(home, "check-objectives")
    assert (done.returncode, done.stdout) == (0, "no hour has run yet: nothing to compare\n")
    settings, hour = load_settings(home, {}), shift(hour_of(wall_clock()), -5)
    ledger.write_rows(settings, [LedgerRow(hour, "score_users", "done", "code", wall_clock(), wall_clock())])
    broken, held = recloop(home, "check-objectives"), recloop(home, "check-objectives", RECLOOP__OBJECTIVES__FRESHNESS_H=AGES)
    assert broken.returncode == 1 and broken.stderr == ""
    lines = broken.stdout.splitlines()
    assert [line.split(" is ")[0] for line in lines] == ["age of slate_decisions", "age of slate_log", "age of scores"]
    assert all("objective at most 2 h: `recloop status`" in line for line in lines)
    assert (held.returncode, held.stdout) == (0, "3 objectives hold\n")
