"""An actor's account of its work: figures for whoever measures, lines for its log."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from pipeline.masklets import Masklet
from pipeline.plan import Task
from sam2.engine import Measure

_log = logging.getLogger("masklet")


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured: counted up, shown as it is, or spread over the range 0 to 1."""

    kind: Literal["counter", "gauge", "share"]
    meaning: str


FIGURES = {
    "object_frames": Figure("counter", "objects found on frames"),
    "encode_s": Figure("counter", "seconds spent on encoding frames, as the host sees it"),
    "track_s": Figure("counter", "seconds spent on following objects, as the host sees it"),
    "decode_wait_s": Figure("counter", "seconds in which the device had no frame to work on"),
    "batch_occupancy": Figure("share", "objects in a batch, of max_batch"),
    "queue": Figure("gauge", "objects of opened videos that wait for room on the device"),
    "tasks_ok": Figure("counter", "objects tracked to their end"),
    "tasks_partial": Figure("counter", "objects tracked through a damaged video"),
    "tasks_failed": Figure("counter", "objects whose row says why there are no masks"),
    "tasks_crashed": Figure("counter", "objects given up after the deaths of several actors"),
    "retries": Figure("counter", "attempts after the first one"),
    "strikes": Figure("counter", "deaths of actors, by the objects they were working on"),
}


def take_up(tasks: Iterable[Task]) -> None:
    """Logs what an actor begins with, video by video."""
    for video_id, same in groupby(tasks, key=lambda task: task.video_id):
        pairs = [f"{task.object_id} (task {task.task_id})" for task in same]
        _log.info("video '%s': begins with object %s", video_id, ", ".join(pairs))


def settle(masklets: Sequence[Masklet], measure: Measure) -> None:
    """Counts and logs how tasks have ended."""
    for row in masklets:
        measure(f"tasks_{row.status}", 1)
        measure("retries", row.attempts - 1)
        measure("strikes", row.attempts - (row.status != "crashed"))
        _log.log(
            logging.INFO if row.status == "ok" else logging.WARNING,
            "video '%s', object %d (task %d): %s, %d frames in %.1f s%s",
            *(row.video_id, row.object_id, row.task_id, row.status, len(row.frame_index)),
            *(row.gpu_s, f": {row.error}" if row.error else ""),
        )
