"""Objects to landing files: from a folder by file://, and from a server on loopback that speaks as much S3 as a reader needs."""

import gzip
import hashlib
import os
import threading
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

from pipelines.clock import wall_clock
from pipelines.errors import TransientError, UserError
from pipelines.lake import ledger
from pipelines.lake.ledger import LandingFile, LedgerRow
from pipelines.settings import load_settings
from pipelines.steps import pull_objects as pulling
from pipelines.steps.landing_files import check_complete
from pipelines.steps.pull_objects import pull_objects

HOUR = "2026-11-10T09"
OLD = 1_700_000_000


class Bucket(BaseHTTPRequestHandler):
    """One bucket, ``events``: lists, heads and ranges of ``objects`` (key to bytes and second of writing)."""

    objects: dict[str, tuple[bytes, int]]

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        address = urlsplit(self.path)
        if "list-type" in (query := parse_qs(address.query, keep_blank_values=True)):
            self.send(200, self.listing(query.get("prefix", [""])[0], query.get("delimiter", [""])[0]), {})
        else:
            self.answer(body=True)

    def answer(self, body):
        bucket, _, key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        if bucket != "events" or (key and key not in self.objects):
            self.send(404, b"", {}, body)
            return
        content, written = self.objects.get(key, (b"", OLD))
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1 if last else None]
        self.send(206 if "Range" in self.headers else 200, part, {"Last-Modified": formatdate(written, usegmt=True)}, body)

    def listing(self, prefix, delimiter):
        found, folders = "", set()
        for key, (content, written) in sorted(self.objects.items()):
            rest = key.removeprefix(prefix)
            if key.startswith(prefix) and delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            elif key.startswith(prefix):
                time = f"{datetime.fromtimestamp(written, UTC):%Y-%m-%dT%H:%M:%S}.500Z"
                found += f"<Contents><Key>{key}</Key><Size>{len(content)}</Size><LastModified>{time}</LastModified></Contents>"
        found += "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in sorted(folders))
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()

    def send(self, status, content, headers, body=True):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def bucket(monkeypatch):
    """Its objects, and the address of the prefix ``feedback/``."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    handler = type("Objects", (Bucket,), {"objects": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler.objects, f"s3://events/feedback/?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def make_settings(tmp_path):
    def make(*uris, **lake):
        home = tmp_path / "root"
        home.mkdir(exist_ok=True)
        values = {"start_hour": HOUR, "sources": [{"kind": "feedback", "uri": uri} for uri in uris], **lake}
        (home / "recloop.yaml").write_text(yaml.safe_dump({"lake": values}))
        return load_settings(home, {})

    return make


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    (folder / "day=1").mkdir(parents=True)
    return folder


def put(path, content, written=OLD):
    path.write_bytes(content)
    os.utime(path, (written, written))


def landed(settings):
    """Contents of the landing files by the object's own name."""
    files = (settings.landing / "feedback").glob("object-*")
    return {path.name.split("-", 3)[3]: path.read_bytes() for path in files if not path.name.endswith(".tmp")}


def take(settings):
    """An hour takes what is there: a frozen row of the ledger, as ingest writes it."""
    files = tuple(
        LandingFile(str(path.relative_to(settings.landing)), path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), "feedback")
        for path in sorted((settings.landing / "feedback").glob("object-*"))
    )
    moment = wall_clock()
    ledger.write_rows(settings, [LedgerRow(HOUR, "ingest", "frozen", "c", moment, moment, files=files)])


def test_complete_objects_land_once_byte_for_byte(make_settings, store):
    settings = make_settings(store.as_uri())
    packed = gzip.compress(b'{"n":1}\n')
    put(store / "a.jsonl.gz", packed)
    put(store / "day=1" / "a.jsonl", b"one\r\n\xff")
    for name in ("_tmp.jsonl", ".hidden.jsonl", "b.jsonl.tmp", "notes.txt"):
        put(store / name, b"no")
    (store / "_temporary").mkdir()
    put(store / "_temporary" / "c.jsonl", b"no")
    pull_objects(settings)
    assert landed(settings) == {"a.jsonl.gz": packed, "day=1__a.jsonl": b"one\r\n\xff"}
    put(store / "later.csv", b"x\n")
    for _ in range(2):
        pull_objects(settings)
    assert len(landed(settings)) == 3 and len(list((settings.landing / "feedback").iterdir())) == 3


