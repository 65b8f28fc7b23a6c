"""A Parquet file of decisions, in batches, is judged as the same rows in one array; what cannot be read so is one line."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from models.ope import Evaluation, LoggedActions
from pipelines.cli import app
from pipelines.errors import UserError
from pipelines.evaluation import decision_log
from pipelines.evaluation.decision_log import DecisionLog, judged

N = 900


@pytest.fixture
def write(tmp_path):
    def save(name, columns):
        pq.write_table(pa.table(columns), tmp_path / name, row_group_size=100)
        return tmp_path / name

    return save


@pytest.fixture
def columns():
    draw = np.random.default_rng(6)
    return {
        "decision_id": np.arange(N), "user": [f"u{one}" for one in draw.integers(0, 70, N)], "reward": draw.random(N),
        "propensity": draw.uniform(0.1, 1, N), "target_propensity": draw.uniform(0, 1, N), "predicted": draw.random(N),
        "expected": draw.random(N), "country": ["de"] * N,
    }  # fmt: skip


def slates(draw, count=300, longest=4):
    """Long rows of ragged slates."""
    length = draw.integers(1, longest + 1, count)
    slate = np.repeat(np.arange(count), length)
    position = np.concatenate([np.arange(one) for one in length])
    n = len(slate)
    return {
        "slate_id": [f"s{one}" for one in slate], "position": position, "user": slate % 40, "reward": draw.random(n),
        "propensity": draw.uniform(0.2, 1, n), "target_propensity": draw.uniform(0, 1, n), "predicted": draw.random(n),
        "expected": draw.random(n), "marginal": draw.uniform(0.2, 1, n), "target_marginal": draw.random(n),
        "outside": np.repeat(draw.uniform(0, 0.02, count), length),
    }  # fmt: skip


def judge(path, policy=None, estimators=(), clip=float("inf"), margin=0.0, uniform=False):
    return judged(path, policy, estimators, clip, margin, uniform)


def test_a_file_in_batches_is_the_arrays_at_once(write, columns, monkeypatch):
    monkeypatch.setattr(decision_log, "_ROWS_AT_ONCE", 128)
    found = judge(write("log.parquet", columns)).result
    evaluation = Evaluation("ipw", "snipw", "direct_method", "doubly_robust", "sndr", "switch_dr", "dr_os")
    user = np.unique(columns["user"], return_inverse=True)[1]
    evaluation.add(LoggedActions(*(columns[name] for name in ("reward", "propensity", "target_propensity")), user,
                                 columns["predicted"], columns["expected"]))  # fmt: skip
    wanted = evaluation.result()
    assert list(found.values) == list(wanted.values) and (found.rows, found.users) == (N, 70)
    for name, interval in wanted.values.items():
        assert found.values[name].mean == pytest.approx(interval.mean)
        assert found.values[name].low == pytest.approx(interval.low, abs=0.02)
    assert found.effective_sample_size == pytest.approx(wanted.effective_sample_size)


def test_the_policy_may_lie_in_a_file_of_its_own(write, columns, monkeypatch):
    whole = judge(write("whole.parquet", columns)).result
    theirs = {name: columns.pop(name) for name in ("target_propensity", "expected")} | {"decision_id": columns["decision_id"]}
    log = write("log.parquet", columns)
    monkeypatch.setattr(decision_log, "_ROWS_AT_ONCE", 128)
    found = judge(log, write("policy.parquet", theirs)).result
    assert found.values["doubly_robust"].mean == pytest.approx(whole.values["doubly_robust"].mean)
    shuffled = {name: np.roll(values, 1) for name, values in theirs.items()}
    with pytest.raises(UserError, match=r"row 0 of .* differ in decision_id: 0 against 899; give the same order"):
        judge(log, write("other.parquet", shuffled))
    with pytest.raises(UserError, match=r"has 900 rows, .* 899; give the policy's row for each row"):
        judge(log, write("short.parquet", {name: values[1:] for name, values in theirs.items()}))


@pytest.mark.parametrize("at_once", [7, 65_536])
def test_slates_are_put_together_across_batches(write, monkeypatch, at_once):
    rows = slates(np.random.default_rng(3))
    monkeypatch.setattr(decision_log, "_ROWS_AT_ONCE", at_once)
    found = judge(write("log.parquet", rows))
    assert (found.by, found.unit) == ("cascade_dr", "slate") and list(found.result.values) == ["sips", "iips", "rips", "cascade_dr"]
    weight, by_hand = {}, 0.0
    for row in range(len(rows["slate_id"])):  # rips in one loop over the rows
        slate = rows["slate_id"][row]
        weight[slate] = weight.get(slate, 1.0) * rows["target_propensity"][row] / rows["propensity"][row]
        by_hand += weight[slate] * rows["reward"][row]
    assert found.result.values["rips"].mean == pytest.approx(by_hand / 300) and found.result.rows == 300
    assert found.result.max_importance_weight == pytest.approx(max(weight.values())) and 0 < found.result.outside < 0.02


def test_rows_without_users_are_units_themselves(write, columns):
    del columns["user"]
    assert judge(write("log.parquet", columns)).result.users == N


BROKEN = {
    "propensity": (
        lambda c: c | {"propensity": np.where(np.arange(N) < 3, np.nan, c["propensity"])},
        r"rows 0 to 899: a propensity is in \(0, 1\]; of 900 values 3 are not \(3 are missing\)",
    ),
    "constant": (lambda c: c | {"propensity": np.full(N, 0.1)}, "all propensities of 900 rows are 0.1: if the log was drawn uniformly"),
    "column": (lambda c: {n: values for n, values in c.items() if n != "reward"}, "no column reward; found decision_id, expected,"),
    "user": (lambda c: c | {"user": [None, *c["user"][1:]]}, "1 rows have no user"),
    "text": (lambda c: c | {"reward": ["much"] * N}, "rows 0 to 899: Failed to parse string: 'much'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_log_that_cannot_judge_is_one_line(write, columns, kind):
    change, message = BROKEN[kind]
    with pytest.raises(UserError, match=message):
        judge(write("log.parquet", change(columns)))


def test_slates_whose_rows_lie_apart_or_lack_a_position_are_refused(write):
    rows = slates(np.random.default_rng(3))
    n = len(rows["slate_id"])
    first_second = np.flatnonzero(rows["position"] == 1)[0]
    for name, kept in (("apart", np.roll(np.arange(n), -1)), ("gap", np.delete(np.arange(n), first_second - 1))):
        changed = {column: np.asarray(values)[kept] for column, values in rows.items()}
        with pytest.raises(UserError, match="a slate's rows lie together, from position 0 down, without gaps"):
            judge(write(f"{name}.parquet", changed))


def test_no_file_and_another_file_are_one_line(tmp_path):
    with pytest.raises(UserError, match="give a Parquet file of logged decisions"):
        DecisionLog(tmp_path / "none.parquet")
    (tmp_path / "log.csv").write_text("reward\n1\n")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        DecisionLog(tmp_path / "log.csv")


def test_the_command_says_it_in_a_sentence_and_as_json(write, columns):
    log = write("log.parquet", columns)
    said = CliRunner().invoke(app, ["ope", str(log), "--estimators", "snipw, sndr"])
    assert said.exit_code == 0 and "verdict by snipw: not identifiable: needs staging" in said.output and "sndr" in said.output
    found = json.loads(CliRunner().invoke(app, ["ope", str(log), "--clip", "2", "--json"]).output)
    assert found["by"] == "doubly_robust" and 0 < found["result"]["clipped_fraction"] < 1 and found["result"]["outside"] is None
    wrong = CliRunner().invoke(app, ["ope", str(log), "--estimators", "guess"])
    assert wrong.exit_code != 0
