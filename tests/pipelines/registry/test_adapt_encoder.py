"""An encoder adapted to a root's examples, from the tables to a release: what is made, what it gains, and that a person decides."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import yaml
from deltalake import write_deltalake
from mlflow import MlflowClient

from models.artifacts import load_ranker
from models.encoder import Encoder
from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.hours import end_of, parse_hour, shift
from pipelines.lake import ledger
from pipelines.lake.control import read_rows
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.tables import table_path
from pipelines.registry.releases import ReleaseRow, all_releases, append_decision, production_before, release_folder
from pipelines.registry.runs import tracked_run
from pipelines.registry.versions import alias_versions, register, versions
from pipelines.settings import load_settings
from pipelines.steps import adapt_encoder, finetune_ranker, use_encoder
from pipelines.steps.adapted_encoders import adapted_folder, read_report
from pipelines.steps.candidates import candidate_folder
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.ranker_learning import base_state
from spark_jobs.contracts import TABLES

pytestmark = [pytest.mark.services, pytest.mark.filterwarnings("ignore")]

START = "2026-11-10T08"
TAUGHT, JUDGED = (START, shift(START, 1), shift(START, 2)), (shift(START, 3), shift(START, 4))
LAST = JUDGED[-1]
LOUD, CALM = ["loud0", "loud1"], ["calm0", "calm1"]
FILLERS = [f"word{number}" for number in range(40)]
KNOWN, ITEMS = 80, 120  # the others come in the judged hours


class World:
    """Users click what is of the kind of their history; one word in four tells an item's kind."""

    def __init__(self):
        self.random = np.random.default_rng(3)
        self.loud = self.random.random(ITEMS) < 0.5
        self.texts = [" ".join(self.random.permutation([*self.random.choice(FILLERS, 3), self._word(kind)])) for kind in self.loud]

    def _word(self, kind):
        return self.random.choice(LOUD if kind else CALM)

    def items(self):
        return [
            {"item_id": f"i{n:03}", "updated_hour": START, "title": text, "text": f" {text} ", "available": True, "published_at": None}
            for n, text in enumerate(self.texts)
        ]

    def examples(self, hours, rows, first, last):
        return [self._example(f"{hour} {n}", hour, n, first, last) for hour in hours for n in range(rows)]

    def _example(self, name, hour, number, first, last):
        start, user = parse_hour(hour), number % 100
        taste, item = user % 2 == 0, self.random.integers(first, last)
        past = self.random.choice(np.flatnonzero(self.loud[:KNOWN] == taste), 5)
        click = float(self.random.random() < (0.95 if self.loud[item] == taste else 0.05))
        recent = [{"ts": start - timedelta(hours=9 - at), "item_id": f"i{n:03}", "weight": 1.0} for at, n in enumerate(past)]
        return {
            "example_id": name, "revision": 0, "user_id": f"u{user}", "item_id": f"i{item:03}", "ts": start, "known_at": start,
            "position": 0, "labels": {"click": click}, "reward": 0.0, "reward_version": "v", "user": {"recent": recent}, "item": {},
            "hour": hour,
        }  # fmt: skip


def append(settings, name, rows):
    data = pa.Table.from_pylist(rows, schema=TABLES[name].schema)
    write_deltalake(str(table_path(settings, name)), data, mode="append", partition_by=list(TABLES[name].partition) or None)


def note(settings, step, hour, **outputs):
    ledger.write_rows(settings, [LedgerRow(hour, step, "done", "code", wall_clock(), wall_clock(), outputs=outputs)])


