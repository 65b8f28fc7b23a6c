"""A row of somebody's log to landing records, as the mapping says."""

from collections.abc import Iterator
from typing import Any

from pipelines.importers.cells import Row, cell, number, says_yes, text
from pipelines.importers.mapping import Cell, Conditions, Feedback, Impressions, Items, ListCell, Source, Split
from pipelines.importers.times import to_utc
from pipelines.local.landing import Record, event_id

Event = Impressions | Feedback
FLAGS = {**dict.fromkeys(("1", "t", "true", "y", "yes"), True), **dict.fromkeys(("0", "f", "false", "n", "no"), False)}


def records_of(row: Row, source: Source, file_sha256: str, number_of_row: int) -> Iterator[tuple[str, Record]]:
    """Kind and record of all that a row says; a field without a value is left out.

    With ``event_ids: row`` an event is named by the file's hash, the row's number, the part of a split cell and its entry.
    """
    for part, view in enumerate(_parts(row, source.split)):
        entries: list[tuple[str, Event]] = [("impressions", source.impressions)] if source.impressions else []
        entries += [("feedback", entry) for entry in source.feedback]
        for place, (kind, entry) in enumerate(entries):
            if _counts(view, entry.where):
                own = event_id(file_sha256, number_of_row, part, kind, place) if source.event_ids == "row" else None
                yield kind, _only_filled(_event(view, source, entry, own))
        if source.items and _counts(view, source.items.where):
            yield "items", _only_filled(_item(view, source, source.items))


def _parts(row: Row, split: Split | None) -> list[Row]:
    if split is None:
        return [row]
    found = _listed(cell(row, split.column), split.separator)
    names = [split.number_as] if split.number_as else []
    return [{**row, split.column: part, **dict.fromkeys(names, place)} for place, part in enumerate(found)]


def _listed(value: Any, separator: str | None) -> list[Any]:
    """The parts of a cell without empty ones."""
    if isinstance(value, list):
        return [part for part in value if part is not None and part != ""]
    written = text(value) or ""
    parts = written.split(separator) if separator else [written]
    return [part.strip() for part in parts if part.strip()]


def _counts(row: Row, conditions: Conditions) -> bool:
    """Whether the row meets all of them."""
    return all(_meets(cell(row, where.column), where.one_of) for where in conditions)


def _meets(value: Any, one_of: tuple[str, ...] | None) -> bool:
    return text(value) in one_of if one_of else says_yes(value)


def _event(row: Row, source: Source, entry: Event, own_id: str | None) -> Record:
    ts = _value(row, entry.ts or source.ts)
    who: Record = {
        "event_id": _text(row, entry.event_id) or own_id,
        "request_id": _text(row, entry.request_id or source.request_id),
        "user_id": _text(row, entry.user_id or source.user_id),
        "item_id": _text(row, entry.item_id or source.item_id),
        "ts": to_utc(ts, source.time_format, source.timezone),
    }
    return who | (_impression(row, source, entry) if isinstance(entry, Impressions) else _reaction(row, source, entry))


def _impression(row: Row, source: Source, entry: Impressions) -> Record:
    names = ("slate_id", "surface", "query", "policy_version")
    return {
        **{name: _text(row, getattr(entry, name)) for name in names},
        "position": _position(_number(row, entry.position, source), entry.first_position),
        "propensity": _number(row, entry.propensity, source),
        "context": _texts(row, entry.context),
    }


def _reaction(row: Row, source: Source, entry: Feedback) -> Record:
    return {"type": _text(row, entry.type), "value": _number(row, entry.value, source)}


def _item(row: Row, source: Source, entry: Items) -> Record:
    return {
        "item_id": _text(row, entry.item_id or source.item_id),
        "title": _text(row, entry.title),
        "text": _text(row, entry.text),
        "tags": _tags(row, entry.tags),
        "category": _text(row, entry.category),
        "price": _number(row, entry.price, source),
        "attributes": _texts(row, entry.attributes),
        "published_at": to_utc(_value(row, entry.published_at), source.time_format, source.timezone),
        "available": _flag(_text(row, entry.available)),
        "image_vector": _numbers(row, entry.image_vector, source),
    }


def _value(row: Row, field: Cell | None) -> Any:
    if field is None:
        return None
    if field.column is None:
        return field.constant
    value = cell(row, field.column)
    return field.values.get(text(value) or "", value) if field.values else value


def _text(row: Row, field: Cell | None) -> str | None:
    return text(_value(row, field))


def _number(row: Row, field: Cell | None, source: Source) -> int | float | str | None:
    return number(_value(row, field), source.decimal)


def _texts(row: Row, fields: dict[str, Cell]) -> dict[str, str] | None:
    return _only_filled({name: _text(row, field) for name, field in fields.items()}) or None


def _tags(row: Row, field: ListCell | None) -> list[str] | None:
    found = _listed(_value(row, field), field.separator) if field else []
    return [tag for part in found if (tag := text(part))] or None


def _numbers(row: Row, field: ListCell | None, source: Source) -> list[int | float | str | None] | None:
    """Of a list, or of text, in brackets or not."""
    value = _value(row, field)
    parts = _listed(value.strip().strip("[]") if isinstance(value, str) else value, field.separator) if field else []
    return [number(part, source.decimal) for part in parts] or None


def _position(found: int | float | str | None, first: int) -> int | float | str | None:
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    return found - first if isinstance(found, int | float) else found


def _flag(written: str | None) -> bool | str | None:
    return FLAGS.get(written.strip().lower(), written) if written else None


def _only_filled(record: Record) -> Record:
    return {name: value for name, value in record.items() if value is not None}
