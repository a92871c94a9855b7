"""A video opened for the tasks that look at it: what is to be tracked, and what came of it."""

import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import torch

from pipeline.any_video import AnyVideo, open_video
from pipeline.manifest import Prompt
from pipeline.masklet_columns import MaskletColumns
from pipeline.masklets import Masklet
from pipeline.placement import TaskError, place_prompts, settle_prompts, window_of
from pipeline.plan import Task
from pipeline.video import VideoError, local_copy
from sam2.task import TrackState, TrackTask, VideoTask


@dataclass(frozen=True, slots=True, eq=False)
class Unfinished:
    """A task in the middle: where its object stands, and what was found of it until then."""

    state: TrackState
    found: MaskletColumns
    footage: str  # of which video, as far as its size, its length and its bytes tell

    def snapshot(self) -> Self:
        """The same on the CPU, as it is now: more will be found."""
        state = self.state.to(torch.device("cpu"))
        return replace(self, state=state, found=self.found.copy())


class Banks(Protocol):
    """Keeps unfinished tasks, so that whoever takes them up again need not begin anew.

    Both methods are called in other threads than the engine's.
    """

    every_s: float  # how often tasks are saved

    def load(self, task: Task) -> Unfinished | None:
        """What was saved last of a task, if anything of use was."""
        ...

    def save(self, task: Task, unfinished: Unfinished) -> None:
        """Keeps a task; its values are not to be changed."""
        ...


@dataclass(slots=True, eq=False)
class Footage:
    """A video with its tasks, what is found of them, and the errors that stand against them."""

    tasks: Sequence[Task]
    video: AnyVideo | None = None  # None: it cannot be opened
    work: VideoTask | None = None  # for the engine; None: there is nothing to track
    left: set[int] = field(default_factory=set)  # tasks that have not come to their end
    found: dict[int, MaskletColumns] = field(default_factory=dict)  # by task_id
    # The prompts by frame and in pixels, by task_id; none of a task that does not fit.
    settled: dict[int, tuple[Prompt, ...]] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)
    resumed_from: dict[int, int] = field(default_factory=dict)  # frames
    n_found: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # frames, so far
    gpu_s: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    saving: deque[Future[None]] = field(default_factory=deque)  # banks on their way
    saved_at: float = field(default_factory=time.monotonic)
    held: ExitStack = field(default_factory=ExitStack)  # the file, open and perhaps copied here
    identity: str = ""  # of the video: another one may lie at its URI when a run goes on

    @classmethod
    def open(cls, tasks: Sequence[Task], threads: int, banks: Banks | None) -> Self:
        """Opens the video that these tasks share; if that fails, `errors` says why."""
        footage = cls(tasks)
        try:
            footage._open(threads, banks)
        except VideoError as error:
            footage.errors = {task.task_id: error for task in tasks}
        except BaseException:
            footage.held.close()
            raise
        return footage

    def _open(self, threads: int, banks: Banks | None) -> None:
        uri = self.tasks[0].uri
        path = self.held.enter_context(local_copy(uri))
        self.video = self.held.enter_context(open_video(path, uri, threads))
        info = self.video.info
        size_b = path.stat().st_size if path.is_file() else 0
        self.identity = f"{info.width} x {info.height}, {info.n_frames} frames, {size_b} bytes"
        asked = [track for task in self.tasks if (track := self._placed(task, self.video, banks))]
        if asked:
            window = window_of(self.tasks[0], info.n_frames)
            size = info.height, info.width
            self.work = VideoTask(self.video, size, asked, (window.start, window.stop))
            self.left = {task.key for task in asked}

    def _placed(self, task: Task, video: AnyVideo, banks: Banks | None) -> TrackTask | None:
        """The task as the engine takes it, where it was left if it was; None if it does not fit."""
        try:
            settled = settle_prompts(task, video)
            prompts = place_prompts(settled, video)
        except TaskError as error:
            self.errors[task.task_id] = error
            return None
        self.settled[task.task_id] = settled
        track = TrackTask(task.task_id, prompts, task.direction)
        self.found[track.key] = MaskletColumns()
        saved = banks.load(task) if banks else None
        if saved and saved.footage != self.identity:
            note = f"was saved of another video ({saved.footage}), and begins anew"
            print(f"{task.uri}: object {task.object_id} {note}", file=sys.stderr)
        elif saved:
            self.found[track.key] = saved.found
            self.n_found[track.key] = len(saved.found.frame_index)
            self.resumed_from[track.key] = saved.state.next_frame
            track = replace(track, begun=saved.state)
        return track

    def is_due(self, every_s: float) -> bool:
        """Whether its tasks should be saved: never those of a video that shows damage.

        What is damaged is only known to whoever has read the frames, and belongs into the row.
        """
        late = time.monotonic() - self.saved_at > every_s
        return late and self.video is not None and not self.video.damage()

    def task(self, task_id: int) -> Task:
        """The task with this number."""
        return next(task for task in self.tasks if task.task_id == task_id)

    def rows(self, blank: Callable[[Task], Masklet]) -> list[Masklet]:
        """Closes the video and fills the `blank` row of each task."""
        self.held.close()
        return [self._row(task, blank(task)) for task in self.tasks]

    def _row(self, task: Task, row: Masklet) -> Masklet:
        if self.video:
            info = self.video.info
            row = replace(
                row, height=info.height, width=info.width, fps=info.fps, n_frames=info.n_frames
            )
        gpu_s, resumed_from = self.gpu_s[task.task_id], self.resumed_from.get(task.task_id)
        prompts = self.settled.get(task.task_id, row.prompts)
        row = replace(row, prompts=prompts, gpu_s=gpu_s, resumed_from=resumed_from)
        if error := self.errors.get(task.task_id):
            # Names of files may hold bytes that are no letters, and Arrow takes none of them.
            text = str(error).encode(errors="replace").decode()
            return replace(row, status="failed", error_type=type(error).__name__, error=text)
        assert self.video is not None  # or there would be an error
        row = self.found[task.task_id].complete(row, self.video.timestamps)
        damage = self.video.damage(task.first_frame, task.stop_frame)
        if not damage:
            return row
        text = f"{task.uri}: {damage}"
        return replace(row, status="partial", error_type="DamagedVideo", error=text)
