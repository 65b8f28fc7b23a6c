"""A sound root of three hours, written by delta-rs after the contracts and signed as Spark's, and ways to damage it."""

import hashlib
import json
import shutil
import struct
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from pipelines.hours import end_of
from pipelines.lake.control import append_rows
from pipelines.lake.ledger import LandingFile, LedgerRow, write_rows
from pipelines.local.verification import lines, verify
from pipelines.settings import load_settings
from spark_jobs.contracts import TABLES

FIRST, SECOND, THIRD = (f"2026-11-10T{hour:02d}" for hour in (8, 9, 10))
SPARK = "Apache-Spark/4.2.0 Delta-Lake/4.4.0"
BOTH = (SECOND, THIRD)
LANDED = {
    "items/catalogue.jsonl": ['{"item_id": "a"}', '{"item_id": "b"}', '{"item_id": "a"}'],
    "feedback/history.jsonl": ["{}", "{}"],
    "impressions/shown.jsonl": ["{}", "{}", "{}"],
    "feedback/done.jsonl": ["{}"],
}


def value_of(kind):
    """A value that every contract accepts."""
    if kinds.is_string(kind):
        return "x"
    if kinds.is_timestamp(kind):
        return datetime(2026, 11, 10, 8, 5, tzinfo=UTC)
    if kinds.is_map(kind) or kinds.is_list(kind):
        return []
    if kinds.is_struct(kind):
        return {field.name: value_of(field.type) for field in kind}
    return True if kinds.is_boolean(kind) else 1


def rows_of(name, rows):
    """Rows of the table: what is not named has a value that the contract accepts."""
    schema = TABLES[name].schema
    defaults = {field.name: value_of(field.type) for field in schema}
    return pa.Table.from_pylist([defaults | row for row in rows], schema=schema)


def edit_commit(path, change):
    """Rewrites a commit, action by action."""
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    for action in actions:
        change(action)
    path.write_text("\n".join(json.dumps(action) for action in actions) + "\n")


class SmallRoot:
    """The root at ``home``, with what a test does to it."""

    def __init__(self, home):
        self.home, self.settings, self._minute = home, load_settings(home, {}), len(list(home.rglob("ledger/*.parquet")))

    def folder(self, name):
        return self.settings.warehouse / name

    def commits(self, name):
        return sorted((self.folder(name) / "_delta_log").glob("*.json"))

    def data_files(self, name):
        return sorted(path for path in self.folder(name).rglob("*.parquet") if "_delta_log" not in path.parts)

    def newest(self, name):
        return self.commits(name)[-1]

    def table(self, name):
        return DeltaTable(str(self.folder(name)))

    def version(self, name):
        return self.table(name).version()

    def create(self, name):
        """The empty table, as its contract says."""
        table = TABLES[name]
        DeltaTable.create(str(self.folder(name)), schema=table.schema, partition_by=list(table.partition) or None)
        if table.checks:
            self.table(name).alter.add_constraint(dict(table.checks))
            promised = {f"delta.constraints.{check}": condition for check, condition in table.checks.items()}
            edit_commit(self.commits(name)[-1], lambda action: action.get("metaData", {}).get("configuration", {}).update(promised))
        self.sign(name)

    def sign(self, name, **metadata):
        """Says of unsigned commits that Spark made them."""

        def by_spark(action):
            if "commitInfo" in action and not action["commitInfo"]["engineInfo"].startswith("Apache"):
                action["commitInfo"]["engineInfo"] = SPARK
                if metadata:
                    action["commitInfo"]["userMetadata"] = json.dumps(metadata)

        self.edit_commits(name, by_spark)

    def commit(self, name, rows, step, hours):
        """Appends rows as this step's commit for the hours; answers its version."""
        once = CommitProperties(max_commit_retries=0)
        write_deltalake(str(self.folder(name)), rows_of(name, rows), mode="append", commit_properties=once)
        self.sign(name, step=step, hours=f"{hours[0]}..{hours[-1]}", code_version="code")
        return self.version(name)

    def ledger(self, step, hours, status="done", **values):
        """A row for each of the hours, as one attempt."""
        self._minute += 1
        at = end_of(hours[-1]) + timedelta(minutes=self._minute)
        write_rows(self.settings, [LedgerRow(hour, step, status, "code", at, at + timedelta(seconds=5), **values) for hour in hours])

    def land(self, hours, names):
        """Landing files, frozen for these hours."""
        files = []
        for name in names:
            path, content = self.settings.landing / name, "".join(line + "\n" for line in LANDED[name]).encode()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            files.append(LandingFile(name, len(content), hashlib.sha256(content).hexdigest(), name.partition("/")[0]))
        self.ledger("ingest", hours, "frozen", files=tuple(files))

    def release(self, release_id, hour, stage="production"):
        """A decision, with the folder that scoring reads."""
        versions = {"encoder": "1", "ranker": "1", "policy": "1"}
        values = {"release_id": release_id, "hour": hour, "versions": versions, "stage": stage, "since": hour, "compared_with": None}
        append_rows(self.settings, "releases", rows_of("releases", [values]).to_pylist())
        for model in ("ranker", "policy"):
            folder = self.settings.releases / release_id / model
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
            header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
            (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))


    def edit_commit(self, path, change):
        edit_commit(path, change)

    def edit_commits(self, name, change):
        for path in self.commits(name):
            edit_commit(path, change)

    def rows_of(self, name, rows):
        return rows_of(name, rows)

    def change(self, name, do):
        """A delete or update by delta-rs, signed as Spark's."""
        do(self.table(name))
        self.sign(name)

    def recreate(self, name, schema, partition=("hour",)):
        """Another table in its place."""
        shutil.rmtree(self.folder(name))
        DeltaTable.create(str(self.folder(name)), schema=schema, partition_by=list(partition) or None)
        self.sign(name)

    def rewrite(self, name, change):
        """Writes the table's last data file anew, and its size and rows into the log."""
        path = self.data_files(name)[-1]
        table = change(pq.ParquetFile(path).read())
        pq.write_table(table, path)

        def as_it_is(action):
            if action.get("add", {}).get("path", "").endswith(path.name):
                action["add"]["size"] = path.stat().st_size
                action["add"]["stats"] = json.dumps({"numRecords": len(table)})

        self.edit_commits(name, as_it_is)

    def only(self):
        """The one finding."""
        result = verify(self.settings)
        assert len(result.findings) == 1, "\n".join("\n".join(lines(finding)) for finding in result.findings)
        return result.findings[0]

    def named(self, check, table, *parts):
        """The one finding, which must be of this check and table and hold these words."""
        finding = self.only()
        assert (finding.check, finding.table) == (check, table)
        assert finding.kind == ("derived" if TABLES[table].kind == "derived" else "source")
        said = " ".join(lines(finding))
        for part in parts:
            assert part in said, said
        return finding

    def notes(self):
        return [(note.table, note.text) for note in verify(self.settings).notes]