def test_what_an_hour_took_is_not_pulled_again_after_maintenance_dropped_it(make_settings, store):
    settings = make_settings(store.as_uri())
    put(store / "a.jsonl", b"{}\n")
    pull_objects(settings)
    take(settings)
    next((settings.landing / "feedback").glob("object-*")).unlink()
    pull_objects(settings)
    assert landed(settings) == {}
    put(store / "a.jsonl", b"{}\n", OLD + 60)
    pull_objects(settings)
    assert landed(settings) == {}, "written again with the same bytes it is the same object"
    put(store / "a.jsonl", b"[]\n", OLD + 60)
    with pytest.raises(UserError, match=r"object a\.jsonl of file://.* changed after it was pulled as feedback/object-.*; put the old"):
        pull_objects(settings)


def test_two_sources_with_the_same_names_both_land_and_complete_an_hour_together(make_settings, store, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    settings = make_settings(store.as_uri(), other.as_uri(), hour_done=["feedback"])
    put(store / "a.jsonl", b"{}\n")
    put(other / "a.jsonl", b"[]\n")
    put(store / f"_HOUR_DONE-{HOUR}", b"")
    pull_objects(settings)
    assert len(list((settings.landing / "feedback").glob("object-*-a.jsonl"))) == 2
    with pytest.raises(TransientError, match=f"no feedback/_HOUR_DONE-{HOUR} in landing"):
        check_complete(settings, HOUR)
    put(other / f"_HOUR_DONE-{HOUR}", b"")
    pull_objects(settings)
    check_complete(settings, HOUR)


def test_a_mark_that_comes_while_objects_are_listed_waits_for_the_next_pull(make_settings, store, monkeypatch):
    settings, listed = make_settings(store.as_uri()), pulling._list

    def slow(*arguments, recursive):
        found = listed(*arguments, recursive=recursive)
        put(store / "last.jsonl", b"{}\n")
        put(store / f"_HOUR_DONE-{HOUR}", b"")
        return found

    monkeypatch.setattr(pulling, "_list", slow)
    mark = settings.landing / "feedback" / f"_HOUR_DONE-{HOUR}"
    pull_objects(settings)
    assert not mark.exists()
    pull_objects(settings)
    assert mark.exists() and landed(settings) == {"last.jsonl": b"{}\n"}


def test_a_copy_that_is_killed_before_its_rename_is_made_again(make_settings, store, monkeypatch):
    settings = make_settings(store.as_uri())
    put(store / "a.jsonl", b"{}\n")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pulling, "failpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            pull_objects(settings)
    left = next((settings.landing / "feedback").iterdir())
    assert left.name.endswith(".tmp")
    os.utime(left, (OLD, OLD))
    pull_objects(settings)
    assert landed(settings) == {"a.jsonl": b"{}\n"} and not left.exists()


def test_objects_of_an_s3_store(make_settings, bucket):
    objects, uri = bucket
    settings = make_settings(uri)
    pull_objects(settings)
    assert landed(settings) == {}, "a prefix without objects is none yet"
    packed, large = gzip.compress(b'{"n":1}\n'), os.urandom(3_000_000)
    objects |= {"feedback/day=1/a.jsonl.gz": (packed, OLD), "feedback/b.parquet": (large, OLD + 5), "feedback2/c.jsonl": (b"no", OLD)}
    objects[f"feedback/_HOUR_DONE-{HOUR}"] = (b"", OLD)
    for _ in range(2):
        pull_objects(settings)
    assert landed(settings) == {"day=1__a.jsonl.gz": packed, "b.parquet": large}
    assert (settings.landing / "feedback" / f"_HOUR_DONE-{HOUR}").exists()
    objects["feedback/b.parquet"] = (large[::-1], OLD + 9)
    with pytest.raises(UserError, match=r"object b\.parquet of s3://events/feedback/ changed after it was pulled"):
        pull_objects(settings)


def test_what_cannot_be_read_is_one_line_without_keys(make_settings, bucket, tmp_path):
    _, uri = bucket
    there, gone = uri.replace("//events", "//me:secret@nowhere"), uri.rpartition(":")[0] + ":9"
    for wrong, error, said in (
        (there, UserError, "found no nowhere for s3://nowhere/feedback/; make it"),
        ((tmp_path / "none").as_uri(), UserError, "found no .*/none for file://"),
        ("gopher://x/y", UserError, "cannot read gopher://x/y: .*; mend lake.sources"),
        (gone, TransientError, "cannot pull from s3://events/feedback/: "),
    ):
        with pytest.raises(error, match=said) as raised:
            pull_objects(make_settings(wrong))
        assert "secret" not in str(raised.value) and "\n" not in str(raised.value)
