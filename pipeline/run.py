"""The job: a plan read, segmented and written by Ray Data. The one file here that knows Ray."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch
from pyarrow.fs import FileSystem
from ray.data import ActorPoolStrategy, DataContext, Dataset, SaveMode
from ray.data.checkpoint import CheckpointConfig

from pipeline import storage
from pipeline.config import ClusterConfig, RunConfig
from pipeline.manifest import VideoEntry
from pipeline.masklets import schema_of
from pipeline.plan import Task, make_plan, read_plan, write_plan
from pipeline.progress import Tally, shown
from pipeline.record import RunRecord
from pipeline.segmenter import Segmenter
from pipeline.weights import open_model

# CPUs that Ray Data needs beside our actors, or a resumed run waits for ever: one for the actor
# that leaves out what is done, one for the tasks that read the plan and write the rows.
_DATA_CPUS = 2


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended: rows by status, and what went wrong with those that failed."""

    run_id: str
    counts: Mapping[str, int]
    problems: Sequence[str]

    @property
    def rows(self) -> int:
        """Tasks that have a row."""
        return sum(count for name, count in self.counts.items() if name != "object_frames")

    @property
    def failed(self) -> int:
        """Tasks without a masklet."""
        return self.counts.get("failed", 0) + self.counts.get("crashed", 0)


def run(entries: Sequence[VideoEntry], out: str, config: RunConfig) -> Summary:
    """Labels the videos of a manifest, one masklet row per object under `out`.

    What an earlier, unfinished run of the same settings, manifest and model has done is kept, and a
    finished one is left as it is. Wrong input raises an error before anything is started.
    """
    _, checkpoint_sha256 = open_model(config.model, config.checkpoint)
    asked = RunRecord.begin(config, entries, checkpoint_sha256)
    fs, folder = storage.filesystem(out)
    record = RunRecord.read(fs, folder)
    if record:
        record.refuse_other(asked)
    if record and record.finished:
        return summarise(record, fs, folder)
    plan_folder = storage.join(folder, "tasks")
    tasks = read_plan(fs, plan_folder) if record else make_plan(entries)
    storage.preflight(out)
    if not record:
        record = asked
        write_plan(tasks, fs, plan_folder)
        record.write(fs, folder)  # after the plan: where there is a record, the plan is whole
    earlier = summarise(record, fs, folder)
    done = Tally(earlier.rows, earlier.counts.get("object_frames", 0))
    _carry_out(tasks, done, fs, folder, config, record.run_id)
    summary = summarise(record, fs, folder)
    if summary.rows != len(tasks):
        raise RuntimeError(f"{out} has {summary.rows} rows for {len(tasks)} tasks: run it again")
    record.end(summary.counts).write(fs, folder)
    return summary


def segment(
    tasks: Dataset,
    config: RunConfig,
    run_id: str = "",
    tally: Any = None,
    shards: int | None = None,
) -> Dataset:
    """Masklet rows for task rows (pipeline.plan.TASKS), one for one: the job without its ends.

    `shards` is how many blocks there are, if known: more actors would have nothing to do.
    """
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    share = place(config.cluster, resources, shards)
    # With GPUs, the public map_batches wants a batch size and then glues shards together until they
    # have that many rows; a batch has to be a shard, or the objects of a video would part company.
    return tasks.map_batches_internal(
        SegmentShard,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_args=(config, run_id, tally),
        compute=ActorPoolStrategy(size=share.actors),
        num_gpus=share.gpus,
        num_cpus=share.cpus,
    )


class SegmentShard:
    """A segmenter as Ray Data wants it: a table of tasks in, a table of masklets out."""

    def __init__(self, config: RunConfig, run_id: str, tally: Any) -> None:
        torch.set_num_threads(config.cluster.threads)
        device = config.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model, checkpoint_sha256 = open_model(config.model, config.checkpoint, device)
        self.segmenter = Segmenter(
            model, checkpoint_sha256, config.max_batch, config.cluster.threads
        )
        self.schema = schema_of(run_id)
        self.tally = tally

    def __call__(self, shard: pa.Table) -> pa.Table:
        """One masklet row for each task row, in their order: Ray matches a retry by position."""
        tasks = [Task.from_row(row) for row in shard.to_pylist()]
        rows = []
        for masklet in self.segmenter.segment(tasks, self._report):
            rows.append(masklet.to_row())
            self._report(0, tasks=1)
        return pa.Table.from_pylist(rows, schema=self.schema)

    def _report(self, object_frames: int, tasks: int = 0) -> None:
        if self.tally:
            self.tally.add.remote(tasks, object_frames)


