"""The engine: moves the objects of many videos through their frames on one device.

A step does one piece of work, which the scheduler chooses: it encodes some frames, each once for
all objects on it, or follows a batch of objects to the frames that they have reached, and commits
their new memories. What is kept does not grow with the length of the videos.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from threading import Event
from time import perf_counter
from typing import TypeVar

import torch
from torch import Tensor

from sam2.devices import batches_pay
from sam2.heap import Heap
from sam2.images import normalise
from sam2.model import FrameFeatures, Sam2
from sam2.prompts import MaskPrompt, Prompt
from sam2.reader import End, FrameSource, Leg, ReadFrame
from sam2.scheduler import Encode, Follow, ObjectFrame, Scheduler
from sam2.task import TrackTask, VideoTask
from sam2.tracking import FrameMask, Step, answer_mask, answer_points, memorize_prompted, track
from sam2.walk import Ahead, FrameResult, Walk

Measure = Callable[[str, float], None]  # hears what the engine measures of itself: name, value

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class MissingFrameError(Exception):
    """A prompted frame that the clip does not give."""

    def __init__(self, frame: int) -> None:
        super().__init__(f"frame {frame} cannot be read from the video")
        self.frame = frame


class DeviceMemoryError(Exception):
    """The device has no room for even one frame or one object of a video."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(
            f"device '{device}' ran out of memory with a batch of one: let fewer videos and "
            "objects share it, or choose a smaller model"
        )


@dataclass(frozen=True, slots=True, eq=False)
class TaskEnd:
    """A task has come to its end, or to an error that is its own or that of its video."""

    video: VideoTask
    key: int
    error: Exception | None = None


