"""The plan: one row per object to be tracked, in the order and the shards in which work is done."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from math import ceil
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from pipeline import storage
from pipeline.any_video import open_video
from pipeline.manifest import Direction, Prompt, VideoEntry
from pipeline.masklets import PROMPT
from pipeline.video import VideoError, VideoInfo, local_copy

_MOST_SHARDS = 10_000  # each is a Ray task and a file; more of them would weigh on the driver

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

    def to_row(self) -> dict[str, Any]:
        """The task as plain values, as TASKS wants it."""
        row = {column.name: getattr(self, column.name) for column in fields(self)}
        return row | {"prompts": [prompt.model_dump() for prompt in self.prompts]}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The task in a row of a table with TASKS."""
        prompts = tuple(Prompt.model_validate(prompt) for prompt in row["prompts"])
        return cls(**{**row, "prompts": prompts})


def make_plan(
    entries: Sequence[VideoEntry],
    probe: Callable[[str], VideoInfo | None] | None = None,
) -> list[Task]:
    """The tasks of a manifest: the objects of a video side by side, long videos first.

    The same entries give the same plan. A video that cannot be probed is planned all the same: its
    tasks will fail and say why.
    """
    if bare := [entry.video_id for entry in entries if not entry.objects]:
        raise PlanError(
            f"{len(bare)} videos name no objects (first: '{bare[0]}'). Give each at least one "
            "object with a prompt: objects are not discovered yet."
        )
    with ThreadPoolExecutor(max_workers=8) as pool:
        lengths = list(pool.map(lambda e: _length(e, (probe or probe_video)(e.uri)), entries))
    ordered = sorted(zip(entries, lengths, strict=True), key=_weight, reverse=True)
    per_shard = ceil(sum(len(e.objects or ()) for e in entries) / _MOST_SHARDS)
    return [
        Task(task_id=task_id, shard=shard, **fields)
        for task_id, (shard, fields) in enumerate(_placed(ordered, per_shard))
    ]


def probe_video(uri: str) -> VideoInfo | None:
    """What a video is, or None if it cannot be opened."""
    try:
        with local_copy(uri) as path, open_video(path, uri) as video:
            return video.info
    except VideoError:
        return None


def _length(entry: VideoEntry, info: VideoInfo | None) -> int:
    if info is None:
        return 0
    return len(range(info.n_frames)[slice(*(entry.frames or (0, None)))])


def _weight(planned: tuple[VideoEntry, int]) -> int:
    entry, n_frames = planned
    return n_frames * len(entry.objects or ())


def _placed(
    ordered: Iterable[tuple[VideoEntry, int]], per_shard: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The fields of every task with its shard, which holds whole videos and `per_shard` tasks."""
    shard = held = 0
    for entry, n_frames in ordered:
        if held >= per_shard:
            shard, held = shard + 1, 0
        for wanted in entry.objects or ():
            yield (
                shard,
                {
                    "video_id": entry.video_id,
                    "uri": entry.uri,
                    "first_frame": entry.frames[0] if entry.frames else 0,
                    "stop_frame": entry.frames[1] if entry.frames else None,
                    "coords": entry.coords,
                    "object_id": wanted.object_id,
                    "label": wanted.label,
                    "direction": wanted.direction,
                    "prompts": wanted.prompts,
                    "n_frames": n_frames,
                },
            )
            held += 1


def write_plan(tasks: Sequence[Task], fs: FileSystem, folder: str) -> None:
    """Writes one Parquet file per shard, named so that they sort in the order of the plan."""
    for stale in storage.list_files(fs, folder):  # of a plan that was never finished
        fs.delete_file(stale)
    shards: dict[int, list[Task]] = {}
    for task in tasks:
        shards.setdefault(task.shard, []).append(task)
    for shard, members in shards.items():
        table = pa.Table.from_pylist([task.to_row() for task in members], schema=TASKS)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        path = storage.join(folder, f"shard-{shard:06d}.parquet")
        storage.put(fs, path, sink.getvalue().to_pybytes())


def read_plan(fs: FileSystem, folder: str) -> list[Task]:
    """The tasks that `write_plan` wrote."""
    tasks: list[Task] = []
    for path in storage.list_files(fs, folder):
        with fs.open_input_file(path) as source:
            rows = pq.ParquetFile(source).read().to_pylist()
        tasks += map(Task.from_row, rows)
    return tasks
