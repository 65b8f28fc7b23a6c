"""A wheel from a package index that is a folder, since pip itself is what fetches."""

import base64
import hashlib
import zipfile

import pytest

from pipelines.errors import UserError
from pipelines.local.pinned_wheel import DownloadError, Wheel, fetch_wheel

FILE = "recloop_probe-1.0-py3-none-any.whl"
INFO = "recloop_probe-1.0.dist-info"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder with one wheel, the only place that pip looks into."""
    folder = tmp_path / "index"
    folder.mkdir()
    parts = {
        f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: recloop-probe\nVersion: 1.0\n",
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / FILE, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
        lines = [f"{name},sha256={digest(content)},{len(content)}" for name, content in parts.items()]
        archive.writestr(f"{INFO}/RECORD", "\n".join([*lines, f"{INFO}/RECORD,,"]))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def digest(content):
    """As a RECORD writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def wheel_of(index):
    return Wheel("recloop-probe==1.0", FILE, hashlib.sha256((index / FILE).read_bytes()).hexdigest())


def test_a_wheel_is_fetched_once_and_kept(index, tmp_path):
    wheel, cache = wheel_of(index), tmp_path / "cache"
    path = fetch_wheel(wheel, cache)
    assert path.read_bytes() == (index / FILE).read_bytes()
    (index / FILE).unlink()
    assert fetch_wheel(wheel, cache) == path
    assert [kept.name for kept in cache.iterdir()] == [FILE]


def test_other_bytes_than_pinned_are_refused_and_not_kept(index, tmp_path):
    with pytest.raises(UserError, match=r"is corrupt: its SHA-256 is .*, expected 00") as raised:
        fetch_wheel(Wheel("recloop-probe==1.0", FILE, "00"), tmp_path / "cache")
    assert not isinstance(raised.value, DownloadError)
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_no_index_has_is_a_download_error_with_advice(index, tmp_path):
    with pytest.raises(DownloadError, match=r"cannot download recloop-missing==1.0.*check the network"):
        fetch_wheel(Wheel("recloop-missing==1.0", "x.whl", "00"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_kept_wheel_that_changed_is_refused(index, tmp_path):
    wheel, cache = wheel_of(index), tmp_path / "cache"
    fetch_wheel(wheel, cache).write_bytes(b"torn")
    with pytest.raises(UserError, match=r"remove .* and run again"):
        fetch_wheel(wheel, cache)
