"""What the loop is held to: the section ``objectives`` of the settings."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipelines.lake.made_by import MADE_BY


def _written_by_an_hour(table: str) -> str:
    if table not in MADE_BY:
        raise ValueError(f"no hour writes this table; legal keys here: {', '.join(sorted(MADE_BY))}")
    return table


TableName = Annotated[str, AfterValidator(_written_by_an_hour)]
Hours = Annotated[float | None, Field(gt=0)]


class Objectives(BaseModel):
    """``freshness_h``: hours that a table may be old. null = not held to anything.

    ``coverage`` and ``reward_a_slate`` are the least, ``share_of_fallbacks`` is the most. ``webhook``: address that gets a JSON when an
    objective breaks and when it holds again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    freshness_h: dict[TableName, Hours]
    share_of_fallbacks: float | None = Field(ge=0, le=1)
    coverage: float | None = Field(ge=0, le=1)
    reward_a_slate: float | None
    webhook: str | None = Field(pattern=r"^https?://[^\s/]+")