class Engine:
    """Tracks the objects of many videos on one device; no object's masks depend on the others."""

    def __init__(
        self,
        model: Sam2,
        max_batch: int = 16,
        encode_batch: int | None = None,
        slots: int = 64,
        bank_bytes: int = 4 << 30,
        measure: Measure = lambda name, value: None,
    ) -> None:
        """For the limits see `Scheduler`; without an `encode_batch`, what pays on the device.

        A CPU takes frames one by one anyhow, so there only memory would be lost by encoding ahead.
        `measure` hears encode_s, track_s and decode_wait_s of every step, as the host sees them,
        batch_occupancy (0..1) of every batch of objects, and queue, the tracks that wait to begin.
        """
        self.model = model
        if encode_batch is None:
            encode_batch = 4 if batches_pay(model.device) else 1
        self.scheduler = Scheduler(max_batch, encode_batch, slots, bank_bytes)
        self._limits = max_batch, encode_batch
        self._walks: dict[int, Walk] = {}
        self._numbers = count()
        self._news = Event()  # a frame of some video is decoded
        self._measure = measure
        self._heap = Heap()

    def run(
        self,
        clip: FrameSource,
        frame_size: tuple[int, int],
        tasks: Sequence[TrackTask],
        window: tuple[int, int],
    ) -> Iterator[FrameResult]:
        """Tracks `tasks` through the frames `window` (half open) of one (height, width) video.

        Yields each frame with the objects found on it, first the walk forwards, then the one in
        reverse; an object comes once per frame. A task that was begun before goes on where its
        state says. Raises the error of any task that ends with one; MissingFrameError, before
        anything else, for a prompt on a frame that is not there.
        """
        if self.busy:
            raise RuntimeError("The engine is at work on other videos: add this one to them.")
        self.add(VideoTask(clip, frame_size, tasks, window))
        try:
            while self.busy:
                for event in self.step():
                    if isinstance(event, FrameResult):
                        yield event
                    elif event.error:
                        raise event.error
        finally:
            self.close()

    def add(self, video: VideoTask) -> None:
        """Takes a video on; its tasks begin as soon as there are slots and memory for them.

        If they are more than there can ever be, they walk through it in parts, one after another.
        """
        if not self.busy:  # what found no room beside other videos may find it now
            self.scheduler.max_batch, self.scheduler.encode_batch = self._limits
        config = self.model.config
        tasks = {task.key: task for task in video.tasks}
        banks = {key: task.bank_bytes(config) for key, task in tasks.items()}
        for part in self.scheduler.split(banks):
            number = next(self._numbers)
            self._walks[number] = Walk(video, [tasks[key] for key in part], config, self._news)
            self.scheduler.ask(number, part)

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._walks)

    def close(self) -> None:
        """Drops whatever is under way, and ends the threads that decode for it."""
        for number in list(self._walks):
            self._drop(number)

    @torch.inference_mode()
    def step(self) -> list[FrameResult | TaskEnd]:
        """Does the next piece of work, or waits for a frame to be decoded; what came of it."""
        events: list[FrameResult | TaskEnd] = []
        for number in self.scheduler.admit():
            try:
                self._walks[number].start(self.model.device)
            except torch.OutOfMemoryError:
                events += self._out_of_memory([number])
        self._news.clear()
        events += [event for number in list(self._walks) for event in self._advance(number)]
        work = self.scheduler.next()
        started = perf_counter()
        if isinstance(work, Encode):
            events += self._encode(work.walks)
            self._measure("encode_s", perf_counter() - started)
        elif isinstance(work, Follow):
            self._measure("batch_occupancy", len(work.batch) / self.scheduler.max_batch)
            self._measure("queue", self.scheduler.waiting)
            events += self._follow(work.batch)
            self._measure("track_s", perf_counter() - started)
        elif self.busy and not events:
            self._news.wait()
            self._measure("decode_wait_s", perf_counter() - started)
        self._heap.tidy()
        return events

    # ---- along the frames

    def _advance(self, number: int) -> Iterator[FrameResult | TaskEnd]:
        """Takes a walk on as far as it gets without a batch: frames, answers, ends of legs."""
        walk = self._walks[number]
        while number in self._walks:
            for _ in range(walk.look_ahead(self.scheduler.encode_batch)):
                self.scheduler.decoded(number)
            if ahead := walk.step():
                yield from self._arrive(number, walk, ahead)
            elif isinstance(leg := walk.next_leg(), Leg):
                yield from (self._end(number, key) for key in walk.enter(leg))
            elif isinstance(leg, End):
                yield from self._end_all([number], leg.error)
            else:
                return

    def _arrive(self, number: int, walk: Walk, ahead: Ahead) -> Iterator[FrameResult | TaskEnd]:
        """Does on a frame what needs no batch: answers prompts, or sees who is to be followed."""
        if walk.leg is not Leg.PROMPTS:
            walk.meet()
        elif ahead.picture.pixels is None:
            for key in walk.asked():
                yield self._end(number, key, MissingFrameError(ahead.picture.index))
        elif not self._answer(walk):
            yield from self._end_all([number], DeviceMemoryError(self.model.device))
        if ahead.needed and number in self._walks:
            span = walk.pointer_span
            self.scheduler.reached(
                number, [ObjectFrame(number, k, (r.shape, span)) for k, r in walk.recalled.items()]
            )
        if result := walk.result():
            yield result

    def _answer(self, walk: Walk) -> bool:
        """Answers and remembers the prompts on a frame; False if the device has no room for it."""
        try:
            for key, prompt in walk.asked().items():
                found = self._find(prompt, walk.features, walk.video.frame_size)
                memory = memorize_prompted(self.model, walk.features, walk.frame, found)
                walk.answered(key, memory, found)
        except torch.OutOfMemoryError:
            return False
        return True

    def _find(
        self, prompt: Prompt, features: FrameFeatures, frame_size: tuple[int, int]
    ) -> FrameMask:
        if isinstance(prompt, MaskPrompt):
            return answer_mask(self.model, features, prompt)
        return answer_points(self.model, features, prompt, frame_size)

    def _end(self, number: int, key: int, error: Exception | None = None) -> TaskEnd:
        walk = self._walks[number]
        walk.end(key)
        self.scheduler.ended(number, key)
        if not walk.states:
            self._drop(number)
        return TaskEnd(walk.video, key, error)

    def _end_all(self, numbers: Iterable[int], error: Exception | None = None) -> list[TaskEnd]:
        """Ends all tasks of these walks."""
        return [self._end(n, key, error) for n in set(numbers) for key in [*self._walks[n].states]]

    def _drop(self, number: int) -> None:
        self.scheduler.drop(number)
        self._walks.pop(number).close()

    # ---- in batches

    def _encode(self, walks: Sequence[int]) -> list[TaskEnd]:
        """Encodes the next frames of these walks."""
        frames = [
            (number, ahead)
            for number, most in Counter(walks).items()
            for ahead in islice(self._walks[number].to_encode(), most)
        ]
        features, fitting = _within_memory(self._features, frames)
        if fitting < len(frames):
            self.scheduler.encode_batch = fitting
        for (_, ahead), own in zip(frames, features, strict=True):
            ahead.features = own
        return self._out_of_memory(number for number, ahead in frames if not ahead.ready)

    def _features(self, frames: Sequence[tuple[int, Ahead]]) -> list[FrameFeatures]:
        images = _on_device([ahead.picture for _, ahead in frames], self.model.device)
        images = images.permute(0, 3, 1, 2).contiguous()  # NCHW, as in a session
        return self.model.look(self.model.encode(normalise(images))).split()

    def _follow(self, batch: Sequence[ObjectFrame]) -> list[FrameResult | TaskEnd]:
        """Follows objects to their frames and commits what they remember of them."""
        tracked, fitting = _within_memory(self._track, batch)
        if fitting < len(batch):
            self.scheduler.max_batch = fitting
        events: list[FrameResult | TaskEnd] = []
        events += self._out_of_memory(
            one.walk for one, found in zip(batch, tracked, strict=True) if found is None
        )
        for one, found in zip(batch, tracked, strict=True):
            if found and (walk := self._walks.get(one.walk)):
                walk.followed(one.track, *found)
                self.scheduler.done(one)
                if result := walk.result():
                    events.append(result)
        return events

    def _track(self, batch: Sequence[ObjectFrame]) -> list[tuple[FrameMask, Tensor]]:
        walks = {one.walk: self._walks[one.walk] for one in batch}
        rows = {number: row for row, number in enumerate(walks)}
        features = FrameFeatures.join([walk.features for walk in walks.values()])
        steps = [
            Step(rows[one.walk], walk.recalled[one.track], walk.pointer_span)
            for one in batch
            for walk in [walks[one.walk]]
        ]
        tracked = track(self.model, features, steps, max_batch=len(batch))
        # A view would keep the memories of the whole batch.
        return [(found, memory.clone()) for found, memory in tracked]

    def _out_of_memory(self, walks: Iterable[int]) -> list[TaskEnd]:
        return self._end_all(walks, DeviceMemoryError(self.model.device))


def _on_device(pictures: Sequence[ReadFrame], device: torch.device) -> Tensor:
    """Pictures as one batch (N, S, S, 3) uint8 on the device.

    They are gathered in memory from which a GPU copies by itself while the host goes on.
    """
    pixels = [torch.from_numpy(picture.pixels) for picture in pictures]
    shape = (len(pixels), *pixels[0].shape)
    gathered = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    torch.stack(pixels, out=gathered)
    return gathered.to(device, non_blocking=True)


def _within_memory(
    run: Callable[[Sequence[_Item]], Sequence[_Result]], batch: Sequence[_Item]
) -> tuple[list[_Result | None], int]:
    """Runs a batch, in halves where the device has no room for it -> results, and a size that fits.

    There is no result for what does not fit even by itself.
    """
    try:
        return [*run(batch)], len(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            return [None], 1
    # Not in the handler: as long as the error lives, so do the tensors of the failed attempt.
    half = len(batch) // 2
    parts = [_within_memory(run, part) for part in (batch[:half], batch[half:])]
    return [result for part, _ in parts for result in part], max(fits for _, fits in parts)