@pytest.fixture
def root(tmp_path, mlflow_url, make_encoder):
    """Five hours of a log, the last two with items that nobody met before; no release yet."""
    home, encoder = tmp_path / "root", make_encoder("bert", " ".join([*FILLERS, *LOUD, *CALM]))
    values = {
        "lake": {"start_hour": START, "now": "loop"}, "gates": {"window_h": 2}, "mlflow": {"tracking_uri": mlflow_url},
        "adapter": {"lr": 1e-2, "epochs": 6, "batch_size": 128, "rank": 4, "history": 5},
        "ranker": {"bootstrap_lr": 3e-3, "lr": 3e-4, "batch_size": 128, "dim": 8},
    }  # fmt: skip
    home.mkdir()
    (home / "recloop.yaml").write_text("# mine\n" + yaml.safe_dump(values))
    settings, world = load_settings(home, {"RECLOOP__ENCODER__PATH": str(encoder)}), World()
    spec = encoder_spec(settings)
    vectors = Encoder.load(spec.path, spec.pooling, spec.max_tokens).encode(world.texts)
    append(settings, "items", world.items())
    keys = {"encoder_version": spec.version, "text_hash": "-"}
    append(settings, "item_embeddings", [keys | {"item_id": f"i{n:03}", "vector": vector.tolist()} for n, vector in enumerate(vectors)])
    append(settings, "training_examples", [*world.examples(TAUGHT, 900, 0, KNOWN), *world.examples(JUDGED, 600, 0, ITEMS)])
    append(settings, "item_hour", [])
    append(settings, "item_features", [])
    note_data_half(settings, LAST, 0)
    return settings


def note_data_half(settings, hour, version):
    """The hour's data half; what was there before grew by one version, and nobody liked anything."""
    grown = (("embed_items", "item_embeddings"), ("build_examples", "training_examples"))
    same = (("ingest", "items"), ("build_increments", "item_hour"), ("build_features", "item_features"))
    for step, table in (*grown, *same):
        note(settings, step, hour, **{table: version if (step, table) in grown else 0})


@pytest.fixture
def released(root, save_release):
    """The root with a first release, whose policy is registered."""
    spec = encoder_spec(root)
    save_release(release_folder(root, "r000001"), 32, spec.version)
    folder = release_folder(root, "r000001")
    with tracked_run(root, "promote_models", START) as tracked:
        paths = {"encoder": spec.path, "ranker": folder / "ranker", "policy": folder / "policy"}
        numbers = {kind: register(root, tracked, kind, adapt_encoder.Path(path), START) for kind, path in paths.items()}
    row = ReleaseRow("r000001", START, numbers, "bootstrap", "production", "promote_models", START, end_of(START))
    append_decision(root, row, None)
    return root


def next_hour(settings, folder):
    """What the data half of the hour after LAST leaves, and the hour's learning."""
    hour, world, spec = shift(LAST, 1), World(), encoder_spec(settings)
    vectors = Encoder.load(str(folder / "encoder"), spec.pooling, spec.max_tokens).encode(world.texts)
    keys = {"encoder_version": spec.version, "text_hash": "-"}
    append(settings, "item_embeddings", [keys | {"item_id": f"i{n:03}", "vector": vector.tolist()} for n, vector in enumerate(vectors)])
    append(settings, "training_examples", world.examples([hour], 600, 0, ITEMS))
    note_data_half(settings, hour, 1)
    return finetune_ranker.run(settings, hour)


def without_environment(settings):
    return load_settings(settings.home, {})


