"""A sound root has no findings, the command says so, and a damage is not named again by what rests on it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.lake.verify.findings import Findings
from pipelines.lake.verify.lake import check_lake
from pipelines.local.verification import summary, verify
from pipelines.settings import load_settings
from spark_jobs.contracts import TABLES


def test_a_sound_root_has_no_findings_and_says_what_was_read(root):
    result = verify(root.settings)
    assert not result.findings and not result.notes
    assert result.tables == 16 and result.rows == sum(
        root.table(name).to_pyarrow_table().num_rows for name in TABLES if root.folder(name).exists()
    )
    assert summary(result) == f"16 tables, {result.commits} commits, {result.files} files, {result.rows} rows read: nothing found"
    assert any("MLflow" in what for what in result.not_checked) and any("Airflow" in what for what in result.not_checked)


def test_compacted_vacuumed_and_checkpointed_tables_are_sound(root):
    for name in ("impressions", "slate_log", "ledger"):
        table = root.table(name)
        table.optimize.compact()
        table.create_checkpoint()
        table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
        if TABLES[name].engine == "spark":
            root.sign(name)
    assert not verify(root.settings).findings


def test_old_commits_that_retention_removed_are_no_gap(root):
    root.table("impressions").create_checkpoint()
    for path in root.commits("impressions")[:-1]:
        path.unlink()
    result = verify(root.settings)
    assert not result.findings


def test_the_command_ends_with_0_or_1_and_can_say_it_in_json(root):
    def recloop(*arguments):
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3]), "RECLOOP_HOME": str(root.home)}
        command = [sys.executable, "-m", "pipelines.cli", "verify", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False)

    done = recloop()
    assert done.returncode == 0 and done.stdout.splitlines()[-1].endswith("nothing found"), done
    root.data_files("user_hour")[0].unlink()
    done = recloop()
    assert done.returncode == 1 and "file  user_hour, file hour=" in done.stdout and done.stdout.endswith("1 finding\n"), done
    found = json.loads(recloop("--json").stdout)["findings"]
    assert [(finding["table"], finding["found"]) for finding in found] == [("user_hour", "missing")]
    assert recloop("--table", "item_hour").returncode == 0 and recloop("--table", "user_hour").returncode == 1
    done = recloop("--table", "nosuch")
    assert done.returncode == 1 and "unknown table 'nosuch'" in done.stderr


def test_a_root_without_tables_is_an_error_not_a_clean_bill(tmp_path):
    with pytest.raises(UserError, match="no table under"):
        verify(load_settings(tmp_path, {}))


def test_a_damage_is_not_named_again_by_what_rests_on_it(root):
    for path in root.data_files("slate_log") + root.data_files("ledger"):
        path.unlink()
    result = verify(root.settings)
    assert {finding.check for finding in result.findings} == {"file"}
    assert any("cannot be read" in what for what in result.not_checked)


def test_one_table_alone_is_checked_by_itself(root):
    root.data_files("user_hour")[0].unlink()
    found = Findings()
    assert check_lake(root.settings, found, "scores").tables == 1 and not found.findings
    assert [finding.table for finding in check_lake(root.settings, found, "user_hour").findings] == ["user_hour"]


def test_the_page_of_operations_explains_every_check():
    home = Path(__file__).parents[4]
    sources = [*(home / "pipelines/lake/verify").glob("*.py"), home / "pipelines/registry/release_checks.py"]
    checks = {check for path in sources for check in re.findall(r'found\.add\(\s*"(\w+)"', path.read_text(encoding="utf-8"))}
    page = (home / "docs/operations.md").read_text(encoding="utf-8")
    explained = {check for line in page.splitlines() if line.startswith("| `") for check in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert explained == checks
