"""What makes a running server unfit."""

from pipelines.local.spark_server import made_for
from pipelines.settings import load_settings


def test_a_first_topic_restarts_the_server_and_another_one_does_not(tmp_path):
    def of(sources):
        (tmp_path / "recloop.yaml").write_text(f"lake: {{sources: [{sources}]}}")
        return made_for(load_settings(tmp_path, {}))

    one, other = "{kind: feedback, brokers: b, topic: a}", "{kind: feedback, brokers: b, topic: c}"
    assert of("") == of("{kind: feedback, uri: s3://b}") != of(one) == of(f"{one}, {other}")
