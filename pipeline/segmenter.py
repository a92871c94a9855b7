"""The segmenter: tasks in, masklets out, one video at a time. A plain class that knows no Ray."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import pycocotools.mask as coco
from numpy.typing import NDArray

from pipeline.any_video import AnyVideo, open_video
from pipeline.masklets import Masklet
from pipeline.placement import TaskError, place_prompts, window_of
from pipeline.plan import Task
from pipeline.video import VideoError, local_copy
from sam2.engine import Engine, MissingFrameError, TrackTask
from sam2.model import Sam2
from sam2.session import upscale
from sam2.tracking import FrameMask


@dataclass(slots=True)
class MaskletWriter:
    """Gathers what is found of one object, as run-length codes, until its row is complete."""

    frame_index: list[int] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    object_score: list[float] = field(default_factory=list)
    area: list[int] = field(default_factory=list)
    bbox: list[list[float]] = field(default_factory=list)

    def add(self, frame: int, found: FrameMask, frame_size: tuple[int, int]) -> None:
        """Records one frame; the mask is scaled to the video's (height, width) and coded here."""
        mask = (upscale(found.mask[None], frame_size)[0] > 0).cpu().numpy()
        code = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
        self.frame_index.append(frame)
        self.counts.append(code["counts"].decode("ascii"))
        self.score.append(float(found.iou))
        self.object_score.append(float(found.score.sigmoid()))
        self.area.append(int(coco.area(code)))
        self.bbox.append([float(value) for value in coco.toBbox(code)])

    def complete(self, row: Masklet, timestamps: NDArray[np.float64]) -> Masklet:
        """The row with what was gathered, in the order of the frames."""
        order = np.argsort(self.frame_index)
        return replace(
            row,
            frame_index=[self.frame_index[i] for i in order],
            timestamp_s=[float(timestamps[self.frame_index[i]]) for i in order],
            counts=[self.counts[i] for i in order],
            score=[self.score[i] for i in order],
            object_score=[self.object_score[i] for i in order],
            area=[self.area[i] for i in order],
            bbox=[self.bbox[i] for i in order],
        )


Report = Callable[[int], None]


class Segmenter:
    """Labels videos with one model on one device."""

    def __init__(
        self, model: Sam2, checkpoint_sha256: str = "", max_batch: int = 16, threads: int = 1
    ) -> None:
        self.engine = Engine(model, max_batch)
        self.model = model.config.name
        self.checkpoint_sha256 = checkpoint_sha256
        self.threads = threads

    def segment(
        self, tasks: Sequence[Task], report: Report = lambda object_frames: None
    ) -> Iterator[Masklet]:
        """One masklet for each task, in their order; what goes wrong with a task stands in its row.

        Tasks of one video that stand side by side share its decoding and encoding. `report` hears
        of every frame how many objects were found on it.
        """
        for _, same in groupby(tasks, key=lambda task: (task.video_id, task.uri)):
            yield from self._segment_video(list(same), report)

    def _segment_video(self, tasks: Sequence[Task], report: Report) -> list[Masklet]:
        started = time.perf_counter()
        uri = tasks[0].uri
        try:
            with local_copy(uri) as path, open_video(path, uri, self.threads) as video:
                rows = self._rows(tasks, video, report)
        except VideoError as error:
            rows = [_failed(self._row(task), error) for task in tasks]
        share = (time.perf_counter() - started) / len(tasks)
        return [replace(row, gpu_s=share) for row in rows]

    def _rows(self, tasks: Sequence[Task], video: AnyVideo, report: Report) -> list[Masklet]:
        wanted: dict[int, TrackTask] = {}
        errors: dict[int, TaskError] = {}
        for task in tasks:
            try:
                prompts = place_prompts(task, video)
                wanted[task.task_id] = TrackTask(task.task_id, prompts, task.direction)
            except TaskError as error:
                errors[task.task_id] = error
        found, unread = self._track(wanted, video, tasks[0], report)
        errors |= unread
        return [
            _failed(self._row(task, video), errors[task.task_id])
            if task.task_id in errors
            else _finished(self._row(task, video), task, video, found[task.task_id])
            for task in tasks
        ]

    def _track(
        self, wanted: Mapping[int, TrackTask], video: AnyVideo, sample: Task, report: Report
    ) -> tuple[dict[int, MaskletWriter], dict[int, TaskError]]:
        """What is found of each task, and the tasks whose prompted frame cannot be read."""
        if not wanted:
            return {}, {}
        window = window_of(sample, video.info.n_frames)
        size = (video.info.height, video.info.width)
        try:
            writers = {key: MaskletWriter() for key in wanted}
            for result in self.engine.run(
                video, size, list(wanted.values()), (window.start, window.stop)
            ):
                for key, mask in result.found.items():
                    writers[key].add(result.frame, mask, size)
                report(len(result.found))
            return writers, {}
        except MissingFrameError as error:
            failed = {
                k: TaskError(str(error)) for k, t in wanted.items() if error.frame in t.prompts
            }
            rest = {key: task for key, task in wanted.items() if key not in failed}
            found, more = self._track(rest, video, sample, report)
            return found, failed | more

    def _row(self, task: Task, video: AnyVideo | None = None) -> Masklet:
        """The row of a task with nothing found yet."""
        row = Masklet(
            task_id=task.task_id,
            video_id=task.video_id,
            uri=task.uri,
            object_id=task.object_id,
            label=task.label,
            status="ok",
            prompts=task.prompts,
            model=self.model,
            checkpoint_sha256=self.checkpoint_sha256,
        )
        if video is None:
            return row
        info = video.info
        return replace(
            row, height=info.height, width=info.width, fps=info.fps, n_frames=info.n_frames
        )


def _failed(row: Masklet, error: Exception) -> Masklet:
    return replace(row, status="failed", error_type=type(error).__name__, error=str(error))


def _finished(row: Masklet, task: Task, video: AnyVideo, found: MaskletWriter) -> Masklet:
    row = found.complete(row, video.timestamps)
    damage = video.damage(task.first_frame, task.stop_frame)
    if not damage:
        return row
    return replace(row, status="partial", error_type="DamagedVideo", error=f"{task.uri}: {damage}")