@pytest.fixture(scope="session")
def sound_root(tmp_path_factory):
    return build(tmp_path_factory.mktemp("sound") / "root").home


@pytest.fixture
def root(sound_root, tmp_path):
    """A sound root of one's own."""
    shutil.copytree(sound_root, tmp_path / "root")
    return SmallRoot(tmp_path / "root")


def build(home):
    """The first load (FIRST), then one pass over two hours (BOTH), scored twice; an item is sent twice, one impression has no slate."""
    home.mkdir()
    (home / "recloop.yaml").write_text(f"lake: {{start_hour: {FIRST}, now: loop}}\n")
    root = SmallRoot(home)
    for name, table in TABLES.items():
        if table.engine == "spark":
            root.create(name)
    root.release("r000001", FIRST)
    root.land([FIRST], ["items/catalogue.jsonl", "feedback/history.jsonl"])
    _data_half(root, (FIRST,), items=["a", "b"], impressions=[], feedback=[("f1", FIRST), ("f2", FIRST)], rows_out=5)
    _score(root, FIRST, "s1")
    root.land(BOTH, ["impressions/shown.jsonl", "feedback/done.jsonl"])
    shown = [("e1", SECOND, "s1"), ("e2", THIRD, "s1"), ("e3", THIRD, None)]
    _data_half(root, BOTH, items=[], impressions=shown, feedback=[("f3", THIRD)], rows_out=4)
    _score(root, THIRD, "s2")
    return root


def _data_half(root, hours, items, impressions, feedback, rows_out):
    last = hours[-1]
    tables = {
        "items": [{"item_id": item, "updated_hour": hours[0]} for item in items],
        "impressions": [
            {"event_id": event, "hour": hour, "slate_id": slate, "position": number % 2}
            for number, (event, hour, slate) in enumerate(impressions)
        ],
        "feedback": [{"event_id": event, "hour": hour} for event, hour in feedback],
    }
    outputs = {name: root.commit(name, rows, "ingest", hours) if rows else root.version(name) for name, rows in tables.items()}
    outputs["quarantine"] = root.version("quarantine")
    root.ledger("ingest", hours, outputs=outputs, rows_in=rows_out, rows_out=rows_out, rows_refused=0)
    ids = {"user_id": "u", "item_id": "a"}
    increments = {name: root.commit(name, [ids_of(name, ids) | {"hour": hour} for hour in hours], "build_increments", hours)
                  for name in ("user_hour", "item_hour")}  # fmt: skip
    root.ledger("build_increments", hours, inputs=outputs, outputs=increments)
    examples = [{"example_id": f"{hour}-{number}", "hour": hour, "revision": 0} for hour in hours for number in range(2)]
    version = root.commit("training_examples", examples, "build_examples", hours)
    root.ledger("build_examples", hours, inputs=outputs | increments, outputs={"training_examples": version}, rows_out=len(examples))
    if items:
        version = root.commit("item_embeddings", [{"item_id": item} for item in items], "embed_items", hours)
    embeddings = {"item_embeddings": root.version("item_embeddings")}
    root.ledger("embed_items", hours, outputs=embeddings, rows_out=len(items))
    caches = {name: root.commit(name, [dict.fromkeys(ids_of(name, ids), last)], "build_features", hours)
              for name in ("user_features", "item_features")}  # fmt: skip
    root.ledger("build_features", hours, inputs=increments, outputs=caches)


def ids_of(name, ids):
    return {key: value for key, value in ids.items() if key in TABLES[name].key}


def _score(root, hour, slate):
    places = [{"slate_id": slate, "position": number, "item_id": "ab"[number], "propensity": 0.5, "hour": hour} for number in (0, 1)]
    decided = [{"slate_id": slate, "hour": hour, "release_id": "r000001"}]
    outputs = {
        "slate_decisions": root.commit("slate_decisions", decided, "score_users", [hour]),
        "slate_log": root.commit("slate_log", places, "score_users", [hour]),
    }
    scores = rows_of("scores", [place | {"release_id": "r000001", "user_id": "u"} for place in places])
    write_deltalake(str(root.folder("scores")), scores, mode="overwrite")
    root.sign("scores", step="score_users", hours=f"{hour}..{hour}", code_version="code")
    outputs["scores"] = root.version("scores")
    root.ledger("score_users", [hour], "frozen", release_id="r000001")
    root.ledger("score_users", [hour], outputs=outputs, rows_out=2, release_id="r000001")
