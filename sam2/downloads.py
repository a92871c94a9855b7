"""The published checkpoints: where they are, and a download that can be taken up again.

A file has its final name only when all of it is there and its digest is right. Until then it grows
as NAME.part, beside a note of which version of the file it is a part of.
"""

import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import BinaryIO, Self

from sam2.checkpoint import CheckpointError, checkpoint_sha256

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
    with _Part.claimed(path.with_name(f"{path.name}.part")) as part:
        _fill(part, wanted, report, pauses_s)
        if (found := part.sha256()) != wanted.sha256:
            part.forget()
            raise DownloadError(
                f"What {wanted.url} gave is not {wanted.file}: its SHA-256 is {found}, not "
                f"{wanted.sha256}. It is deleted; try again, or fetch the file from elsewhere."
            )
        os.replace(part.path, path)
        part.forget()
    return path


class _Part:
    """As much of a file as has come, and the version of the file that it is a part of."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._note = path.with_name(f"{path.name}.version")

    @classmethod
    @contextmanager
    def claimed(cls, path: Path) -> Iterator[Self]:
        """Opens the part, for one process at a time; raises DownloadError."""
        with path.open("ab") as file:
            if not _lock(file) or not _is_still(path, file):
                raise DownloadError(f"{path} is being downloaded by another process: wait for it.")
            yield cls(path, file)

    @property
    def size(self) -> int:
        return self._file.tell()

    @property
    def version(self) -> str:
        """As the server told it; empty if it did not."""
        return self._note.read_text() if self._note.is_file() else ""

    def restart(self, version: str) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._note.write_text(version)

    def add(self, block: bytes) -> None:
        self._file.write(block)

    def sha256(self) -> str:
        self._file.flush()
        return checkpoint_sha256(self.path)

    def forget(self) -> None:
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)


def _lock(file: BinaryIO) -> bool:
    """Whether nobody else holds the file; it is ours until it is closed."""
    if sys.platform != "win32":
        import fcntl  # there is none on Windows

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Whether the file has that name, and was not just finished by somebody else."""
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _fill(part: _Part, wanted: Published, report: Report, pauses_s: Sequence[float]) -> None:
    """Brings the part to its full size; pauses when an attempt got no further than others."""
    pauses = iter(pauses_s)
    most = part.size
    while part.size != wanted.size:
        trouble = _attempt(part, wanted, report)
        if part.size > most or part.size == wanted.size:
            most = part.size
            continue
        if (pause_s := next(pauses, None)) is None:
            raise DownloadError(
                f"{wanted.url} could not be fetched: {trouble}. Of {wanted.size:,} bytes "
                f"{part.size:,} are there; the same command goes on from them. {_advice(part)}"
            )
        time.sleep(pause_s)


def _attempt(part: _Part, wanted: Published, report: Report) -> str:
    """One request, and as much of its answer as comes; says why it was not all."""
    request = urllib.request.Request(wanted.url, headers=_headers(part))
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return _receive(part, answer, wanted, report)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # we have more than there is
            part.restart("")
        elif error.code < 500:
            raise DownloadError(
                f"{wanted.url} answers {error.code} {error.reason}. {_advice(part)}"
            ) from error
        return str(error)
    except urllib.error.URLError as error:
        if not part.size:
            raise DownloadError(
                f"{wanted.url} cannot be reached ({error.reason}). {_advice(part)}"
            ) from error
        return f"the server cannot be reached ({error.reason})"
    except (OSError, HTTPException) as error:
        return f"the connection broke off ({type(error).__name__})"


def _receive(part: _Part, answer: HTTPResponse, wanted: Published, report: Report) -> str:
    if answer.status != 206:  # the whole file: we had nothing, or a part of another version
        part.restart(_version(answer.headers))
    begins = answer.headers.get("Content-Range", f"bytes {part.size}-").partition("-")[0]
    whole = part.size + (wanted.size - part.size if answer.length is None else answer.length)
    if begins != f"bytes {part.size}" or whole != wanted.size:
        raise DownloadError(
            f"{wanted.url} gives a file of {whole:,} bytes, but {wanted.file} has "
            f"{wanted.size:,}: something else is in its place. {_advice(part)}"
        )
    while part.size < wanted.size and (block := answer.read(_BLOCK)):
        part.add(block)
        report(part.size)
    return "the connection broke off"


def _headers(part: _Part) -> dict[str, str]:
    """Asks for the rest, on condition that the file is still the one we have a part of."""
    if not part.size:
        return {}
    return {"Range": f"bytes={part.size}-"} | ({"If-Range": part.version} if part.version else {})


def _version(headers: HTTPMessage) -> str:
    """What tells one version of a file from the next; empty if the server does not say."""
    tag: str = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _advice(part: _Part) -> str:
    return (
        "Check the network (a proxy is taken from HTTPS_PROXY). Or fetch the file on another "
        f"machine, and put it into {part.path.parent} or name it with --checkpoint."
    )
