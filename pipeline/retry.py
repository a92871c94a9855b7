"""Does again what failed in a finished run, and puts the new rows in the place of the old ones.

The failed tasks are a run of their own under `retry/`, which can be resumed like any other. Only
when it is complete are its rows taken over, file by file: whoever reads finds one row per task all
the time, the old one or the new one.
"""

import json

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem, FileType

from pipeline import storage
from pipeline.commits import MASKLETS, commit, read_commits
from pipeline.config import RunConfig
from pipeline.lease import Keeper, Lease, kept
from pipeline.masklets import FAILED
from pipeline.plan import Task, read_plan, write_plan
from pipeline.record import RecordError, RunRecord
from pipeline.run import Summary, finish, summarise
from pipeline.weights import open_model

AGAIN = "retry"


def retry(out: str, config: RunConfig) -> Summary:
    """Tracks again what failed under `out`, with the run's own settings and weights.

    Raises RecordError if there is no finished run, or if `config` is not of this run.
    """
    fs, folder = storage.reach(out)
    record = _record(fs, folder, out, config)
    storage.preflight(out)
    with kept(Lease.take(fs, folder), fs, folder) as keeper:
        finish(record, keeper, fs, folder, config)
        if _plan(fs, folder):
            finish(record, keeper, fs, storage.join(folder, AGAIN), config)
            # Cut off from here on, a file may not fit its record.
            record.reopened().write(fs, folder)
            _take_over(keeper, fs, folder)
            _forget(fs, folder)
        summary = summarise(record, fs, folder)
        record.end(summary.counts, keeper.read().tracked).write(fs, folder)
    return summary


def settings_of(out: str) -> list[str]:
    """The settings of the run under `out`, as `key=value`; raises RecordError without a run."""
    fs, folder = storage.reach(out)
    record = RunRecord.of(fs, folder, out)
    return [f"{key}={json.dumps(value)}" for key, value in record.config.items()]


def _record(fs: FileSystem, folder: str, out: str, config: RunConfig) -> RunRecord:
    record = RunRecord.of(fs, folder, out)
    if not (record.finished or _planned(fs, folder)):
        raise RecordError(f"{out} holds no finished run: give the command that began it once more")
    _, checkpoint_sha256 = open_model(config.model, config.checkpoint)
    record.refuse_other(record.asked_again(config, checkpoint_sha256))
    return record


def _planned(fs: FileSystem, folder: str) -> list[Task]:
    """The tasks of a retry that was begun."""
    return read_plan(fs, storage.join(folder, AGAIN, "tasks"))


def _plan(fs: FileSystem, folder: str) -> list[Task]:
    """The tasks to be done again: those of a retry that was cut off, or all that failed."""
    failed, planned = _failed(fs, folder), _planned(fs, folder)
    if failed and failed <= {task.task_id for task in planned}:
        return planned
    _forget(fs, folder)
    if not failed:
        return []
    tasks = read_plan(fs, storage.join(folder, "tasks"))
    chosen = [task for task in tasks if task.task_id in failed]
    write_plan(chosen, fs, storage.join(folder, AGAIN, "tasks"))
    return chosen


def _take_over(keeper: Keeper, fs: FileSystem, folder: str) -> None:
    """Replaces failed rows by what came of the retry, each file of masklets as a whole."""
    homes = {  # of the new rows: they do not all fit into the memory of a driver
        task_id: path
        for path in storage.list_files(fs, storage.join(folder, AGAIN, MASKLETS))
        for task_id in _read(fs, path, ["task_id"])["task_id"].to_pylist()
    }
    for name in _with_failures(fs, folder):
        keeper.lease.check(fs, folder)
        old = _read(fs, storage.join(folder, MASKLETS, f"{name}.parquet"))
        tasks = old["task_id"].to_pylist()
        paths = sorted({homes[task_id] for task_id in tasks if task_id in homes})
        both = pa.concat_tables([old, *(_read(fs, path) for path in paths)])
        last = {task_id: row for row, task_id in enumerate(both["task_id"].to_pylist())}
        commit(fs, folder, name, both.take([last[task_id] for task_id in tasks]))


def _failed(fs: FileSystem, folder: str) -> set[int]:
    """The tasks that failed."""
    failed: set[int] = set()
    for name in _with_failures(fs, folder):
        path = storage.join(folder, MASKLETS, f"{name}.parquet")
        rows = _read(fs, path, ["task_id", "status"]).to_pylist()
        failed |= {row["task_id"] for row in rows if row["status"] in FAILED}
    return failed


def _with_failures(fs: FileSystem, folder: str) -> list[str]:
    """The names of the files with failed rows."""
    commits = read_commits(fs, folder).items()
    return [name for name, one in commits if any(one.counts.get(status) for status in FAILED)]


def _read(fs: FileSystem, path: str, columns: list[str] | None = None) -> pa.Table:
    with fs.open_input_file(path) as source:
        return pq.ParquetFile(source).read(columns=columns)


def _forget(fs: FileSystem, folder: str) -> None:
    """Removes what a retry has left."""
    again = storage.join(folder, AGAIN)
    if fs.get_file_info(again).type != FileType.NotFound:
        fs.delete_dir(again)
