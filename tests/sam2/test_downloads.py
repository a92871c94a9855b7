"""Downloads from a server on this machine that behaves, and from some that do not."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sam2.config import MODELS
from sam2.downloads import (
    PUBLISHED,
    DownloadError,
    Published,
    cache_folder,
    cached,
    download,
    published,
)

CONTENT = bytes(range(256)) * 20  # 5120 bytes
OTHER = CONTENT[::-1]


@dataclass
class Shelf:
    """What the server gives, and what it was asked."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    modified: str | None = None
    knows_ranges: bool = True
    breaks_off_at: list[int] = field(default_factory=list)  # for each answer in turn
    status: int = 200
    asked: list[str | None] = field(default_factory=list)  # the Range of every request


class Handler(BaseHTTPRequestHandler):
    """A file server with the manners of its shelf."""

    shelf: Shelf

    def do_GET(self) -> None:
        shelf, wanted = self.shelf, self.headers["Range"]
        shelf.asked.append(wanted)
        if shelf.status != 200:
            self.send_error(shelf.status)
            return
        start = self._start(wanted)
        if start > len(shelf.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            size = len(shelf.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(len(shelf.content) - start))
        if shelf.etag:
            self.send_header("ETag", shelf.etag)
        if shelf.modified:
            self.send_header("Last-Modified", shelf.modified)
        self.end_headers()
        stop = shelf.breaks_off_at.pop(0) if shelf.breaks_off_at else len(shelf.content)
        self.wfile.write(shelf.content[start:stop])

    def _start(self, wanted: str | None) -> int:
        condition = self.headers["If-Range"]
        stale = condition is not None and condition not in (self.shelf.etag, self.shelf.modified)
        if not wanted or not self.shelf.knows_ranges or stale:
            return 0
        found = re.fullmatch(r"bytes=(\d+)-", wanted)
        assert found
        return int(found[1])

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def wanted(shelf: Shelf) -> Iterator[Published]:
    """The file on the shelf, as if it were published."""
    handler = type("ShelfHandler", (Handler,), {"shelf": shelf})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Published(
        "sam2-nano",
        f"http://127.0.0.1:{server.server_port}/models/sam2_nano.pt",
        len(CONTENT),
        hashlib.sha256(CONTENT).hexdigest(),
    )
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(wanted: Published, folder: Path, report: Callable[[int], None] = lambda n: None) -> Path:
    return download(wanted, folder, report, pauses_s=(0.0, 0.0))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_has_the_published_name_and_leaves_nothing_else(
    wanted: Published, tmp_path: Path
) -> None:
    heard: list[int] = []

    path = fetch(wanted, tmp_path / "cache", heard.append)

    assert path == tmp_path / "cache/sam2_nano.pt"
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["sam2_nano.pt"]
    assert heard[-1] == len(CONTENT)


def test_what_is_there_is_not_fetched_again(
    wanted: Published, shelf: Shelf, tmp_path: Path
) -> None:
    fetch(wanted, tmp_path)
    fetch(wanted, tmp_path)

    assert len(shelf.asked) == 1


def test_a_connection_that_breaks_off_is_taken_up_where_it_ended(
    wanted: Published, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.breaks_off_at = [1000, 1000, 3000]

    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert shelf.asked == [None, "bytes=1000-", "bytes=1000-", "bytes=3000-"]


def given_up(wanted: Published, shelf: Shelf, folder: Path, after: int) -> None:
    """A download that ended for good after so many bytes."""
    shelf.breaks_off_at = [after] * 4
    with pytest.raises(DownloadError, match=f"{after:,} are there"):
        fetch(wanted, folder)
    shelf.breaks_off_at = []
    shelf.asked.clear()


def test_a_download_given_up_has_no_final_name_and_goes_on_next_time(
    wanted: Published, shelf: Shelf, tmp_path: Path
) -> None:
    given_up(wanted, shelf, tmp_path, after=2000)
    assert "sam2_nano.pt" not in names(tmp_path)

    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert shelf.asked == ["bytes=2000-"]
    assert names(tmp_path) == ["sam2_nano.pt"]


def test_a_server_that_gives_no_parts_starts_again(
    wanted: Published, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.knows_ranges = False
    given_up(wanted, shelf, tmp_path, after=2000)

    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert shelf.asked == ["bytes=2000-"]


@pytest.mark.parametrize("told_by", ["etag", "modified", "nothing"])
def test_a_file_that_changed_meanwhile_is_never_half_old_and_half_new(
    wanted: Published, shelf: Shelf, tmp_path: Path, told_by: str
) -> None:
    shelf.etag = '"old"' if told_by == "etag" else None
    shelf.modified = "Mon, 01 Jan 2024 00:00:00 GMT" if told_by == "modified" else None
    shelf.content = OTHER
    given_up(wanted, shelf, tmp_path, after=2000)
    shelf.content = CONTENT
    shelf.etag = '"new"' if told_by == "etag" else None
    shelf.modified = "Tue, 02 Jan 2024 00:00:00 GMT" if told_by == "modified" else None

    if told_by == "nothing":  # then the digest finds out, and the next attempt starts afresh
        with pytest.raises(DownloadError, match="SHA-256"):
            fetch(wanted, tmp_path)
        assert names(tmp_path) == []

    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


def test_a_weak_tag_does_not_vouch_for_bytes(
    wanted: Published, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.etag, shelf.modified = 'W/"one"', "Mon, 01 Jan 2024 00:00:00 GMT"
    given_up(wanted, shelf, tmp_path, after=2000)

    assert (tmp_path / "sam2_nano.pt.part.version").read_text() == shelf.modified
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


def test_another_file_of_the_same_size_is_deleted(
    wanted: Published, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.content = OTHER

    with pytest.raises(DownloadError, match=hashlib.sha256(OTHER).hexdigest()):
        fetch(wanted, tmp_path)
    assert names(tmp_path) == []


def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    wanted: Published, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.content = b"<html>Please log in</html>"

    with pytest.raises(DownloadError, match="gives a file of 26 bytes"):
        fetch(wanted, tmp_path)
    assert "sam2_nano.pt" not in names(tmp_path)


def test_a_part_larger_than_the_file_is_thrown_away(wanted: Published, tmp_path: Path) -> None:
    (tmp_path / "sam2_nano.pt.part").write_bytes(CONTENT + b"more")

    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


def test_a_whole_part_only_lacks_its_name(wanted: Published, shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "sam2_nano.pt.part").write_bytes(CONTENT)

    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert shelf.asked == []


def test_a_damaged_file_of_the_final_name_is_fetched_again(
    wanted: Published, tmp_path: Path
) -> None:
    (tmp_path / "sam2_nano.pt").write_bytes(CONTENT[:100])

    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


def test_a_missing_file_is_not_asked_for_twice(
    wanted: Published, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.status = 404

    with pytest.raises(DownloadError, match=r"sam2_nano\.pt answers 404 .* --checkpoint"):
        fetch(wanted, tmp_path)
    assert len(shelf.asked) == 1


def test_a_server_in_trouble_is_asked_again(
    wanted: Published, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.status = 503

    with pytest.raises(DownloadError, match="could not be fetched: HTTP Error 503"):
        fetch(wanted, tmp_path)
    assert len(shelf.asked) == 3


def test_without_a_network_the_message_says_what_to_do(wanted: Published, tmp_path: Path) -> None:
    nowhere = replace(wanted, url="http://127.0.0.1:9/sam2_nano.pt")  # nobody listens there

    with pytest.raises(DownloadError, match=r"cannot be reached .*HTTPS_PROXY.*--checkpoint"):
        fetch(nowhere, tmp_path)


def test_two_downloads_of_one_file_do_not_mix(
    wanted: Published, shelf: Shelf, tmp_path: Path
) -> None:
    def second(there: int) -> None:
        with pytest.raises(DownloadError, match="by another process"):
            fetch(wanted, tmp_path)

    assert fetch(wanted, tmp_path, second).read_bytes() == CONTENT
    assert len(shelf.asked) == 1


# The table and the cache


def test_every_model_but_ours_is_published() -> None:
    assert set(PUBLISHED) == set(MODELS) - {"nano"}


def test_what_is_published_is_told_apart_by_name_size_and_digest() -> None:
    for distinct in ("file", "size", "sha256", "url"):
        assert len({getattr(each, distinct) for each in PUBLISHED.values()}) == len(PUBLISHED)
    assert all(re.fullmatch("[0-9a-f]{64}", each.sha256) for each in PUBLISHED.values())


def test_an_unpublished_name_lists_the_published_ones() -> None:
    with pytest.raises(DownloadError, match=r"for 'nano'.*sam2\.1-large"):
        published("nano")


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKLET_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path

    monkeypatch.delenv("MASKLET_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/masklet/checkpoints"


def test_only_a_whole_file_counts_as_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKLET_CACHE", str(tmp_path))
    path = tmp_path / "sam2.1_hiera_tiny.pt"
    assert cached("sam2.1-tiny") is None

    path.write_bytes(b"half")
    assert cached("sam2.1-tiny") is None

    with path.open("r+b") as file:
        file.truncate(PUBLISHED["sam2.1-tiny"].size)
    assert cached("sam2.1-tiny") == path
    assert cached("nano") is None
