"""Outputs of runs as they lie on the disk, made without running anything."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from pyarrow.fs import LocalFileSystem

from pipeline.commits import commit
from pipeline.config import load_config
from pipeline.manifest import ObjectPrompts, Prompt, VideoEntry
from pipeline.masklets import Masklet, Status, schema_of
from pipeline.plan import Task, write_plan
from pipeline.record import RunRecord
from pipeline.weights import open_model

FS = LocalFileSystem()
PROMPT = Prompt(frame=0, points=((20.0, 30.0),), point_labels=(1,))
FRAMES = 10  # of every task


def task(task_id: int) -> Task:
    """Task 21 is object 1 of video 2, and so on."""
    return Task(
        task_id=task_id,
        shard=task_id // 10,
        video_id=f"v{task_id // 10}",
        uri=f"/videos/v{task_id // 10}.mp4",
        object_id=task_id % 10,
        prompts=(PROMPT,),
        n_frames=FRAMES,
    )


def row(task_id: int, status: Status = "ok", error: str | None = None) -> Masklet:
    """What came of a task."""
    frames = list(range(FRAMES)) if status == "ok" else []
    return Masklet(
        task_id=task_id,
        video_id=task(task_id).video_id,
        uri=task(task_id).uri,
        object_id=task_id % 10,
        status=status,
        error=error,
        error_type="VideoError" if error else None,
        frame_index=frames,
        timestamp_s=[frame / 25 for frame in frames],
        counts=["0"] * len(frames),
        score=[0.5] * len(frames),
        object_score=[0.5] * len(frames),
        area=[0] * len(frames),
        bbox=[[0.0] * 4] * len(frames),
        gpu_s=float(task_id),
    )


def write_rows(folder: Path, name: str, *masklets: Masklet) -> None:
    """A file of masklets with its record and checkpoint."""
    table = pa.Table.from_pylist([m.to_row() for m in masklets], schema=schema_of("run"))
    commit(FS, str(folder), name, table)
    checkpoint = folder / "checkpoint" / f"{name}.parquet"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(table.select(["task_id"]), checkpoint)


def write_tasks(folder: Path, *ids: int) -> None:
    """The plan of these tasks."""
    write_plan([task(i) for i in ids], FS, str(folder / "tasks"))


def write_run(
    folder: Path, files: Mapping[str, tuple[Masklet, ...]], *ids: int, finished: bool = True
) -> RunRecord:
    """A run of nano with these tasks and files of rows."""
    _, sha256 = open_model("nano", None)
    objects = (ObjectPrompts(object_id=1, prompts=(PROMPT,)),)
    entries = [VideoEntry(video_id="v", uri="/videos/v.mp4", objects=objects)]
    record = RunRecord.begin(load_config(), entries, sha256)
    write_tasks(folder, *ids)
    for name, masklets in files.items():
        write_rows(folder, name, *masklets)
    record = record.end({}) if finished else record
    record.write(FS, str(folder))
    return record
