"""What waits in Airflow, as its answers say it; the shapes are those of Airflow 3.3."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipelines.errors import UserError
from pipelines.local.airflow_client import AirflowAccess, Waiting

PENDING = {"id": 1, "dag_id": "score_users", "partition_key": "2026-11-10T08", "created_at": "2026-11-10T09:10:00+00:00"}
RUN = {"dag_id": "finetune_ranker", "state": "running", "run_after": "2026-11-10T09:00:00Z", "partition_key": "2026-11-10T07"}
ANSWERS = {
    "/auth/token": {"access_token": "t"},
    "/ui/partitioned_dag_runs?has_created_dag_run_id=false": {"partitioned_dag_runs": [PENDING], "total": 1},
    "/api/v2/dags/~/dagRuns?state=queued&state=running&run_after_lte=2026-11-10T10%3A00%3A00%2B00%3A00&limit=100": {
        "dag_runs": [RUN, RUN | {"partition_key": None}]
    },
}


class Airflow(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = ANSWERS.get(self.path)
        self.send_response(200 if answer else 404)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_POST = do_GET

    def log_message(self, *_):
        """Nothing on stderr."""


@pytest.fixture
def access(tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Airflow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield AirflowAccess(f"http://127.0.0.1:{server.server_port}", "admin", "", tmp_path)
    server.shutdown()
    server.server_close()


def test_partitions_without_a_run_and_runs_without_an_end(access):
    assert access.pending() == [Waiting("score_users", "2026-11-10T08", "pending", "2026-11-10T09:10:00+00:00")]
    before = datetime(2026, 11, 10, 10, tzinfo=UTC)
    assert access.unfinished(before) == [Waiting("finetune_ranker", "2026-11-10T07", "running", "2026-11-10T09:00:00Z")]


def test_what_airflow_refuses_is_one_line(access):
    with pytest.raises(UserError, match="Airflow refused GET dags"):
        access.unfinished(datetime(2026, 11, 10, 11, tzinfo=UTC))
