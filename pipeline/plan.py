"""The plan: one row per object to be tracked, in the order and the shards in which work is done."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from math import inf
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from pipeline import storage
from pipeline.cost import TYPICAL, Cost
from pipeline.manifest import Direction, ObjectPrompts, Prompt, VideoEntry
from pipeline.masklets import PROMPT
from pipeline.probe import probe_in_threads
from pipeline.video import VideoInfo

# A shard is what an actor takes on at a time: a Ray task, a file, and what is lost with the actor.
_SHARD_S = 60.0  # of a device
_SHARD_OBJECTS = 32  # enough to fill batches with those of several videos
_MOST_SHARDS = 10_000  # more of them would weigh on the driver
_SHARDS_PER_DEVICE = 4  # of what is left, so that devices finish at about the same time
_WRITERS = 16  # files of the plan written or read at a time

TASKS = pa.schema(
    [
        ("task_id", pa.int64()),
        ("shard", pa.int32()),
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("first_frame", pa.int32()),
        ("stop_frame", pa.int32()),
        ("coords", pa.string()),
        ("object_id", pa.int32()),
        ("label", pa.string()),
        ("direction", pa.string()),
        ("prompts", pa.list_(PROMPT)),
        ("n_frames", pa.int32()),
        ("cost_s", pa.float64()),
    ]
)


class PlanError(ValueError):
    """A manifest that is valid but cannot be carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One object to be tracked through one video: the unit of work."""

    task_id: int
    shard: int
    video_id: str
    uri: str
    first_frame: int = 0  # of the part of the video to look at
    stop_frame: int | None = None  # None: to the end
    coords: str = "pixel"
    object_id: int
    label: str | None = None
    direction: Direction = "forward"
    prompts: tuple[Prompt, ...]
    n_frames: int = 0  # frames to look at, as far as the probe knows; 0 where it failed
    cost_s: float = 0.0  # its share of what its video costs a device

    def to_row(self) -> dict[str, Any]:
        """The task as plain values, as TASKS wants it."""
        row = {column.name: getattr(self, column.name) for column in fields(self)}
        return row | {"prompts": [prompt.model_dump() for prompt in self.prompts]}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The task in a row of a table with TASKS."""
        prompts = tuple(Prompt.model_validate(prompt) for prompt in row["prompts"])
        return cls(**{**row, "prompts": prompts})


@dataclass(frozen=True, slots=True)
class _Bundle:
    """Objects of one video that share its decoding and encoding."""

    entry: VideoEntry
    objects: tuple[ObjectPrompts, ...]
    n_frames: int
    cost_s: float


def _refuse_bare(entries: Sequence[VideoEntry]) -> None:
    """Raises PlanError if a video names no objects."""
    if bare := [entry.video_id for entry in entries if not entry.objects]:
        name = "video names" if len(bare) == 1 else "videos name"
        raise PlanError(
            f"{len(bare)} {name} no objects (first: '{bare[0]}'). Give each at least one "
            "object with a prompt: objects are not discovered yet."
        )


def make_plan(
    entries: Sequence[VideoEntry],
    probe: Callable[[Sequence[str]], Iterable[VideoInfo | None]] = probe_in_threads,
    cost: Cost = TYPICAL,
    devices: int = 4,
) -> list[Task]:
    """The tasks of a manifest, the longest first, in shards that shrink towards the end.

    The objects of a video stay together, unless it alone would keep the run waiting and is worth
    more than one of the `devices`. The same input gives the same plan. A video that cannot be
    probed is planned all the same: its tasks will fail and say why.
    Raises PlanError if a video names no objects.
    """
    _refuse_bare(entries)
    infos = list(probe([entry.uri for entry in entries]))
    whole = [_bundle(e, info, cost) for e, info in zip(entries, infos, strict=True)]
    too_long_s = max(_SHARD_S, 2 * sum(bundle.cost_s for bundle in whole) / devices)
    bundles: list[_Bundle] = []
    for bundle, info in zip(whole, infos, strict=True):
        worth = devices if info and bundle.cost_s > too_long_s else 1
        bundles += _spread(bundle, info, cost, worth) if info and worth > 1 else [bundle]
    bundles.sort(key=lambda bundle: bundle.cost_s, reverse=True)
    shards = _shards(bundles, devices)
    numbered = (
        (shard, task) for shard, held in enumerate(shards) for b in held for task in _tasks(b)
    )
    return [replace(task, task_id=i, shard=shard) for i, (shard, task) in enumerate(numbered)]


