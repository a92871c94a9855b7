"""What is written for good: files of masklets, each with a record that proves it whole.

A file of masklets counts only with its record `commits/<name>.json`, written after it, and with Ray
Data's checkpoint of the same name, written last, which keeps its tasks from being done again.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from pipeline import storage

MASKLETS, COMMITS, CHECKPOINT = "masklets", "commits", "checkpoint"
_PENDING = ".pending"  # Ray Data's name for a checkpoint before its file is written
_SHOWN = 100  # problems in one record

Check = Literal["sha256", "size"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One file of masklets: its bytes and, in figures, its rows."""

    size: int
    sha256: str
    counts: Mapping[str, int]  # rows by status, and object_frames
    problems: Sequence[str]

    @classmethod
    def of(cls, data: bytes, rows: pa.Table) -> Self:
        """What there is to say of a file with these bytes and rows."""
        columns = ["video_id", "object_id", "status", "error", "frame_index"]
        counts: Counter[str] = Counter()
        problems: list[str] = []
        for row in rows.select(columns).to_pylist():
            counts[row["status"]] += 1
            counts["object_frames"] += len(row["frame_index"])
            if row["error"]:
                name = f"{row['video_id']}, object {row['object_id']}"
                problems.append(f"{name}: {row['status']}: {row['error']}")
        digest = hashlib.sha256(data).hexdigest()
        return cls(size=len(data), sha256=digest, counts=dict(counts), problems=problems[:_SHOWN])


def commit(fs: FileSystem, folder: str, name: str, rows: pa.Table) -> None:
    """Writes a file of masklets, whole, and then its record."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", write_page_checksum=True)
    data = sink.getvalue().to_pybytes()
    storage.put(fs, storage.join(folder, MASKLETS, f"{name}.parquet"), data)
    record = json.dumps(asdict(Commit.of(data, rows)), indent=1, ensure_ascii=False)
    storage.put(fs, storage.join(folder, COMMITS, f"{name}.json"), record.encode())


def read_commits(fs: FileSystem, folder: str) -> dict[str, Commit]:
    """All records by the name of their file."""
    paths = storage.list_files(fs, storage.join(folder, COMMITS))
    with ThreadPoolExecutor(max_workers=16) as pool:
        texts = pool.map(lambda path: storage.read_bytes(fs, path), paths)
        return {
            _stem(path): Commit(**json.loads(text)) for path, text in zip(paths, texts, strict=True)
        }


def reconcile(fs: FileSystem, folder: str, check: Check = "sha256") -> list[str]:
    """Makes what an interrupted run left behind consistent; says which files have to be made again.

    A file that is committed but missing or damaged is forgotten, so that its tasks are done again.
    What is not committed is removed. To be called while no driver works on the folder.
    """
    for part in (MASKLETS, COMMITS, CHECKPOINT):
        storage.remove_drafts(fs, storage.join(folder, part))
    checkpoints = _stems(fs, folder, CHECKPOINT)
    done = {name for name in checkpoints if not name.endswith(_PENDING)}
    files = _stems(fs, folder, MASKLETS)
    commits = read_commits(fs, folder)
    sound = _sound(fs, files, {name: commits[name] for name in done & commits.keys()}, check)
    for name in done:  # pending too: a crash in the middle of the renaming, which S3 cannot do
        _remove(fs, [checkpoints[name + _PENDING]] if name + _PENDING in checkpoints else [])
    _remove(fs, [checkpoints[name] for name in done - sound])  # first: without it, done again
    _remove(fs, [path for name, path in files.items() if name not in sound])
    _remove(fs, [_record(folder, name) for name in commits.keys() - sound])
    return [f"{files.get(name, name)} is missing or damaged" for name in sorted(done - sound)]


def _sound(
    fs: FileSystem, files: Mapping[str, str], commits: Mapping[str, Commit], check: Check
) -> set[str]:
    """The names of the files that are as their records say."""

    def is_sound(name: str) -> bool:
        if name not in files:
            return False
        if check == "size":
            return bool(fs.get_file_info(files[name]).size == commits[name].size)
        data = storage.read_bytes(fs, files[name])
        return hashlib.sha256(data).hexdigest() == commits[name].sha256

    with ThreadPoolExecutor(max_workers=16) as pool:
        return {
            name for name, sound in zip(commits, pool.map(is_sound, commits), strict=True) if sound
        }


def _record(folder: str, name: str) -> str:
    return storage.join(folder, COMMITS, f"{name}.json")


def _stems(fs: FileSystem, folder: str, part: str) -> dict[str, str]:
    """The files of one part of the output, by their names without the ending."""
    return {_stem(path): path for path in storage.list_files(fs, storage.join(folder, part))}


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


def _remove(fs: FileSystem, paths: Sequence[str]) -> None:
    for path in paths:
        fs.delete_file(path)
