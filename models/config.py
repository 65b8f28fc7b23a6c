"""Configs of models to and from JSON: frozen dataclasses of numbers, strings and tuples of strings."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class ModelConfig:
    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """ValueError on a key that this version of the code does not know."""
        values: dict[str, Any] = json.loads(text)
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(
                f"{cls.__name__} has unknown keys {unknown}: it was written by other code; load it with that"
            )
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
