"""A killed step does not write later: whoever opens the root's session next ends what was left in it."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipelines.errors import TransientError
from pipelines.lake.session import connection, spark_session, unnamed
from pipelines.local.service_records import read_records
from pipelines.local.services import down
from pipelines.settings import environment, load_settings

CLIENT = """
import sys
from pathlib import Path
from pipelines.lake.session import spark_session
from pipelines.settings import load_settings

settings = load_settings(Path(sys.argv[1]), {"RECLOOP__SPARK__REMOTE": sys.argv[2]})
with spark_session(settings) as spark:
    rows = spark.range(0, 40, 1, 1).selectExpr("id", "java_method('java.lang.Thread', 'sleep', 200L) AS waited")
    print("writing", flush=True)
    rows.write.format("delta").save(str(settings.home / "late"))
"""


@pytest.fixture
def killed(loop_settings, spark_address):
    """Starts a slow write in the session of a root of its own, and kills the client while it runs."""

    def start(name):
        settings = load_settings(loop_settings(name).home, {"RECLOOP__SPARK__REMOTE": spark_address})
        command = [sys.executable, "-c", CLIENT, str(settings.home), spark_address]
        root = str(Path(__file__).parents[3])
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(PYTHONPATH=root))
        assert client.stdout is not None and client.stdout.readline() == "writing\n"
        return settings, client

    return start


def kill(client):
    os.kill(client.pid, signal.SIGKILL)
    client.wait()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sc://host:1", "sc://host:1/;session_id=OWN;user_id=recloop"),
        ("sc://host:1/", "sc://host:1/;session_id=OWN;user_id=recloop"),
        ("sc://host:1/;", "sc://host:1/;session_id=OWN;user_id=recloop"),
        ("sc://host:1/;token=x;use_ssl=true", "sc://host:1/;token=x;use_ssl=true;session_id=OWN;user_id=recloop"),
        ("sc://host:1/;session_id=a;user_id=b", "sc://host:1/;session_id=a;user_id=b"),
    ],
)
def test_what_an_address_says_itself_stays(tmp_path, address, said):
    found = connection(load_settings(tmp_path, {}), address)
    assert found == said.replace("OWN", str(uuid.uuid5(uuid.NAMESPACE_URL, str(tmp_path))))


def test_who_stops_a_session_connects_without_its_name():
    assert unnamed("sc://host:1/;token=x;session_id=a;user_id=b") == "sc://host:1/;token=x;user_id=b"
    assert unnamed("sc://host:1/;session_id=a") == "sc://host:1/" and unnamed("sc://host:1") == "sc://host:1"


def written(settings, patience_s):
    until = time.monotonic() + patience_s
    while time.monotonic() < until and not DeltaTable.is_deltatable(str(settings.home / "late")):
        time.sleep(0.2)
    return DeltaTable.is_deltatable(str(settings.home / "late"))


def test_the_next_session_ends_the_write_of_a_killed_client(killed):
    left, ended = killed("left"), killed("ended")
    time.sleep(2)
    for _, client in (left, ended):
        kill(client)
    with spark_session(ended[0]) as spark:
        assert spark.range(3).count() == 3
    assert written(left[0], 60), "else the test shows nothing: killing the client alone does not end its write"
    assert not written(ended[0], 3)


def test_an_error_ends_what_the_session_holds_and_goes_on(loop_settings):
    settings = loop_settings()
    with pytest.raises(ValueError, match="mine"), spark_session(settings) as spark:
        spark.range(3).createOrReplaceTempView("kept")
        raise ValueError("mine")
    with spark_session(settings) as spark:
        assert spark.range(5).count() == 5


def test_a_server_that_dies_in_a_query_is_one_line_and_the_next_session_starts_it_anew(tmp_path):
    settings = load_settings(tmp_path, {})
    try:
        with pytest.raises(TransientError, match="does not answer; see its log"), spark_session(settings) as spark:
            server = read_records(settings)["spark"].process.pid
            threading.Timer(2, os.kill, (server, signal.SIGKILL)).start()
            spark.range(0, 400, 1, 1).selectExpr("java_method('java.lang.Thread', 'sleep', 200L)").collect()
        with spark_session(settings) as spark:
            assert spark.range(3).count() == 3
    finally:
        down(settings)
