"""The mapping file: which column of somebody's own log becomes which field of the event contract."""

import codecs
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipelines.errors import UserError
from pipelines.importers.times import FORMATS
from spark_jobs.contracts import REACTIONS


class MappingError(UserError, ValueError):
    """A mapping that cannot be used; the text names the key, what was found and what is legal."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Cell(_Section):
    """What fills a field: a column, whose values may be translated, or one constant. A bare text is a column's name."""

    column: str | None = None
    constant: str | None = None
    values: dict[str, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @field_validator("constant", mode="before")
    @classmethod
    def _from_bool(cls, value: Any) -> Any:
        return str(value).lower() if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _has_one_source(self) -> "Cell":
        given = [name for name in ("column", "constant") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"found {' and '.join(given) or 'neither'}, expected either column or constant")
        if self.values is not None and self.column is None:
            raise ValueError("found values beside constant, expected them beside column")
        return self


class Reaction(Cell):
    """The type of a reaction; what it may become is the contract's."""

    @model_validator(mode="after")
    def _is_of_the_contract(self) -> "Reaction":
        for found in [*(self.values or {}).values(), *([self.constant] if self.constant else [])]:
            if found not in REACTIONS:
                raise ValueError(f"found reaction {found!r}; legal values: {', '.join(REACTIONS)}")
        return self


class ListCell(Cell):
    """A cell that holds a list, or text that ``separator`` cuts."""

    separator: str | None = Field(default=None, min_length=1)


class Where(_Section):
    """Which rows count: those whose cell is one of these texts; without ``one_of``, those whose cell says yes."""

    column: str
    one_of: tuple[str, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


Conditions = Annotated[tuple[Where, ...], BeforeValidator(_as_list)]


class Split(_Section):
    """One row becomes one a part of the cell, which then holds that part; ``number_as``: a new column with its place from 0."""

    column: str
    separator: str | None = Field(default=None, min_length=1)
    number_as: str | None = None


class _Who(_Section):
    user_id: Cell | None = None
    item_id: Cell | None = None
    ts: Cell | None = None
    request_id: Cell | None = None


class Impressions(_Who):
    """A row as an impression. ``first_position``: what the log calls the topmost place."""

    event_id: Cell | None = None
    slate_id: Cell | None = None
    position: Cell
    first_position: Literal[0, 1] = 0
    surface: Cell | None = None
    query: Cell | None = None
    propensity: Cell | None = None
    policy_version: Cell | None = None
    context: dict[str, Cell] = Field(default_factory=dict)
    where: Conditions = ()


class Feedback(_Who):
    """A row as a reaction."""

    event_id: Cell | None = None
    type: Reaction
    value: Cell | None = None
    where: Conditions = ()


class Items(_Section):
    """A row as the state of an item."""

    item_id: Cell | None = None
    title: Cell
    text: Cell | None = None
    tags: ListCell | None = None
    category: Cell | None = None
    price: Cell | None = None
    attributes: dict[str, Cell] = Field(default_factory=dict)
    published_at: Cell | None = None
    available: Cell | None = None
    image_vector: ListCell | None = None
    where: Conditions = ()


class Source(_Who):
    """Files of one shape, and what a row of them says. ``user_id`` … ``request_id`` hold for every entry that does not say its own."""

    files: str | None = None
    format: Literal["csv", "jsonl", "parquet"] | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    quoted: bool = True
    columns: tuple[str, ...] | None = Field(default=None, min_length=1)
    encoding: str = Field(default="utf-8", validate_default=True)
    decimal: Literal[".", ","] = "."
    time_format: str = "iso"
    timezone: str | None = None
    split: Split | None = None
    event_ids: Literal["natural", "row"] = "natural"
    impressions: Impressions | None = None
    feedback: tuple[Feedback, ...] = ()
    items: Items | None = None

    @field_validator("encoding")
    @classmethod
    def _is_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError("no such encoding; legal are Python's names, for example utf-8, cp1252, utf-16, gb18030") from None
        return "utf-8-sig" if codecs.lookup(value).name == "utf-8" else value  # with or without a byte order mark

    @field_validator("time_format")
    @classmethod
    def _is_time_format(cls, value: str) -> str:
        if value not in FORMATS and "%" not in value:
            raise ValueError(f"legal values: {', '.join(FORMATS)}, or a strptime format such as %d.%m.%Y %H:%M")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, value: str | None) -> str | None:
        try:
            return ZoneInfo(value).key if value is not None else None
        except (OSError, ValueError, LookupError):
            raise ValueError("no such time zone; legal are IANA names, for example Europe/Berlin or UTC") from None

    @model_validator(mode="after")
    def _says_something(self) -> "Source":
        events = {"impressions": self.impressions, **{f"feedback.{n}": entry for n, entry in enumerate(self.feedback)}}
        if self.items is None and not any(events.values()):
            raise ValueError("found none of impressions, feedback, items; expected at least one")
        for name, entry in {**events, "items": self.items}.items():
            needed = ("item_id",) if name == "items" else ("user_id", "item_id", "ts")
            lacking = [key for key in needed if entry and getattr(entry, key) is None and getattr(self, key) is None]
            if lacking:
                raise ValueError(f"{name} has no {lacking[0]}; give it there, or once for the whole source")
        return self

    def column_names(self) -> set[str]:
        """Every column of the file that this source reads: not what ``split`` makes of one."""
        made = (self.split.number_as, f"{self.split.column}.") if self.split else (None, None)
        return {name for name in _columns_in(self) if name != made[0] and not (made[1] and name.startswith(made[1]))}


class Mapping(_Section):
    """The whole file. With several sources each says by ``files``, a pattern of file names, which files are its own."""

    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sources_know_their_files(self) -> "Mapping":
        silent = [str(n) for n, source in enumerate(self.sources) if source.files is None]
        if len(self.sources) > 1 and silent:
            raise ValueError(f"sources.{silent[0]} has no files; of several sources each needs a pattern such as 'orders*.csv'")
        return self


def read_mapping(path: Path) -> Mapping:
    """The mapping in this YAML file. Raises MappingError, one line with the key, what was found and what is legal."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError(f"cannot read the mapping {path}: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise MappingError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise MappingError(f"{path}: found a {type(values).__name__}, expected the key sources")
    try:
        return Mapping(**values)
    except ValidationError as error:
        raise MappingError(f"{path}: {_explain(error)}") from None


def _columns_in(section: _Section) -> set[str]:
    names: set[str] = set()
    for name in type(section).model_fields:
        value = getattr(section, name)
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
        names.update(*(_columns_in(part) for part in parts if isinstance(part, _Section)))
    column = getattr(section, "column", None)
    return names | {column} if column is not None else names


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"])) or "sources"
    if first["type"] in ("extra_forbidden", "missing"):
        what = "unknown key" if first["type"] == "extra_forbidden" else "missing key"
        return f"{what} {key}; legal keys here: {', '.join(_legal_keys(first['loc'][:-1]))}"
    said = first["msg"].removeprefix("Value error, ")
    found = first["input"]
    return f"{key}: {said}" if isinstance(found, dict | tuple) else f"{key}: {said}; found {str(found)[:80]!r}"


def _legal_keys(path: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Mapping
    for part in path:
        if part in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation) or model
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section that an annotation such as ``tuple[Feedback, ...]`` or ``Cell | None`` is about."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
