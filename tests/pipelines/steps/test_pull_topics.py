"""Topics to landing files: a real broker on loopback, a server with Spark's Kafka source, and the records as they were produced."""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.errors import TransientError, UserError
from pipelines.lake import tables
from pipelines.lake.quarantine import refused, replay
from pipelines.lake.session import spark_session
from pipelines.local import jars, ports, processes
from pipelines.local.java import java_command
from pipelines.local.services import down, ensure_spark
from pipelines.settings import Source, environment, load_settings
from pipelines.steps.build_features import run_steps
from pipelines.steps.ingest import ingest
from pipelines.steps.pull_topics import pull_topics
from pipelines.steps.topic_ranges import positions
from spark_jobs.contracts import TABLES
from spark_jobs.landing_formats import records

VERSION = "4.2.0"
START, FIRST = "2026-11-10T08", "2026-11-10T09"
TAKEN = ("impressions", "feedback", "items", "quarantine")
EVENT = {"user_id": "u", "item_id": "i", "ts": f"{START}:10:00Z", "type": "click"}
BROKER = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{quorum}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{quorum}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
num.partitions=2
offsets.topic.replication.factor=1
log.segment.bytes=1048576
log.retention.bytes=1048576
log.retention.check.interval.ms=300
log.initial.task.delay.ms=100
"""
CLIENT = """
import sys
from pathlib import Path
from pipelines.lake.session import spark_session
from pipelines.settings import load_settings
from pipelines.steps.pull_topics import pull_topics

settings = load_settings(Path(sys.argv[1]))
with spark_session(settings) as spark:
    pull_topics(spark, settings)
