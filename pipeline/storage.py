"""Files by URI: the local disk, S3, and through fsspec every other store.

A file is always written whole, from memory. A stream that an error closes would still publish what
it holds, and half a Parquet file can open like a whole one.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import fsspec
from pyarrow.fs import (
    AwsStandardS3RetryStrategy,
    FileInfo,
    FileSelector,
    FileSystem,
    FSSpecHandler,
    LocalFileSystem,
    PyFileSystem,
    S3FileSystem,
    resolve_s3_region,
)

from pipeline.config import StorageConfig
from pipeline.patience import PATIENCE, asks_to_wait, patiently
from pipeline.uris import local_path, refuse_credentials

# What the text of an S3 error means, and what to do about it.
_S3_ADVICE = {
    "NO_SUCH_BUCKET": "the bucket does not exist: create it, or correct its name",
    "ACCESS_DENIED": "the credentials found lack the right {right} here (if none were found: set "
    "AWS_PROFILE or AWS_ACCESS_KEY_ID, or run under a role)",
    "INVALID_ACCESS_KEY_ID": "the access key is unknown: check AWS_PROFILE or AWS_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is wrong: check AWS_PROFILE or "
    "AWS_SECRET_ACCESS_KEY",
    "QuotaExceeded": "it is full: make room there, or have its quota raised",
    "NETWORK_CONNECTION": "the server does not answer: check AWS_ENDPOINT_URL, AWS_REGION and "
    "the network",
    "MissingContentLength": "this store does not know the newer checksums: set "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
}

_DRAFT = ".tmp"  # and a dot before it: a file that is being written

_Result = TypeVar("_Result")


class StorageError(OSError):
    """A place cannot be used as asked; the text says which place and what is missing."""


def environment(settings: StorageConfig) -> dict[str, str]:
    """These settings as the environment variables that every client reads.

    Where a setting is silent this process's own variable goes on, to workers elsewhere too.
    """
    wanted = {
        PATIENCE: str(settings.patience_s),
        "AWS_ENDPOINT_URL": settings.endpoint,
        "AWS_ENDPOINT_URL_S3": settings.endpoint,  # which clients prefer where it is set
        "AWS_REQUEST_CHECKSUM_CALCULATION": settings.checksums,
    }
    told = {name: value or os.environ.get(name) for name, value in wanted.items()}
    return {name: value for name, value in told.items() if value}


def use(settings: StorageConfig) -> None:
    """Takes these settings for this process."""
    os.environ |= environment(settings)
    _s3.cache_clear()  # a client reads them when it is made


def filesystem(uri: str, attempts: int = 6) -> tuple[FileSystem, str]:
    """The filesystem that holds a path or URI, and its path there.

    On S3 a request that fails is tried `attempts` times; 6 bridge an outage of some 20 seconds and
    still fit into the notice that a spot machine gets.
    Raises StorageError for an unknown scheme, credentials in a URI, or a package that is missing.
    """
    try:
        path = local_path(uri)
    except ValueError as error:
        raise StorageError(str(error)) from error
    if path:
        return LocalFileSystem(), str(path.absolute())
    try:
        return _remote(uri, attempts)
    except (ImportError, ValueError) as error:  # an unknown scheme, a package that is missing
        raise StorageError(f"{uri.partition('://')[0]}://…: {error}") from error


def reach(uri: str) -> tuple[FileSystem, str]:
    """Like `filesystem`, for a run's output; raises StorageError where its store does not answer.

    At once, unless the store is only busy.
    """
    fs, folder = filesystem(uri, attempts=2)
    with _explained("read", uri, right="s3:ListBucket"):
        patiently(lambda: fs.get_file_info(folder), asks_to_wait)
    return filesystem(uri)


def _remote(uri: str, attempts: int) -> tuple[FileSystem, str]:
    refuse_credentials(uri)
    scheme, _, rest = uri.partition("://")
    if scheme == "s3":
        return _s3(rest.partition("/")[0], _endpoint(), attempts), rest.rstrip("/")
    other, path = fsspec.core.url_to_fs(uri)
    return PyFileSystem(FSSpecHandler(other)), path


def _endpoint() -> str | None:
    """The address of an S3 that is not Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


@lru_cache
def _s3(bucket: str, endpoint: str | None, attempts: int) -> S3FileSystem:
    """S3 with credentials from the provider chain."""
    region = None  # then it is the one in the environment or the profile
    if endpoint is None:
        with suppress(OSError):
            region = resolve_s3_region(bucket)
    return S3FileSystem(
        region=region,
        endpoint_override=endpoint,
        allow_delayed_open=True,  # so that a small file is one request, all or nothing
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=attempts),
    )


def join(folder: str, *names: str) -> str:
    """A path or URI under another; works on both."""
    return "/".join([folder.rstrip("/"), *names])


def put(fs: FileSystem, path: str, data: bytes) -> None:
    """Writes a whole file: a reader sees the old one or the new one, never a part."""
    patiently(lambda: _put_once(fs, path, data))


def _put_once(fs: FileSystem, path: str, data: bytes) -> None:
    if isinstance(fs, LocalFileSystem):
        return _put_local(Path(path), data)
    # Names ending in .gz are no wish for compression.
    with fs.open_output_stream(path, compression=None) as out:
        out.write(data)