def test_from_examples_to_a_release_by_hand(released, mlflow_url, save_release):
    root, before = released, (released.home / "recloop.yaml").read_text()
    outcome = adapt_encoder.run(root)
    version = outcome.detail.split()[1]
    assert (outcome.status, outcome.hour) == ("done", LAST) and version != encoder_spec(root).version
    folder, report = adapted_folder(root, version), read_report(root, version)
    assert Encoder(str(folder / "encoder")).version == version == load_ranker(folder / "ranker").config.encoder_version

    run = MlflowClient(mlflow_url).get_run(versions(root, "ranker")[-1].run_id)
    found = run.data.metrics
    assert found["gain.new_items"] == pytest.approx(found["adapted.new_items"] - found["frozen.new_items"], abs=1e-9)
    assert found["low.new_items"] <= found["gain.new_items"] <= found["high.new_items"] and found["low.new_items"] > 0
    assert 0 < found["rows.new_items"] < found["rows.all_items"] < 1200 and found["users.all_items"] < 40, "gate fold only"
    assert run.info.status == "FINISHED" and run.data.tags["method"] == "lora"
    assert "figures/embeddings.png" in [file.path for file in MlflowClient(mlflow_url).list_artifacts(run.info.run_id, "figures")]
    assert report.gains == outcome.detail.split("; ")[1:] and "new items" in report.gains[1]

    assert (root.home / "recloop.yaml").read_text() == before and len(all_releases(root)) == 1, "nothing is released by itself"
    assert not alias_versions(root, "production") and not alias_versions(root, "candidate")

    with pytest.raises(UserError, match=f"hour {LAST} has no finished score_users and no promote_models; let it end"):
        use_encoder.run(root, version)
    assert (root.home / "recloop.yaml").read_text() == before and len(all_releases(root)) == 1
    for table in ("slate_decisions", "slate_log"):
        append(root, table, [])
    note(root, "score_users", LAST, slate_decisions=0, slate_log=0)
    note(root, "promote_models", LAST)
    row = use_encoder.run(root, version)
    again = use_encoder.run(without_environment(root), version)
    assert row.release_id == again.release_id == "r000002" and len(all_releases(root)) == 2
    assert (row.since, row.kind, row.decided_by) == (shift(LAST, 1), "change", "use_encoder") and "chosen by hand" in row.reasons[0]
    kept = {"policy": all_releases(root)[0].versions["policy"]}
    assert dict(row.versions) == {**kept, **report.versions} == alias_versions(root, "production")
    assert production_before(root, LAST).release_id == "r000001" and production_before(root, shift(LAST, 1)).release_id == "r000002"
    chosen = without_environment(root)
    assert encoder_spec(chosen).version == version and (root.home / "recloop.yaml").read_text().startswith("# mine\n")

    state = base_state(chosen, shift(LAST, 1), version)
    assert state.ranker.config.encoder_version == version and state.step > 0
    found = f"production r000001 reads vectors of encoder {encoder_spec(root).version}, encoder.path gives {version}"
    with pytest.raises(UserError, match=found):
        base_state(chosen, LAST, version)

    learned = next_hour(chosen, folder)
    assert learned.status == "done" and base_state(chosen, shift(LAST, 2), version).step > state.step
    assert load_ranker(candidate_folder(chosen, shift(LAST, 1)) / "ranker").config.encoder_version == version
    arms = {found["subject"] for found in read_rows(chosen, "metrics") if found["name"] == "prequential_auc"}
    assert arms == {"production", "lineage"}, "the first release reads the vectors of the frozen encoder"
    for step in ("build_features", "score_users", "promote_models"):
        note(chosen, step, shift(LAST, 1))

    with pytest.raises(UserError, match="was not chosen by `recloop use-encoder`"):
        use_encoder.back(root)
    returned = use_encoder.back(chosen)
    assert returned.versions == all_releases(root)[0].versions == alias_versions(root, "production") and returned.release_id == "r000003"
    assert without_environment(root).encoder.path == root.encoder.path
    assert base_state(root, shift(LAST, 2), encoder_spec(root).version).step == 0, "from production's weights"


def test_the_same_examples_give_the_same_encoder_and_texts_alone_another(root):
    clicks, again = (adapt_encoder.run(root, LAST, "lora", 1).detail for _ in range(2))
    texts = adapt_encoder.run(root, LAST, "mlm", 1).detail
    assert clicks == again and texts.split()[1] != clicks.split()[1]


def test_what_cannot_be_adapted_or_released_is_one_line_and_leaves_nothing(root, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no adapted encoder '0123'; found none; `recloop adapt-encoder` makes one"):
        use_encoder.run(root, "0123")
    with pytest.raises(UserError, match="leaves no hours to judge by after the first load"):
        note_data_half(root, START, 0)
        adapt_encoder.run(root, START)
    with pytest.raises(UserError, match="cannot be adapted by adalora: AdaLoRA needs at least 4 updates"):
        few = root.adapter.model_copy(update={"rows": 100, "epochs": 1})
        adapt_encoder.run(root.model_copy(update={"adapter": few}), LAST, "adalora")
    empty = load_settings(tmp_path / "empty", {})
    with pytest.raises(UserError, match="no hour is finished under"):
        adapt_encoder.run(empty)
    assert not [path for path in (root.home / "encoders").glob("*") if not path.name.startswith(".")]
    monkeypatch.setenv("RECLOOP__ENCODER__PATH", "elsewhere")
    with pytest.raises(UserError, match="RECLOOP__ENCODER__PATH names elsewhere"):
        use_encoder.name_encoder(root, str(tmp_path))
