"""Objects of a store to landing files: each once, under a name that says which object it was and when it was written.

So names alone tell what was pulled, also of files that maintenance has dropped since: no second record could disagree with them.
"""

import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import structlog
from pyarrow import fs

from pipelines.errors import TransientError, UserError
from pipelines.failpoint import failpoint
from pipelines.lake.ledger import LandingFile
from pipelines.settings import Settings, Source
from pipelines.steps.landing_files import MARKER, pulled_files
from spark_jobs.landing_formats import ENDINGS

log = structlog.get_logger()
AT_ONCE = 8  # copies side by side: small objects cost a round trip each
CHUNK = 1 << 20
SHOWN_NAME = 120  # of an object's own name in that of its landing file
PREFIX = "object-"
UNFINISHED = f"{PREFIX}*.tmp"
ABANDONED_S = 24 * 3600.0
_NAME = re.compile(rf"{PREFIX}([0-9a-f]{{16}})-(\d{{10}})-.*")


@dataclass(frozen=True)
class Found:
    """An object: its path in the store and below the source's prefix, its bytes, and the second in which it was written."""

    path: str
    name: str
    size: int
    written: int
    key: str

    @property
    def landing_name(self) -> str:
        return f"{PREFIX}{self.key}-{self.written:010d}-{self.name.replace('/', '__')[-SHOWN_NAME:]}"


def pull_objects(settings: Settings) -> None:
    """Lands the complete objects of all sources that were not landed yet, then their marks of complete hours.

    Raises UserError for an object that changed after it was pulled, TransientError where a store does not answer.
    """
    for kind in sorted({source.kind for source in settings.lake.objects}):
        folder = settings.landing / kind
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        marks = [_pull(settings, source) for source in settings.lake.objects if source.kind == kind]
        for mark in sorted(set.intersection(*marks)):  # of several sources the last one completes the hour
            (folder / mark).touch()


def _pull(settings: Settings, source: Source) -> set[str]:
    """Lands what is new; the marks that stood before the objects were listed, so that all they promise is landed."""
    try:
        store, root = fs.FileSystem.from_uri(source.uri)
        marks = {one.base_name for one in _list(store, root, recursive=False) if one.base_name.startswith(f"{MARKER}-")}
        found = list(_complete(store, root, source))
        if not found and not marks:
            _check_there(store, root, source)
        new = list(_new(settings, source, store, found))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda one: _copy(settings, store, one, settings.landing / source.kind / one.landing_name), new))
    except (pa.ArrowException, PermissionError) as error:
        raise UserError(f"cannot read {_shown(source)}: {_line(error)}; mend lake.sources, or the rights to read it") from None
    except OSError as error:
        raise TransientError(f"cannot pull from {_shown(source)}: {_line(error)}; run again, or mend lake.sources") from None
    log.info("pull", source=_shown(source), kind=source.kind, objects=len(found), new=len(new))
    return marks


def _list(store: fs.FileSystem, root: str, recursive: bool) -> list[fs.FileInfo]:
    infos = store.get_file_info(fs.FileSelector(root, recursive=recursive, allow_not_found=True))
    return [info for info in infos if info.type == fs.FileType.File]


def _complete(store: fs.FileSystem, root: str, source: Source) -> Iterator[Found]:
    """Objects that are landing files, by the rules for local ones: no part of the name begins with ``_`` or ``.``."""
    address = urlsplit(source.uri)
    endpoint = "".join(parse_qs(address.query).get("endpoint_override", ()))
    origin = f"{address.scheme}://{address.netloc.rpartition('@')[2]}?{endpoint}"
    for info in sorted(_list(store, root, recursive=True), key=lambda info: info.path):
        name = info.path.removeprefix(root).lstrip("/")
        if name.endswith(ENDINGS) and not any(part.startswith(("_", ".")) for part in name.split("/")):
            key = hashlib.sha256(f"{origin}/{info.path}".encode()).hexdigest()[:16]
            yield Found(info.path, name, info.size, _written(info), key)


def _written(info: fs.FileInfo) -> int:
    """In whole seconds: a store's listing and its answer for one object differ in what is behind them."""
    return int(info.mtime.timestamp()) if info.mtime else 0


def _check_there(store: fs.FileSystem, root: str, source: Source) -> None:
    """Raises UserError where the bucket (of a file system: the folder) is not there; an empty prefix is none yet."""
    place = root if store.type_name in ("local", "hdfs") else root.partition("/")[0]
    if store.get_file_info(place).type == fs.FileType.NotFound:
        raise UserError(f"found no {place} for {_shown(source)}; make it, or mend lake.sources")


def _new(settings: Settings, source: Source, store: fs.FileSystem, found: list[Found]) -> Iterator[Found]:
    landed = _landed(settings, source.kind)
    for one in found:
        if one.key not in landed:
            yield one
        elif not _same(store, one, *landed[one.key]):
            raise UserError(
                f"object {one.name} of {_shown(source)} changed after it was pulled as {landed[one.key][1].path}; put the old object "
                "back or remove it, and land the new records under another name"
            )


def _landed(settings: Settings, kind: str) -> Mapping[str, tuple[int, LandingFile]]:
    """By the object's key when it was written, and the landing file."""
    matches = ((_NAME.fullmatch(Path(file.path).name), file) for file in pulled_files(settings, kind, PREFIX))
    return {match[1]: (int(match[2]), file) for match, file in matches if match}


def _same(store: fs.FileSystem, one: Found, written: int, file: LandingFile) -> bool:
    """Whether it is still what was pulled; written again with the same bytes, it is. What was mended here is no change there."""
    if one.written == written or one.size != file.size:
        return one.written == written
    digest = hashlib.sha256()
    with store.open_input_stream(one.path, compression=None) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == file.sha256


def _copy(settings: Settings, store: fs.FileSystem, one: Found, path: Path) -> None:
    """Under its final name in one rename, after its bytes are on disk."""
    unfinished = path.with_name(UNFINISHED.replace("*", uuid.uuid4().hex))
    with store.open_input_stream(one.path, compression=None) as stream, unfinished.open("wb") as copy:
        while chunk := stream.read(CHUNK):
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    now = store.get_file_info(one.path)
    if (unfinished.stat().st_size, now.type, now.size, _written(now)) != (one.size, fs.FileType.File, one.size, one.written):
        unfinished.unlink()
        raise TransientError(f"object {one.name} changed while it was copied; run again")
    failpoint(settings, "pull:rename")
    os.replace(unfinished, path)


def _remove_abandoned(folder: Path) -> None:
    """What a killed pull left; younger files may be of another pull that is at work."""
    for path in folder.glob(UNFINISHED):
        if path.stat().st_mtime < time.time() - ABANDONED_S:
            path.unlink(missing_ok=True)


def _shown(source: Source) -> str:
    """The address without keys."""
    return re.sub(r"//[^/@]*@", "//", source.uri.partition("?")[0])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