def _put_local(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def create(fs: FileSystem, path: str, data: bytes) -> bool:
    """Writes a file that must not exist yet; False if it did, which only one of many can make.

    `data` must be the writer's own: an answer that gets lost is told by reading back what is there.
    """
    try:
        _create(fs, path, data)
    except Exception:  # each store has its own way to refuse, and a retry may meet our own file
        if not exists(fs, path):
            raise
    return read_bytes(fs, path) == data  # a store without conditional writes keeps the last one


def _create(fs: FileSystem, path: str, data: bytes) -> None:
    if isinstance(fs, LocalFileSystem):
        return _create_local(Path(path), data)
    if isinstance(fs, S3FileSystem):  # Arrow has no conditional write
        other = fsspec.filesystem("s3", endpoint_url=_endpoint())
    else:
        other = fs.handler.fs
    other.pipe_file(path, data, mode="create")


def _create_local(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    try:
        draft.write_bytes(data)
        os.link(draft, path)  # unlike a rename, this fails where there is a file
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        with path.open("xb") as file:  # a disk without links: a reader may see a part
            file.write(data)
    finally:
        draft.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    """A new name beside a file, for a rename across disks is a copy."""
    return path.with_name(f".{uuid4().hex}{_DRAFT}")


def exists(fs: FileSystem, path: str) -> bool:
    """Whether there is a file (not a folder) with this path."""
    return patiently(lambda: bool(fs.get_file_info(path).is_file))


def modified(fs: FileSystem, path: str) -> datetime | None:
    """When a file was written, by the clock of its store; None where that keeps no times."""
    time: datetime | None = fs.get_file_info(path).mtime
    if time is None and isinstance(fs, PyFileSystem):  # Arrow knows but one of their names for it
        with suppress(NotImplementedError):
            time = fs.handler.fs.modified(path)
    return time


def read_bytes(fs: FileSystem, path: str) -> bytes:
    """A whole file."""
    return patiently(lambda: _read_once(fs, path))


def _read_once(fs: FileSystem, path: str) -> bytes:
    with fs.open_input_file(path) as file:
        return bytes(file.read())


def list_files(fs: FileSystem, folder: str) -> list[str]:
    """Paths of the files directly in a folder, sorted; none if there is no such folder.

    Drafts are none: a process that is killed leaves them, and they may hold half of a file.
    """
    files = (info for info in entries(fs, folder) if info.is_file)
    return sorted(info.path for info in files if not _is_draft(info))


def remove_drafts(fs: FileSystem, folder: str) -> None:
    """Removes what processes that were killed left; to be called while nobody writes there."""
    for info in entries(fs, folder):
        if _is_draft(info):
            fs.delete_file(info.path)


def _is_draft(info: FileInfo) -> bool:
    name: str = info.base_name
    return name.startswith(".") and name.endswith(_DRAFT)


def entries(fs: FileSystem, folder: str) -> list[FileInfo]:
    """The files and folders directly in a folder; none if there is no such folder."""
    selector = FileSelector(folder, allow_not_found=True)
    try:
        return patiently(lambda: list(fs.get_file_info(selector)))
    except FileNotFoundError:
        # Arrow looks twice, and complains of a folder that another driver makes in between.
        return list(fs.get_file_info(selector))


def preflight(uri: str) -> None:
    """Proves with one small file that we may write, read, list and delete in a folder.

    Raises StorageError, which says what cannot be done and what to do.
    """
    fs, folder = filesystem(uri, attempts=2)  # a wrong address should be told at once
    probe = join(folder, f"masklet-probe-{uuid4().hex}")
    with _explained("write to", uri, right="s3:PutObject"):
        patiently(lambda: _put_once(fs, probe, b"probe"), asks_to_wait)
    fs, _ = filesystem(uri)
    with _explained("read", uri, right="s3:GetObject"):
        # Patiently: the address is right, or we could not have written.
        if read_bytes(fs, probe) != b"probe":
            raise OSError("a file came back changed")
    with _explained("list", uri, right="s3:ListBucket"):
        if not any(path.endswith(probe.rpartition("/")[2]) for path in list_files(fs, folder)):
            raise OSError("a file just written is not listed")
    with _explained("delete from", uri, right="s3:DeleteObject"):
        fs.delete_file(probe)


@contextmanager
def no_new_folders(uri: str) -> Iterator[None]:
    """Removes the local folders that the block makes on the way to a place, if they are empty."""
    fs, path = filesystem(uri)
    folders = (path, *map(str, Path(path).parents)) if isinstance(fs, LocalFileSystem) else ()
    made = [folder for folder in folders if not os.path.exists(folder)]
    try:
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # it was not made, or somebody has put something in
                os.rmdir(folder)


@contextmanager
def _explained(deed: str, uri: str, right: str) -> Iterator[None]:
    """Turns a failure into a StorageError that says what to do."""
    try:
        yield
    except (OSError, NotImplementedError, ValueError) as error:  # of a web server, of a wrong path
        advice = [text for name, text in _S3_ADVICE.items() if name in str(error)]
        meaning = advice[0].format(right=right) if advice else str(error) or "it takes no files"
        raise StorageError(f"cannot {deed} {uri}: {meaning}") from error
