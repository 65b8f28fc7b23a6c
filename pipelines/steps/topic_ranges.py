"""What landed of a topic so far, read off the names of its landing files."""

import re
from dataclasses import dataclass

from pipelines.errors import UserError
from pipelines.settings import Settings, Source
from pipelines.steps.landing_files import pulled_files
from spark_jobs.landing_formats import ENDINGS

PREFIX = "kafka-"


@dataclass(frozen=True, order=True)
class Range:
    """Offsets ``start`` up to ``until`` (not included) of one partition: the records of one landing file."""

    partition: int
    start: int
    until: int

    def file_name(self, source: Source, ending: str = ".parquet") -> str:
        return f"{PREFIX}{source.landing_name}-{self.partition}-{self.start:020d}-{self.until:020d}{ending}"


def positions(settings: Settings, source: Source) -> dict[int, int]:
    """By partition the offset that comes next. Raises UserError where a range does not begin where the one before it ends."""
    found: dict[int, int] = {}
    for one in sorted(_ranges(settings, source)):
        expected = found.get(one.partition, one.start)
        if one.start != expected or one.until < one.start:
            raise UserError(
                f"landing file {source.kind}/{one.file_name(source, '')} does not begin at {expected}, where the one before it ends; "
                "put back the file that was between them, or remove the one that is no pull's"
            )
        found[one.partition] = one.until
    return found


def _ranges(settings: Settings, source: Source) -> set[Range]:
    """Of files that are there, and of those that an hour took and maintenance has dropped since."""
    endings = "|".join(re.escape(ending) for ending in ENDINGS)
    name = re.compile(rf"{source.kind}/{PREFIX}{re.escape(source.landing_name)}-(\d+)-(\d{{20}})-(\d{{20}})({endings})")
    matches = (name.fullmatch(file.path) for file in pulled_files(settings, source.kind, PREFIX))
    return {Range(*(int(part) for part in match.groups()[:3])) for match in matches if match}
