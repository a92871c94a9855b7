"""How a run is doing, from the files under its output alone: while it works, or after."""

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from pipeline import storage
from pipeline.commits import MASKLETS, Commit, read_commits
from pipeline.lease import EXPIRY_S, Lease
from pipeline.masklets import FAILED
from pipeline.record import RunRecord
from pipeline.retry import AGAIN

State = Literal["running", "stopped", "finished"]
_TROUBLE = ("partial", *FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why objects have no masks, or not all of them."""

    status: str
    error_type: str
    objects: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a run is. Rates and times are those of the driver that works, or worked last."""

    run_id: str
    model: str
    state: State
    tasks: int
    done: Mapping[str, int]  # objects that have a row, by status
    running: int  # objects in the hands of an actor
    reasons: tuple[Reason, ...]
    object_frames: int
    rate: float | None  # object-frames tracked per second, those done again included
    left_s: float | None  # None where nobody works, or nothing is known yet
    host: str | None  # of the driver
    heard_s: float | None  # ago
    started: str
    finished: str | None

    @property
    def rows(self) -> int:
        """Objects that have a row."""
        return sum(self.done.values())

    @property
    def failed(self) -> int:
        """Objects whose row has no masks."""
        return sum(self.done.get(status, 0) for status in FAILED)


def read_status(out: str, now: datetime | None = None) -> Status:
    """The status of the run under a folder or URI; raises RecordError where there is none."""
    fs, folder = storage.reach(out)
    record = RunRecord.of(fs, folder, out)
    lease = Lease.newest(fs, folder)
    heard_s = _seconds(lease.renewed, now or datetime.now(UTC)) if lease else None
    works = bool(lease and not lease.released and heard_s is not None and heard_s < EXPIRY_S)
    commits = read_commits(fs, folder)
    counts = _counts(commits)
    written = counts.pop("object_frames", 0)
    rate = _rate(lease)
    return Status(
        run_id=record.run_id,
        model=record.model,
        state="running" if works else "finished" if record.finished else "stopped",
        tasks=len(_frames_of_tasks(fs, folder)),
        done=dict(counts),
        running=lease.running if lease and works else 0,
        reasons=tuple(_reasons(fs, folder, commits)),
        object_frames=max(written, lease.object_frames) if lease and works else written,
        rate=rate,
        left_s=_left(fs, folder, lease.object_frames) / rate if lease and works and rate else None,
        host=lease.host if lease else None,
        heard_s=heard_s,
        started=record.started,
        finished=record.finished,
    )


def _left(fs: FileSystem, folder: str, object_frames: int) -> int:
    """The object-frames that the driver still has to do, at most; it has done `object_frames`."""
    again = storage.join(folder, AGAIN)
    planned = _frames_of_tasks(fs, again)
    where = again if planned else folder
    planned = planned or _frames_of_tasks(fs, folder)
    commits = read_commits(fs, where)
    open_tasks = planned.keys() - _done(fs, where, commits)
    begun = object_frames - _counts(commits)["object_frames"]
    return max(sum(planned[task_id] for task_id in open_tasks) - begun, 0)


def _counts(commits: Mapping[str, Commit]) -> Counter[str]:
    """Rows by status, and object_frames."""
    return sum((Counter(commit.counts) for commit in commits.values()), Counter())


def _rate(lease: Lease | None) -> float | None:
    if lease is None or lease.began is None:
        return None
    seconds = _seconds(lease.began, datetime.fromisoformat(lease.renewed))
    return (lease.tracked - lease.before) / seconds if seconds > 0 else None


def _seconds(since: str, until: datetime) -> float:
    return (until - datetime.fromisoformat(since)).total_seconds()


def _frames_of_tasks(fs: FileSystem, folder: str) -> dict[int, int]:
    """The frames that each task of the plan looks at, at most."""
    files = storage.list_files(fs, storage.join(folder, "tasks"))
    table = _tables(fs, files, ["task_id", "n_frames"])
    return {row["task_id"]: row["n_frames"] for rows in table for row in rows.to_pylist()}


def _done(fs: FileSystem, folder: str, commits: Iterable[str]) -> set[int]:
    files = [storage.join(folder, MASKLETS, f"{name}.parquet") for name in commits]
    return {i for rows in _tables(fs, files, ["task_id"]) for i in rows["task_id"].to_pylist()}


def _reasons(fs: FileSystem, folder: str, commits: Mapping[str, Commit]) -> list[Reason]:
    """What went wrong, the most frequent first."""
    names = [n for n, commit in commits.items() if any(commit.counts.get(s) for s in _TROUBLE)]
    files = [storage.join(folder, MASKLETS, f"{name}.parquet") for name in names]
    columns = ["video_id", "object_id", "status", "error_type", "error"]
    found: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for row in (row for rows in _tables(fs, files, columns) for row in rows.to_pylist()):
        if row["status"] in _TROUBLE:
            key = (row["status"], row["error_type"])
            found[key] += 1
            example = f"{row['video_id']}, object {row['object_id']}: {row['error']}"
            examples.setdefault(key, example)
    return [
        Reason(status=key[0], error_type=key[1], objects=count, example=examples[key])
        for key, count in found.most_common()
    ]


def _tables(fs: FileSystem, files: Iterable[str], columns: list[str]) -> list[pa.Table]:
    """Some columns of some files; a file that a driver removes meanwhile has none."""

    def read(path: str) -> pa.Table | None:
        try:
            with fs.open_input_file(path) as source:
                return pq.ParquetFile(source).read(columns=columns)
        except FileNotFoundError:
            return None

    with ThreadPoolExecutor(max_workers=16) as pool:
        return [table for table in pool.map(read, files) if table is not None]