"""


class Broker(NamedTuple):
    address: str
    data: Path


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker that makes topics of two partitions when they are written to, and keeps about 1 MB of each partition."""
    artifact = ("org.apache.kafka", f"kafka_{jars.SCALA}", VERSION)
    found = jars.resolved(jars.share() / f"kafka-broker-{VERSION}", artifact, beside_spark=False)
    folder, (port, quorum) = tmp_path_factory.mktemp("broker"), free_ports(2)
    config, log = folder / "server.properties", folder / "log"
    config.write_text(BROKER.format(port=port, quorum=quorum, folder=folder))
    java = [java_command(), "-Xmx256m", "-cp", ":".join(map(str, found))]
    formatting = [*java, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", str(config)]
    subprocess.run(formatting, check=True, capture_output=True)
    process = processes.start([*java, "kafka.Kafka", str(config)], log, environment(), folder)
    try:
        processes.wait_until_ready("Kafka", process, lambda: ports.answers(port), log, 120)
        yield Broker(f"127.0.0.1:{port}", folder / "data")
    finally:
        processes.stop(process)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found


@pytest.fixture(scope="module")
def kafka_spark(tmp_path_factory):
    """Address of a server that a root with a topic started: it has the Kafka source."""
    home = tmp_path_factory.mktemp("kafka-spark")
    settings = write_settings(home, [{"brokers": "unused:9092", "topic": "unused"}], spark={"heap": "1g"})
    try:
        yield ensure_spark(settings)
    finally:
        down(settings)


def write_settings(home, sources, **sections):
    home.mkdir(exist_ok=True)
    lake = {"start_hour": START, "now": "loop", "refused_share": 0.9, "sources": [{"kind": "feedback", **one} for one in sources]}
    (home / "recloop.yaml").write_text(yaml.safe_dump({"lake": lake, **sections}))
    return load_settings(home, {})


@pytest.fixture
def make_settings(tmp_path, broker, kafka_spark):
    def make(*sources):
        return write_settings(tmp_path, [{"brokers": broker.address, **one} for one in sources], spark={"remote": kafka_spark})

    return make


@pytest.fixture
def produce(broker, kafka_spark):
    """Writes values to a topic's partitions, by Spark's own sink."""
    from pyspark.sql import SparkSession

    session = SparkSession.builder.remote(kafka_spark).create()

    def write(topic, values):
        frame = session.createDataFrame(values, "partition int, value binary")
        frame.coalesce(1).write.format("kafka").option("kafka.bootstrap.servers", broker.address).option("topic", topic).save()

    yield write
    session.stop()


def pull(settings):
    with spark_session(settings) as spark:
        pull_topics(spark, settings)


def files(settings):
    return sorted(path.name for path in (settings.landing / "feedback").iterdir())


def landed(settings):
    rows = [row for name in files(settings) for row in pq.read_table(settings.landing / "feedback" / name).to_pylist()]
    return Counter((row["partition"], row["record"]) for row in rows)


def name(topic, partition, start, until):
    return f"kafka-{topic}-{partition}-{start:020d}-{until:020d}.parquet"


def test_every_record_lands_once_over_pulls_partitions_and_bounds(make_settings, produce):
    settings = make_settings({"topic": "clicks", "max_records": 4})
    first = [(number % 2, b"%d" % number) for number in range(12)]
    produce("clicks", first)
    pull(settings)
    assert files(settings) == [name("clicks", part, *span) for part in (0, 1) for span in ((0, 4), (4, 6))]
    second = [(1, b"more"), (1, None), (1, b"")]
    produce("clicks", second)
    pull(settings)
    before = files(settings)
    assert before[-1] == name("clicks", 1, 6, 9)
    pull(settings)
    assert files(settings) == before and landed(settings) == Counter(first + second)


def test_a_pull_that_is_killed_before_its_rename_loses_and_doubles_nothing(make_settings, produce):
    settings = make_settings({"topic": "killed"})
    values = [(number % 2, b"%d" % number) for number in range(6)]
    produce("killed", values)
    own = environment(RECLOOP__FAILPOINT="pull:rename", PYTHONPATH=str(Path(__file__).parents[3]))
    assert subprocess.run([sys.executable, "-c", CLIENT, str(settings.home)], env=own, check=False).returncode == -9
    assert len(files(settings)) == 2 and all(file.endswith(".tmp") for file in files(settings))
    pull(settings)
    assert files(settings) == [name("killed", 0, 0, 3), name("killed", 1, 0, 3)] and landed(settings) == Counter(values)


def test_refused_bytes_are_kept_and_what_was_taken_is_not_pulled_again(make_settings, produce, monkeypatch):
    needed = {name: table for name, table in TABLES.items() if table.engine != "spark" or name in TAKEN}
    monkeypatch.setattr(tables, "TABLES", needed)
    settings = make_settings({"topic": "refused"})
    bad = [b'{"user_id":\n"u"', b"\xff\xfe{}\r\n", b"", b"{" + b" " * 1_000_001]
    spread = json.dumps(EVENT, indent=2).encode()
    produce("refused", [(0, value) for value in [json.dumps({**EVENT, "item_id": "j"}).encode(), *bad]] + [(1, spread), (1, None)])
    with spark_session(settings) as spark:
        tables.create_spark_tables(spark, settings)
        run_steps(spark, settings, [START], ((ingest, "ingest"),))
    taken = tables.read_table(settings, "feedback")["item_id"].to_pylist()
    assert sorted(taken) == ["i", "j"], "a record may hold line breaks, a null is none"
    kept = tables.read_table(settings, "quarantine").to_pylist()
    assert sorted(row["raw"] for row in kept) == sorted(bad)
    assert {one.reason: one.count for one in refused(settings)} == {"bad_json": 3, "oversized": 1}
    (again,) = replay(settings)
    assert sorted(record.raw for record in records(str(settings.landing / again), 10**6)) == sorted(bad)

    (settings.landing / again).unlink()
    for file in files(settings):
        (settings.landing / "feedback" / file).unlink()
    produce("refused", [(1, b"new")])
    pull(settings)
    assert landed(settings) == Counter([(1, b"new")]) and files(settings) == [name("refused", 1, 2, 3)]


def test_offsets_that_the_broker_dropped_are_named_and_given_up_by_hand_only(make_settings, produce, broker):
    settings = make_settings({"topic": "lost"})
    produce("lost", [(0, b"a"), (1, b"a"), (1, b"b")])
    pull(settings)
    blocks = [(1, os.urandom(400_000)) for _ in range(12)]
    produce("lost", blocks)
    with pytest.raises(UserError, match=r"topic lost, partition 1: offsets 2\.\.\d+ were not landed yet and are gone") as raised:
        wait_until_dropped(broker.data / "lost-1")
        pull(settings)
    path = Path(str(raised.value).rpartition("touch ")[2])
    assert path.parent == settings.landing / "feedback"
    path.touch()
    pull(settings)
    until = int(path.name[-26:-6])
    assert pq.read_table(path.with_name(name("lost", 1, until, 14)))["record"].to_pylist() == [block for _, block in blocks[until - 2 :]]


def test_a_topic_made_anew_is_noticed_however_long_it_is(make_settings, produce):
    """Another topic in its place, which has grown past the old position."""
    produce("old", [(0, b"a"), (0, b"b"), (1, b"c")])
    pull(make_settings({"topic": "old", "name": "orders"}))
    produce("anew", [(number % 2, b"other %d" % number) for number in range(8)])
    settings = make_settings({"topic": "anew", "name": "orders"})
    before = files(settings)
    with pytest.raises(UserError, match=r"record at offset [01] of partition [01] is another .* made anew; .* a name that it has not had"):
        pull(settings)
    assert [file for file in files(settings) if not file.endswith(".tmp")] == before
    pull(make_settings({"topic": "anew", "name": "orders-2"}))
    assert name("orders-2", 0, 0, 4) in files(settings)
    produce("old", [(0, b"d")])
    pull(make_settings({"topic": "old", "name": "orders"}))
    assert name("orders", 0, 2, 3) in files(settings)


def wait_until_dropped(partition, patience_s=60):
    """Until the first segment is gone, and no other one goes any more."""
    deadline, before = time.monotonic() + patience_s, None
    while (now := {path.name for path in partition.glob("*.log")}) != before or f"{0:020d}.log" in now:
        assert time.monotonic() < deadline, now
        before = now
        time.sleep(1)


def test_what_the_broker_refuses_is_one_line(make_settings, produce):
    produce("short", [(0, b"a")])
    hasty = {"default.api.timeout.ms": 2000, "request.timeout.ms": 1000}
    for source, error, said in (
        ({"topic": "nowhere"}, UserError, "found no topic nowhere at 127.0.0.1:.*; create it, or mend lake.sources"),
        ({"topic": "short", "brokers": "127.0.0.1:9", "options": hasty}, TransientError, "short at 127.0.0.1:9 does not answer: Timeout"),
        ({"topic": "short", "options": {"group.protocol": "none"}}, UserError, "cannot be read: .*; mend the options"),
    ):
        with pytest.raises(error, match=said) as raised:
            pull(make_settings(source))
        assert "\n" not in str(raised.value)
    settings = make_settings({"topic": "short"})
    (settings.landing / "feedback" / name("short", 0, 0, 7)).touch()
    with pytest.raises(UserError, match=r"ends before the offsets that were landed from it: it was made anew"):
        pull(settings)
    pull(settings.model_copy(update={"lake": make_settings({"topic": "short", "name": "short-2"}).lake}))
    assert name("short-2", 0, 0, 1) in files(settings)


def test_positions_are_read_off_a_topics_own_files(tmp_path):
    settings = write_settings(tmp_path, [])
    source, folder = Source(kind="feedback", brokers="b", topic="a"), settings.landing / "feedback"
    folder.mkdir(parents=True)
    assert positions(settings, source) == {}
    (settings.landing / "impressions").mkdir()
    (settings.landing / "impressions" / name("a", 0, 0, 50)).touch()
    for other in (name("a-1", 0, 0, 9), name("b", 0, 0, 9), name("a", 0, 0, 9) + ".tmp", "_" + name("a", 0, 0, 9), "kafka-a-0-0-9.parquet"):
        (folder / other).touch()
    assert positions(settings, source) == {}
    for own in (name("a", 0, 3, 9), name("a", 0, 9, 20), name("a", 11, 0, 1)):
        (folder / own).touch()
    assert positions(settings, source) == {0: 20, 11: 1}
    (folder / name("a", 0, 21, 30)).touch()
    with pytest.raises(UserError, match=r"0{18}21-0{18}30 does not begin at 20, where the one before it ends; put back the file"):
        positions(settings, source)
