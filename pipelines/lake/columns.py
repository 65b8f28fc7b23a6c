"""Columns of a table that are not as its contract promises."""

import json
from typing import Any

from deltalake import DeltaTable, Schema

from spark_jobs.contracts import Table

MISSING = "missing"


def differing_columns(table: Table, delta: DeltaTable) -> dict[str, tuple[str, str]]:
    """Columns that are not as promised: what is held, what is promised."""
    held, promised = _spoken(delta.schema()), _spoken(Schema.from_arrow(table.schema))
    differing = {name for name in {*held, *promised} if held.get(name) != promised.get(name)}
    return {name: (held.get(name, MISSING), promised.get(name, "no such column")) for name in sorted(differing)}


def _spoken(schema: Schema) -> dict[str, str]:
    fields = json.loads(schema.to_json())["fields"]
    return {field["name"]: f"{_type(field['type'])}{'' if field['nullable'] else ' NOT NULL'}" for field in fields}


def _type(kind: Any) -> str:
    if isinstance(kind, str):
        return kind
    if kind["type"] == "struct":
        return "{" + ", ".join(f"{field['name']} {_type(field['type'])}" for field in kind["fields"]) + "}"
    if kind["type"] == "array":
        return f"array of {_type(kind['elementType'])}"
    return f"map of {_type(kind['keyType'])} to {_type(kind['valueType'])}"
