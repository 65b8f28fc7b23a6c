"""MLflow away, a release of no numbers, an hour in which nothing happened (faults 11, 14 and 17)."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.local.verification import verify
from pipelines.registry.releases import production_before, release_folder
from pipelines.registry.versions import alias_versions
from pipelines.settings import load_settings
from tests.faults.small_loop import HOURS, STEPS, differing, finish_step, run_step, said, start_step

AWAY = {"RECLOOP__MLFLOW__TRACKING_URI": "http://127.0.0.1:9"}


@pytest.mark.faults
@pytest.mark.parametrize("step", ["finetune_ranker", "promote_models"])
def test_a_step_that_needs_mlflow_fails_before_it_touches_an_alias_and_is_made_good(root_before, staged, step):
    settings = root_before(step)
    aliases = {alias: alias_versions(settings, alias) for alias in ("candidate", "production")}
    failed = start_step(settings.home, step, HOURS[-1], **AWAY)
    assert "RegistryDown: MLflow at http://127.0.0.1:9 does not answer" in failed.communicate(timeout=120)[1]
    assert failed.returncode == 1
    assert {alias: alias_versions(settings, alias) for alias in aliases} == aliases
    assert ledger.last_done(settings, step, HOURS[-1]) is None
    finish_step(settings.home, step, HOURS[-1])
    assert differing(said(settings), said(load_settings(staged.after[step], {}))) == []


@pytest.mark.faults
def test_scoring_needs_no_mlflow(root_before, staged):
    settings = root_before("score_users")
    running = start_step(settings.home, "score_users", HOURS[-1], **AWAY)
    assert running.communicate(timeout=300)[0].splitlines()[-1].startswith("done"), running.returncode
    assert differing(said(settings), said(load_settings(staged.after["score_users"], {}))) == []


@pytest.mark.faults
@pytest.mark.parametrize("model", ["ranker", "policy"])
def test_a_release_of_no_numbers_scores_nobody_and_is_one_line(root_before, staged, model):
    settings = root_before("score_users")
    before, release = said(settings)["scores"], production_before(settings, HOURS[-1]).release_id
    path = release_folder(settings, release) / model / "model.safetensors"
    whole = path.read_bytes()
    save_file({name: weight * torch.nan for name, weight in load_file(path).items()}, path)
    failed = run_step(settings.home, "score_users", HOURS[-1])
    assert failed.returncode == 1
    assert f"UserError: release {release}, {model}: " in failed.stdout.splitlines()[-1] and "are not finite" in failed.stdout
    assert said(settings)["scores"] == before
    (finding,) = [one for one in verify(settings).findings if one.check == "release"]
    assert finding.where == f"release {release}, {model}"
    path.write_bytes(whole)
    finish_step(settings.home, "score_users", HOURS[-1])
    assert differing(said(settings), said(load_settings(staged.after["score_users"], {}))) == []


@pytest.mark.faults
def test_an_hour_in_which_nothing_happened_is_scored_and_teaches_nothing(root_after):
    settings = root_after("promote_models")
    empty, before = shift(HOURS[-1], 1), said(settings)
    outcomes = {step: finish_step(settings.home, step, empty).split(":")[0] for step in STEPS}
    learning = dict.fromkeys(("finetune_ranker", "refresh_policy", "promote_models"), "unchanged")
    assert outcomes == {"build_features": "done", "score_users": "done"} | learning
    after = said(settings)
    assert {name for name in after if after[name] != before[name]} <= {"scores", "slate_log", "slate_decisions", "metrics"}
    assert len(after["scores"]) == len(before["scores"])
    assert verify(settings).findings == []
