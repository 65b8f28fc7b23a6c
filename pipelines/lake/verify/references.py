"""What one table says of another: slates that are served were logged, logged ones decided, and their releases exist."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.lake.content_hash import Hashes, row_hashes
from pipelines.lake.verify.files import KEY_BATCH_ROWS, Content, LiveFile, read_batches
from pipelines.lake.verify.findings import Findings, listed
from pipelines.lake.verify.keys import HASHES_AT_ONCE

PLACE, SLATE_ROW = ("slate_id", "position"), ("slate_id", "position", "item_id", "propensity")


def check_references(found: Findings, contents: Mapping[str, Content]) -> None:
    """Each check where all of its tables are whole."""
    checks: tuple[tuple[tuple[str, ...], Callable[..., None]], ...] = (
        (("scores", "slate_log"), _check_served),
        (("slate_log", "slate_decisions"), _check_decided),
        (("impressions", "slate_log"), _note_unknown_slates),
        (("scores", "releases"), _check_releases),
        (("slate_decisions", "releases"), _check_releases),
    )
    for names, check in checks:
        if set(names) <= contents.keys():
            check(found, names[0], *(contents[name] for name in names))


def _check_served(found: Findings, _: str, scores: Content, log: Content) -> None:
    """A served row without its logged place; and one whose item or propensity is not what was logged."""
    hours = _distinct(scores.files, "hour")
    drawn = [file for file in log.files if file.hour in hours]
    unlogged = _unmatched(scores.files, drawn, PLACE)
    if len(unlogged):
        shown = listed(_examples(scores.files, PLACE, unlogged))
        found.add("slate", "slate_log", f"hours {listed(sorted(hours))}", f"no row for {len(unlogged)} of scores: {shown}", "all of them")
    other = len(_unmatched(scores.files, drawn, SLATE_ROW)) - len(unlogged)
    if other > 0:
        expected = "item and propensity as in slate_log"
        found.add("slate", "scores", f"hours {listed(sorted(hours))}", f"{other} rows that are not as they were logged", expected)


def _check_decided(found: Findings, _: str, log: Content, decisions: Content) -> None:
    """Hour by hour: what was logged was decided."""
    for hour in sorted({file.hour for file in log.files if file.hour}):
        logged, decided = (_distinct([f for f in content.files if f.hour == hour], "slate_id") for content in (log, decisions))
        if lacking := sorted(logged - decided):
            what = f"no decision for {len(lacking)} slates of slate_log: {listed(lacking)}"
            found.add("slate", "slate_decisions", f"hour {hour}", what, "a decision for each slate")


def _note_unknown_slates(found: Findings, _: str, impressions: Content, log: Content) -> None:
    """Consumers may log slates of their own; those of hours that slate_log no longer holds do not count."""
    oldest = min((file.hour for file in log.files if file.hour), default=None)
    shown = [file for file in impressions.files if oldest and (file.hour or "") >= oldest]
    unknown = _unmatched(shown, log.files, PLACE)
    if len(unknown):
        found.note("impressions", f"{len(unknown)} shown positions are of slates that slate_log does not hold: left out of policy work")


def _check_releases(found: Findings, table: str, drawn: Content, releases: Content) -> None:
    lacking = _distinct(drawn.files, "release_id") - _distinct(releases.files, "release_id")
    for release_id in sorted(lacking):
        found.add("release", "releases", f"release {release_id}", "no row", f"the release that {table} names")


def _unmatched(needles: Sequence[LiveFile], haystack: Sequence[LiveFile], columns: Sequence[str]) -> Hashes:
    """Hashes of needles (rows with a slate) that no row of the haystack has, slice by slice of the hashes' range."""
    slices = np.uint64(1 + sum(file.rows or 0 for file in needles) // HASHES_AT_ONCE)
    lacking = []
    for number in range(int(slices)):
        own = [hashes[hashes % slices == number] for _, hashes in _hashed(needles, columns)]
        wanted = np.unique(np.concatenate([np.zeros(0, np.uint64), *own]))
        seen = np.zeros(len(wanted), bool)
        for _, hashes in _hashed(haystack, columns) if len(wanted) else ():
            place = np.searchsorted(wanted, hashes).clip(max=len(wanted) - 1)
            seen[place[wanted[place] == hashes]] = True
        lacking.append(wanted[~seen])
    return np.concatenate(lacking)


def _examples(files: Sequence[LiveFile], columns: Sequence[str], hashes: Hashes) -> list[str]:
    for batch, own in _hashed(files, columns):
        where = np.flatnonzero(np.isin(own, hashes))
        if len(where):
            rows = batch.take(pa.array(where)).to_pylist()
            return [" ".join(f"{name} {row[name]}" for name in columns) for row in rows]
    return []


def _hashed(files: Sequence[LiveFile], columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, Hashes]]:
    for file in files:
        for batch in read_batches(file, columns, KEY_BATCH_ROWS):
            named = batch.filter(pc.is_valid(batch.column("slate_id")))
            yield named, row_hashes(named, columns)


def _distinct(files: Sequence[LiveFile], column: str) -> set[str]:
    found: set[str] = set()
    for file in files:
        for batch in read_batches(file, [column], KEY_BATCH_ROWS):
            found.update(pc.unique(batch.column(column)).to_pylist())
    return found