def _bundle(entry: VideoEntry, info: VideoInfo | None, cost: Cost) -> _Bundle:
    objects = entry.objects or ()
    if info is None:
        return _Bundle(entry, objects, 0, 0.0)
    n_frames = len(range(info.n_frames)[slice(*(entry.frames or (0, None)))])
    cost_s = cost.seconds(n_frames, len(objects), info.width * info.height)
    return _Bundle(entry, objects, n_frames, cost_s)


def _spread(bundle: _Bundle, info: VideoInfo, cost: Cost, devices: int) -> Iterator[_Bundle]:
    """The objects of a long video in parts for several devices, as far as they are put to use."""
    pixels = info.width * info.height
    parts = min(devices, cost.devices_for(len(bundle.objects), pixels))
    for part in range(parts):
        objects = bundle.objects[part::parts]
        cost_s = cost.seconds(bundle.n_frames, len(objects), pixels)
        yield replace(bundle, objects=objects, cost_s=cost_s)


def _shards(bundles: Sequence[_Bundle], devices: int) -> Iterator[list[_Bundle]]:
    """Bundles side by side until they are worth a shard: the less is left, the less that is.

    So that at the end no device works on a large one while the others have nothing more to do.
    """
    seconds = [0.0, *accumulate(bundle.cost_s for bundle in bundles)]
    objects = [0, *accumulate(len(bundle.objects) for bundle in bundles)]
    start = 0
    while start < len(bundles):
        stop = min(
            _end_of_shard(seconds, start, _SHARD_S, devices),
            _end_of_shard(objects, start, _SHARD_OBJECTS, devices),
        )
        yield list(bundles[start:stop])
        start = stop


def _end_of_shard(totals: Sequence[float], start: int, most: float, devices: int) -> int:
    """Where a shard ends that begins at `start`, by the running totals of what it may hold."""
    share = (totals[-1] - totals[start]) / (_SHARDS_PER_DEVICE * devices)
    enough = max(min(most, share), totals[-1] / _MOST_SHARDS) or inf
    return min(bisect_left(totals, totals[start] + enough, start + 1), len(totals) - 1)


def _tasks(bundle: _Bundle) -> Iterator[Task]:
    entry = bundle.entry
    for wanted in bundle.objects:
        yield Task(
            task_id=0,
            shard=0,
            video_id=entry.video_id,
            uri=entry.uri,
            first_frame=entry.frames[0] if entry.frames else 0,
            stop_frame=entry.frames[1] if entry.frames else None,
            coords=entry.coords,
            object_id=wanted.object_id,
            label=wanted.label,
            direction=wanted.direction,
            prompts=wanted.prompts,
            n_frames=bundle.n_frames,
            cost_s=bundle.cost_s / len(bundle.objects),
        )


def write_plan(tasks: Sequence[Task], fs: FileSystem, folder: str) -> None:
    """Writes one Parquet file per shard, named so that they sort in the order of the plan."""
    for stale in storage.list_files(fs, folder):  # of a plan that was never finished
        fs.delete_file(stale)
    shards: dict[int, list[Task]] = {}
    for task in tasks:
        shards.setdefault(task.shard, []).append(task)

    def write(shard: int) -> None:
        table = pa.Table.from_pylist([task.to_row() for task in shards[shard]], schema=TASKS)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        path = storage.join(folder, f"shard-{shard:06d}.parquet")
        storage.put(fs, path, sink.getvalue().to_pybytes())

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(write, shards))


def read_plan(fs: FileSystem, folder: str) -> list[Task]:
    """The tasks that `write_plan` wrote."""

    def read(path: str) -> list[Task]:
        with fs.open_input_file(path) as source:
            return [Task.from_row(row) for row in pq.ParquetFile(source).read().to_pylist()]

    with ThreadPoolExecutor(_WRITERS) as pool:
        shards = pool.map(read, storage.list_files(fs, folder))
        return [task for shard in shards for task in shard]
