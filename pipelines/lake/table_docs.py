"""docs/tables.md out of the contracts: ``python -m pipelines.lake.table_docs > docs/tables.md``."""

import pyarrow as pa

from spark_jobs.contracts import COUNTERS, TABLES, Table

HEAD = """# Tables

Made from `spark_jobs/contracts.py` by `python -m pipelines.lake.table_docs`; a test holds it.

Every table is a Delta folder under `$RECLOOP_HOME/warehouse/`. Any reader reads them: only default features, CHECK constraints and the
change data feed are used. One engine writes each table. Times are UTC; `hour` is the half-open hour written `2026-11-23T20`.
*Sources* are never re-derived; *derived* tables may be dropped and recomputed; *control* tables tell what happened.

The decayed counters, `<counted>_<half-life>`, are written as `counters` below: """


def render() -> str:
    """The whole page."""
    counted = f"{len(COUNTERS)} columns of type double, `{COUNTERS[0]}` to `{COUNTERS[-1]}`.\n"
    return HEAD + counted + "".join(_section(table) for table in TABLES.values())


def _section(table: Table) -> str:
    partition = ", ".join(table.partition) or "none"
    facts = [
        f"{table.kind}; one row per {', '.join(f'`{name}`' for name in table.key)}; written by {table.engine}; owner {table.owner}; "
        f"partitioned by {partition}; kept {table.retention_days} days"
    ]
    checks = [f"CHECK `{name}`: `{condition}`" for name, condition in table.checks.items()]
    lines = "\n".join(f"- {fact}" for fact in [*facts, *checks, *table.promises])
    return f"\n## {table.name}\n{table.meaning}\n\n{lines}\n\n| column | type | required |\n|---|---|---|\n{_columns(table)}"


def _columns(table: Table) -> str:
    rows = [f"| `{field.name}` | {_spoken(field.type)} | {'no' if field.nullable else 'yes'} |\n" for field in _but_counters(table.schema)]
    if COUNTERS[0] in table.schema.names:
        rows.append("| counters | double | no |\n")
    return "".join(rows)


def _but_counters(fields: pa.Schema) -> list[pa.Field]:
    return [field for field in fields if field.name not in COUNTERS]


def _spoken(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_spoken(kind.value_type)}"
    if pa.types.is_struct(kind):
        inner = [kind.field(number) for number in range(kind.num_fields)]
        named = [f"{field.name} {_spoken(field.type)}" for field in inner if field.name not in COUNTERS]
        return "{" + ", ".join([*named, *(["counters"] if len(named) < len(inner) else [])]) + "}"
    if pa.types.is_map(kind):
        return f"map of {_spoken(kind.key_type)} to {_spoken(kind.item_type)}"
    return str(kind).replace("timestamp[us, tz=UTC]", "timestamp")


if __name__ == "__main__":
    print(render(), end="")
