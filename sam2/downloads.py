"""The published checkpoints: where they are, and a download that can be taken up again.

A file has its final name only when all of it is there and its digest is right. Until then it grows
as NAME.part, beside a note of which version of the file it is a part of.
"""

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import BinaryIO

from sam2.checkpoint import CheckpointError

_HOST = "https://dl.fbaipublicfiles.com/segment_anything_2"
_BLOCK = 1 << 20  # bytes
_TIMEOUT_S = 30.0
_PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # before another attempt, each time the connection breaks off


class DownloadError(CheckpointError):
    """A checkpoint that could not be fetched; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published file."""

    model: str
    url: str
    size: int  # bytes
    sha256: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


# Digests and sizes as many who use these files state them; Meta publishes none itself.
PUBLISHED = {
    each.model: each
    for each in (
        Published(
            "sam2-tiny",
            f"{_HOST}/072824/sam2_hiera_tiny.pt",
            155_906_050,
            "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
        ),
        Published(
            "sam2-small",
            f"{_HOST}/072824/sam2_hiera_small.pt",
            184_309_650,
            "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
        ),
        Published(
            "sam2-base-plus",
            f"{_HOST}/072824/sam2_hiera_base_plus.pt",
            323_493_298,
            "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
        ),
        Published(
            "sam2-large",
            f"{_HOST}/072824/sam2_hiera_large.pt",
            897_952_466,
            "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
        ),
        Published(
            "sam2.1-tiny",
            f"{_HOST}/092824/sam2.1_hiera_tiny.pt",
            156_008_466,
            "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        ),
        Published(
            "sam2.1-small",
            f"{_HOST}/092824/sam2.1_hiera_small.pt",
            184_416_285,
            "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        ),
        Published(
            "sam2.1-base-plus",
            f"{_HOST}/092824/sam2.1_hiera_base_plus.pt",
            323_606_802,
            "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        ),
        Published(
            "sam2.1-large",
            f"{_HOST}/092824/sam2.1_hiera_large.pt",
            898_083_611,
            "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        ),
    )
}


def published(model: str) -> Published:
    """What is published for a model; raises DownloadError."""
    if model not in PUBLISHED:
        raise DownloadError(
            f"Nothing is published for '{model}'. There is: {', '.join(PUBLISHED)}."
        )
    return PUBLISHED[model]


def cache_folder() -> Path:
    """Where downloaded checkpoints are: $MASKLET_CACHE, or a folder under ~/.cache."""
    named = os.environ.get("MASKLET_CACHE")
    return Path(named) if named else Path.home() / ".cache/masklet/checkpoints"


def cached(model: str) -> Path | None:
    """The downloaded checkpoint of a model, if it is there."""
    if model not in PUBLISHED:
        return None
    wanted = PUBLISHED[model]
    path = cache_folder() / wanted.file
    return path if path.is_file() and path.stat().st_size == wanted.size else None


Report = Callable[[int], None]  # hears how many bytes are there


def download(
    wanted: Published,
    folder: Path,
    report: Report = lambda there: None,
    pauses_s: Sequence[float] = _PAUSES_S,
) -> Path:
    """Fetches a checkpoint into a folder, going on where an earlier attempt broke off.

    What is there already is left as it is. Raises DownloadError, and keeps what it has got for the
    next time unless that is wrong.
    """
    path = folder / wanted.file
    if path.is_file() and path.stat().st_size == wanted.size:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("ab") as file:
        _fill(file, wanted, part, report, pauses_s)
    if (found := _digest(part)) != wanted.sha256:
        _forget(part)
        raise DownloadError(
            f"What {wanted.url} gave is not {wanted.file}: its SHA-256 is {found}, not "
            f"{wanted.sha256}. It is deleted; try again, or fetch the file from elsewhere."
        )
    os.replace(part, path)
    _forget(part)
    return path


def _fill(
    file: BinaryIO, wanted: Published, part: Path, report: Report, pauses_s: Sequence[float]
) -> None:
    """Brings the file to its full size, in several attempts if need be."""
    reason: Exception | str = "the connection broke off"
    for pause_s in (0.0, *pauses_s):
        time.sleep(pause_s)
        try:
            _attempt(file, wanted, part, report)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # we have more than there is
                _restart(file)
            elif error.code < 500:
                raise DownloadError(
                    f"{wanted.url} answers {error.code} {error.reason}. {_elsewhere(wanted, part)}"
                ) from error
            reason = error
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if file.tell() == wanted.size:
            return
    got = f"got {file.tell():,} of {wanted.size:,} bytes"
    raise DownloadError(
        f"{wanted.url} could not be fetched ({reason}); {got}. Check the network (a proxy is taken "
        f"from HTTPS_PROXY) and run the same again: it goes on from here. {_elsewhere(wanted, part)}"
    )


def _attempt(file: BinaryIO, wanted: Published, part: Path, report: Report) -> None:
    """One request, and as much of its answer as comes."""
    note = part.with_name(f"{part.name}.version")
    request = urllib.request.Request(wanted.url, headers=_headers(file.tell(), note))
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        if answer.status != 206:  # the whole file: there is no part, or it is of another version
            _restart(file)
        _refuse_other(answer, wanted, file.tell(), part)
        note.write_text(_version(answer.headers))
        while block := answer.read(_BLOCK):
            file.write(block)
            report(file.tell())
            if file.tell() > wanted.size:
                _restart(file)
                raise DownloadError(f"{wanted.url} sends more than {wanted.size:,} bytes.")


def _headers(there: int, note: Path) -> dict[str, str]:
    """Asks for the rest, on condition that the file is still the one we have a part of."""
    version = note.read_text() if note.is_file() else ""
    if not there:
        return {}
    return {"Range": f"bytes={there}-"} | ({"If-Range": version} if version else {})


def _version(headers: HTTPMessage) -> str:
    """What tells one version of a file from the next; empty if the server does not say."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _refuse_other(answer: HTTPResponse, wanted: Published, there: int, part: Path) -> None:
    """Raises DownloadError for an answer that cannot be the file, or the rest of it."""
    length = answer.headers.get("Content-Length")
    begins = answer.headers.get("Content-Range", f"bytes {there}-").startswith(f"bytes {there}-")
    if begins and (length is None or there + int(length) == wanted.size):
        return
    raise DownloadError(
        f"{wanted.url} does not give {wanted.file}: {wanted.size - there:,} bytes were to come, it "
        f"announces {length}. {_elsewhere(wanted, part)}"
    )


def _restart(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _forget(part: Path) -> None:
    for path in (part, part.with_name(f"{part.name}.version")):
        with suppress(FileNotFoundError):
            path.unlink()


def _elsewhere(wanted: Published, part: Path) -> str:
    return (
        f"Or fetch {wanted.file} on another machine, and put it into {part.parent} or name it with "
        "--checkpoint."
    )
