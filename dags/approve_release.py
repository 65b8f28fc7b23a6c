"""### A person decides on a challenger that has won

Only where `gates.approval` is set: after each release decision it looks whether a challenger in staging has won and waits. The
evidence stands in the request (Airflow's page of required actions); *Approve* promotes its newest version, *Reject* ends it, and so
does no answer within `gates.approval_h` hours. Scoring and the hourly decisions go on meanwhile. By the command line: `recloop promote`
or `recloop reject` with its release.
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, task
from loop_dags import DECISION, dag_arguments, hour_of

from pipelines.settings import load_settings

GATES = load_settings().gates
SCHEDULE = hour_of(DECISION) if GATES.approval else None

with DAG("approve_release", schedule=SCHEDULE, **dag_arguments(__doc__, "data-science", "releases")):

    @task.short_circuit(execution_timeout=timedelta(minutes=5))
    def evidence():
        from pipelines.steps.approval import question

        return question(load_settings())

    ask = ApprovalOperator(
        task_id="ask", subject="A challenger has won its time in staging", body="{{ ti.xcom_pull(task_ids='evidence') }}",
        defaults="Reject", response_timeout=timedelta(hours=GATES.approval_h),
    )  # fmt: skip

    @task(trigger_rule="all_done", execution_timeout=timedelta(minutes=10))
    def answer(ti=None):
        from pipelines.steps.approval import answered

        yes = ti.xcom_pull(task_ids="ask")  # of a no nothing is kept: Airflow's audit log knows who said it, or that nobody did in time
        who = f", {yes['responded_by_user']['name']}" if yes else ""
        row = answered(load_settings(), yes is not None, f"approve_release{who}")
        return f"{row.release_id} {row.stage}: {'; '.join(row.reasons)}"

    @task(execution_timeout=timedelta(minutes=1))
    def approved():
        """Skipped where the answer was no, in place of the task that carries out either."""

    evidence() >> ask >> approved() >> answer()
