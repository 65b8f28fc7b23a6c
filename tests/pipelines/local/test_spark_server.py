"""What makes a running server unfit."""

import pytest

from pipelines.local.spark_server import made_for
from pipelines.settings import SettingsError, load_settings


def test_a_first_topic_restarts_the_server_and_another_one_does_not(tmp_path):
    def of(sources):
        (tmp_path / "recloop.yaml").write_text(f"lake: {{sources: [{sources}]}}")
        return made_for(load_settings(tmp_path, {}))

    one, other = "{kind: feedback, brokers: b, topic: a}", "{kind: feedback, brokers: b, topic: c}"
    assert of("") == of("{kind: feedback, uri: s3://b}") != of(one) == of(f"{one}, {other}")


def test_other_options_restart_the_server(tmp_path):
    plain = made_for(load_settings(tmp_path, {}))
    (tmp_path / "recloop.yaml").write_text('spark: {options: {spark.sql.shuffle.partitions: "8"}}')
    assert made_for(load_settings(tmp_path, {})) != plain == made_for(load_settings(tmp_path / "other", {}))


def test_an_option_that_is_no_text_is_one_line(tmp_path):
    (tmp_path / "recloop.yaml").write_text("spark: {options: {spark.sql.shuffle.partitions: 8}}")
    with pytest.raises(SettingsError, match=r"spark\.options\.spark\.sql\.shuffle\.partitions"):
        load_settings(tmp_path, {})