class _Counter:
    """Adds up what all actors report; lives in an actor of its own."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def add(self, tasks: int, object_frames: int) -> None:
        self.tally = Tally(self.tally.tasks + tasks, self.tally.object_frames + object_frames)

    def read(self) -> Tally:
        return self.tally


def _read(counter: Any) -> Tally:
    tally: Tally = ray.get(counter.read.remote())
    return tally


@dataclass(frozen=True, slots=True)
class Place:
    """How many actors there are, and what each may use."""

    actors: int
    gpus: float
    cpus: float


def place(
    cluster: ClusterConfig, resources: Mapping[str, float], shards: int | None = None
) -> Place:
    """One actor per GPU, or per share of the CPUs where there is none; some CPUs stay free."""
    cpus, gpus = resources.get("CPU", 1), resources.get("GPU", 0)
    per_actor = cluster.gpus_per_actor if cluster.gpus_per_actor is not None else min(gpus, 1)
    free = max(cpus - _DATA_CPUS, 0)
    fitting = gpus // per_actor if per_actor else free // cluster.threads
    actors = cluster.actors or max(int(fitting), 1)
    actors = min(actors, shards or actors)
    return Place(actors, per_actor, min(cluster.threads, free / actors))


def _carry_out(
    tasks: Sequence[Task],
    done: Tally,
    fs: FileSystem,
    folder: str,
    config: RunConfig,
    run_id: str,
) -> None:
    """Segments the tasks that have no row yet; `done` is what an earlier run has written."""
    shards = len({task.shard for task in tasks})
    total = Tally(len(tasks), sum(task.n_frames for task in tasks))
    with _ray(), DataContext.current(_context(fs, folder)):
        counter: Any = ray.remote(_Counter)  # _Counter itself never heard of Ray
        tally = counter.options(num_cpus=0).remote(done)
        plan = ray.data.read_parquet(
            storage.join(folder, "tasks"), filesystem=fs, override_num_blocks=shards
        )
        masklets = segment(plan, config, run_id, tally, shards)
        with shown(lambda: _read(tally), total):
            masklets.write_parquet(
                storage.join(folder, "masklets"),
                filesystem=fs,
                mode=SaveMode.APPEND,  # the files of an earlier, unfinished run stay
                compression="zstd",
            )


def _context(fs: FileSystem, folder: str) -> DataContext:
    """Ray Data's settings for long work that must not be lost or done twice."""
    context = DataContext.get_current().copy()
    context.checkpoint_config = CheckpointConfig(
        id_column="task_id",
        checkpoint_path=storage.join(folder, "checkpoint"),
        override_filesystem=fs,
        delete_checkpoint_on_success=False,  # or the next run would do everything again
    )
    context.use_datasource_v2 = False  # the new reader packs small files, so shards, into one task
    context.target_max_block_size = None  # one block per shard: written and committed as a whole
    context.execution_no_progress_timeout_s = (
        -1
    )  # a long video is silent for longer than half an hour
    context.enable_progress_bars = False  # ours counts what users count
    return context


@contextmanager
def _ray() -> Iterator[None]:
    """A Ray cluster: the one this program is part of or RAY_ADDRESS names, or one of our own."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its warnings are about our settings
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.WARNING)
    else:
        # Ray's core complains of how Ray Data starts its actors; its logs keep what matters.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(
            num_cpus=(os.cpu_count() or 1) + _DATA_CPUS,  # those two have little to do
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",  # nothing outside this machine may reach it
        )
    try:
        yield
    finally:
        ray.shutdown()


def summarise(record: RunRecord, fs: FileSystem, folder: str) -> Summary:
    """What the rows written so far say of a run."""
    counts: Counter[str] = Counter()
    problems: list[str] = []
    columns = ["video_id", "object_id", "status", "error", "frame_index"]
    for path in storage.list_files(fs, storage.join(folder, "masklets")):
        for row in pq.read_table(path, filesystem=fs, columns=columns).to_pylist():
            counts[row["status"]] += 1
            counts["object_frames"] += len(row["frame_index"])
            if row["error"]:
                problems.append(
                    f"{row['video_id']}, object {row['object_id']}: {row['status']}: {row['error']}"
                )
    return Summary(record.run_id, counts, sorted(problems))
