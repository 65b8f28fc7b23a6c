"""### What a consumer's DAG looks like

Runs for each hour of `scores` and reads the rows that were drawn in it. Copy it: a consumer needs the asset's name, a
*partitioned* asset schedule (a plain one is never triggered), and `read_table`.
"""

from collections import Counter
from datetime import timedelta

from airflow.sdk import DAG, task
from loop_dags import SCORES, dag_arguments, hour_of

from pipelines.settings import load_settings

with DAG("example_downstream", schedule=hour_of(SCORES), **dag_arguments(__doc__, "downstream", "example")):

    @task(execution_timeout=timedelta(minutes=5))
    def count_sources(dag_run=None):
        from pipelines.lake.tables import read_table

        rows = read_table(load_settings(), "scores", hours=[dag_run.partition_key], columns=["source"])
        counts = Counter(rows.column("source").to_pylist())
        print(f"scores of {dag_run.partition_key}: {dict(counts)}")
        return dict(counts)

    count_sources()
