"""The segmenter: tasks in, masklets out, several videos at a time. A plain class that knows no Ray.

Videos are opened in threads ahead of need and decoded in threads of the engine; what is found is
coded in yet another one, and saved on the way in a fourth. So the loop here does little but keep
the engine busy.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from typing import Self

from pipeline.footage import Banks, Footage, Unfinished
from pipeline.line import Line
from pipeline.masklet_columns import record_frame
from pipeline.masklets import Masklet
from pipeline.placement import TaskError
from pipeline.plan import Task
from pipeline.video import VideoError
from sam2.devices import batches_pay, beside, given_so_far
from sam2.engine import DeviceMemoryError, Engine, Measure, MissingFrameError, TaskEnd
from sam2.model import Sam2
from sam2.task import VideoTask
from sam2.walk import FrameResult

Report = Callable[[Mapping[int, int]], None]

_MOST_UNCODED = 16  # frames whose masks wait to be coded
_MOST_UNSAVED = 64  # banks of one video that wait to be saved
_OPEN_VIDEOS = 8  # at once; where batches pay, as many as can fill one


class Segmenter:
    """Labels videos with one model on one device."""

    def __init__(
        self,
        model: Sam2,
        checkpoint_sha256: str = "",
        max_batch: int = 16,
        threads: int = 1,
        open_videos: int | None = None,
        banks: Banks | None = None,
        measure: Measure = lambda name, value: None,
    ) -> None:
        self.engine = Engine(model, max_batch, measure=measure)
        self.model = model.config.name
        self.checkpoint_sha256 = checkpoint_sha256
        self.threads = threads  # that decode one video
        most = max(_OPEN_VIDEOS, max_batch) if batches_pay(model.device) else _OPEN_VIDEOS
        self.open_videos = open_videos or most  # at once
        self.banks = banks  # where long tasks are kept while they are under way

    def segment(
        self, tasks: Sequence[Task], report: Report = lambda frames: None
    ) -> Iterator[Masklet]:
        """One masklet for each task, in their order; what goes wrong with a task stands in its row.

        Tasks of one video that stand side by side share its decoding and encoding. `report` hears
        of every frame on which objects were found how many their tasks have by then.
        """
        order = deque(task.task_id for task in tasks)
        done: dict[int, Masklet] = {}
        with Segmentation(self, tasks, report) as segmentation:
            for row in segmentation.rows():
                done[row.task_id] = row
                while order and order[0] in done:
                    yield done.pop(order.popleft())

    def row(self, task: Task) -> Masklet:
        """The row of a task with nothing found yet."""
        return Masklet(
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


class Segmentation:
    """One turn of a segmenter at some tasks, from the first video opened to the last one closed."""

    def __init__(self, segmenter: Segmenter, tasks: Sequence[Task], report: Report) -> None:
        self.segmenter = segmenter
        self.engine = segmenter.engine
        self.report = report
        videos = groupby(tasks, key=lambda task: (task.video_id, task.uri))
        self._waiting = deque(list(same) for _, same in videos)
        self._opening: deque[Future[Footage]] = deque()
        self._tracking: dict[VideoTask, Footage] = {}
        self._finishing: deque[Future[list[Masklet]]] = deque()
        self._coding: deque[Future[None]] = deque()
        self._opener = ThreadPoolExecutor(2, thread_name_prefix="masklet-opener")
        # After a mask that cannot be coded no other is, and no row or bank that would lack it.
        self._coder = Line("masklet-coder")
        self._saver = Line("masklet-saver")
        self._spent_s = 0.0  # by the engine since it found anything

    def rows(self) -> Iterator[Masklet]:
        """The masklets, those of a video together as soon as it is done with."""
        while self._waiting or self._opening or self._tracking or self._finishing:
            self._open()
            if self.engine.busy:
                self._step()
            while self._finishing and (self._finishing[0].done() or not self.engine.busy):
                yield from self._finishing.popleft().result()

    def _open(self) -> None:
        """Opens videos ahead, and gives the engine those that are open; waits if it has none."""
        held = len(self._opening) + len(self._tracking) + len(self._finishing)
        for _ in range(min(self.segmenter.open_videos - held, len(self._waiting))):
            tasks = self._waiting.popleft()
            banks, threads = self.segmenter.banks, self.segmenter.threads
            self._opening.append(self._opener.submit(Footage.open, tasks, threads, banks))
        while self._opening and (self._opening[0].done() or not self.engine.busy):
            footage = self._opening.popleft().result()
            if footage.work:
                self._tracking[footage.work] = footage
                self.engine.add(footage.work)
            else:
                self._finish(footage)

    def _step(self) -> None:
        """Lets the engine do a piece of work, and passes on what came of it."""
        started = time.perf_counter()
        events = self.engine.step()
        self._spent_s += time.perf_counter() - started
        object_frames = sum(len(e.found) for e in events if isinstance(e, FrameResult))
        if object_frames:
            share, self._spent_s = self._spent_s / object_frames, 0.0
        for event in events:
            footage = self._tracking[event.video]
            if isinstance(event, TaskEnd):
                self._end(footage, event)
            else:
                self._record(footage, event, share)

    def _record(self, footage: Footage, result: FrameResult, gpu_s: float) -> None:
        """Codes the masks of a frame, and now and then saves where their tasks stand."""
        for key in result.found:
            footage.gpu_s[key] += gpu_s
            footage.n_found[key] += 1
        found = [(footage.found[key], mask) for key, mask in result.found.items()]
        self._code(partial(record_frame, result.frame, found, result.video.frame_size))
        banks = self.segmenter.banks
        if banks and footage.is_due(banks.every_s):
            footage.saved_at = time.monotonic()
            for key, state in result.states.items():
                unfinished = Unfinished(state, footage.found[key], footage.identity)
                save = partial(banks.save, footage.task(key))
                self._code(partial(self._save, footage, unfinished, save))
        self.report({key: footage.n_found[key] for key in result.found})

    def _code(self, work: Callable[[], None]) -> None:
        """Does this in the coding thread; waits for it where it is too far behind.

        That is the engine's time too: on a GPU it runs ahead, and what it finds is waited for here.
        """
        started = time.perf_counter()
        device = self.engine.model.device
        given = given_so_far(device)

        def beside_the_engine() -> None:
            with beside(device, given):
                work()

        self._coding.append(self._coder.submit(beside_the_engine))
        while self._coding and (self._coding[0].done() or len(self._coding) > _MOST_UNCODED):
            self._coding.popleft().result()
        self._spent_s += time.perf_counter() - started

    def _save(
        self, footage: Footage, unfinished: Unfinished, save: Callable[[Unfinished], None]
    ) -> None:
        """Has a task saved as it is now, while the coding thread goes on; waits if too many are.

        A store takes its time, and with many objects the device would have to wait for it.
        """
        footage.saving.append(self._saver.submit(partial(save, unfinished.snapshot())))
        while footage.saving and (footage.saving[0].done() or len(footage.saving) > _MOST_UNSAVED):
            footage.saving.popleft().result()

    def _end(self, footage: Footage, end: TaskEnd) -> None:
        if isinstance(end.error, MissingFrameError):
            footage.errors[end.key] = TaskError(str(end.error))
        elif isinstance(end.error, VideoError | DeviceMemoryError):
            footage.errors[end.key] = end.error
        elif end.error:
            raise end.error
        footage.left.remove(end.key)
        if not footage.left:
            del self._tracking[end.video]
            self._finish(footage)

    def _finish(self, footage: Footage) -> None:
        """Makes the rows of a video once all that was found is coded, and all banks are saved.

        A bank that came after its row would stay for ever.
        """

        def rows() -> list[Masklet]:
            while footage.saving:
                footage.saving.popleft().result()
            return footage.rows(self.segmenter.row)

        self._finishing.append(self._coder.submit(rows))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all threads and closes all videos, whether they are done with or not."""
        self.engine.close()
        self._opener.shutdown(cancel_futures=True)
        self._coder.close()
        self._saver.close()
        opened = [f.result() for f in self._opening if not f.cancelled() and not f.exception()]
        for footage in (*self._tracking.values(), *opened):
            footage.held.close()
        # Errors hold on to masks, and we to errors: only so is the memory of both let go at once.
        self._coding.clear()
        self._finishing.clear()
