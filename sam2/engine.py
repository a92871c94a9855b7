"""The engine: moves the objects of a video through its frames, one frame at a time.

One step encodes a frame once, follows all objects that live on it in one batch, and commits their
new memories. What is kept does not grow with the length of the video.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from sam2.images import normalise
from sam2.memory import FrameMemory, MemoryBank
from sam2.model import FrameFeatures, Sam2
from sam2.prompts import MaskPrompt, Prompt
from sam2.tracking import FrameMask, Step, answer_mask, answer_points, memorize_prompted, track

Direction = Literal["forward", "reverse", "both"]


class MissingFrameError(Exception):
    """A prompted frame that the clip does not give."""

    def __init__(self, frame: int) -> None:
        super().__init__(f"frame {frame} cannot be read from the video")
        self.frame = frame


class Frame(Protocol):
    """One frame of a clip: its number from 0 and its RGB pixels (S, S, 3)."""

    @property
    def index(self) -> int: ...

    @property
    def pixels(self) -> npt.NDArray[np.uint8]: ...


class Clip(Protocol):
    """A video that can be walked through both ways, its frames scaled to `size` pixels square."""

    def frames(self, start: int, stop: int, *, size: int) -> Iterator[Frame]: ...

    def frames_reversed(self, start: int, stop: int, *, size: int) -> Iterator[Frame]: ...


@dataclass(frozen=True, slots=True, eq=False)
class TrackTask:
    """One object to be tracked: forwards from its first prompt, in reverse from its last, or both.

    Both: forwards from the first prompt, then from there in reverse, remembering what lay ahead.
    """

    key: int  # what its results are called by
    prompts: Mapping[int, Prompt]  # by frame; at least one
    direction: Direction = "forward"


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """The objects found on one frame."""

    frame: int
    found: Mapping[int, FrameMask]


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """A task under way: what its object remembers, and the answers to its prompts."""

    task: TrackTask
    answers: Mapping[int, FrameMask]
    bank: MemoryBank
    turn: MemoryBank  # what the way back starts from

    @property
    def start(self) -> int:
        """The frame on which the object starts to walk."""
        return max(self.answers) if self.task.direction == "reverse" else min(self.answers)

    def on_walk(self, frame: int, reverse: bool) -> bool:
        """Whether the walk in this direction takes the object to `frame`."""
        if not reverse:
            return frame >= self.start
        # A task that walks both ways has met its first frame on the way out.
        return frame < self.start or (frame == self.start and self.task.direction == "reverse")

    def remembering(self, memory: FrameMemory, span: int) -> "Live":
        """The task one frame further; `span` is how far object pointers are read."""
        bank = self.bank.remember(memory, reach=span - 1)
        # Frames as near to the start as this are read again by the first frames of the way back.
        near = 0 <= memory.frame - self.start < span - 1
        return replace(self, bank=bank, turn=bank if near else self.turn)

    def turned(self) -> "Live":
        """The task about to walk in reverse."""
        return self if self.task.direction == "reverse" else replace(self, bank=self.turn)


class Engine:
    """Tracks the objects of one video after another on one device."""

    def __init__(self, model: Sam2, max_batch: int = 16) -> None:
        self.model = model
        self.max_batch = max_batch
        self._size = model.config.image_size

    @torch.inference_mode()
    def run(
        self,
        clip: Clip,
        frame_size: tuple[int, int],
        tasks: Sequence[TrackTask],
        window: tuple[int, int],
    ) -> Iterator[FrameResult]:
        """Tracks `tasks` through the frames `window` (half open) of a (height, width) video.

        Yields each frame with the objects found on it, first the walk forwards, then the one in
        reverse; an object comes once per frame, and its masks do not depend on the others.
        Raises MissingFrameError, before anything else, for a prompt on a frame that is not there.
        """
        start, stop = window
        span = min(self.model.config.pointer_span, stop - start)
        live = self._prompt(clip, frame_size, tasks)
        ahead = [t for t in live if t.task.direction != "reverse"]
        behind = [t for t in live if t.task.direction == "reverse"]
        if ahead:
            frames = clip.frames(min(t.start for t in ahead), stop, size=self._size)
            ahead = yield from self._walk(frames, ahead, span, reverse=False)
        behind += [t for t in ahead if t.task.direction == "both"]
        if behind:
            frames = clip.frames_reversed(start, max(t.start for t in behind) + 1, size=self._size)
            yield from self._walk(frames, [t.turned() for t in behind], span, reverse=True)

    def _prompt(
        self, clip: Clip, frame_size: tuple[int, int], tasks: Sequence[TrackTask]
    ) -> list[Live]:
        """Answers every prompt: each frame of an object reads the memories of all of them."""
        answers: dict[int, dict[int, FrameMask]] = {task.key: {} for task in tasks}
        banks = dict.fromkeys(answers, MemoryBank())
        for index in sorted({f for task in tasks for f in task.prompts}):
            frame = next(clip.frames(index, index + 1, size=self._size), None)
            if frame is None:
                raise MissingFrameError(index)
            features = self._encode(frame)
            for task in tasks:
                if prompt := task.prompts.get(index):
                    found = self._answer(features, prompt, frame_size)
                    memory = memorize_prompted(self.model, features, index, found)
                    answers[task.key][index] = found
                    banks[task.key] = banks[task.key].remember_prompted(memory)
        return [Live(t, answers[t.key], banks[t.key], turn=banks[t.key]) for t in tasks]

    def _answer(
        self, features: FrameFeatures, prompt: Prompt, frame_size: tuple[int, int]
    ) -> FrameMask:
        if isinstance(prompt, MaskPrompt):
            return answer_mask(self.model, features, prompt)
        return answer_points(self.model, features, prompt, frame_size)

    def _walk(
        self, frames: Iterator[Frame], live: Sequence[Live], span: int, reverse: bool
    ) -> Generator[FrameResult, None, list[Live]]:
        """Takes the objects along the frames; returns them as they are at the end."""
        tasks = {t.task.key: t for t in live}
        for frame in frames:
            walking = [t for t in tasks.values() if t.on_walk(frame.index, reverse)]
            found = {t.task.key: t.answers.get(frame.index) for t in walking}
            unknown = [key for key, mask in found.items() if mask is None]
            stepped = self._step(frame, [tasks[key] for key in unknown], span, reverse)
            for key, (mask, memory) in zip(unknown, stepped, strict=True):
                found[key] = mask
                tasks[key] = tasks[key].remembering(memory, span)
            if found:
                yield FrameResult(frame.index, {key: mask for key, mask in found.items() if mask})
        return list(tasks.values())

    def _step(
        self, frame: Frame, live: Sequence[Live], span: int, reverse: bool
    ) -> list[tuple[FrameMask, FrameMemory]]:
        """Follows the objects to one frame, all in one batch."""
        if not live:
            return []
        memory_span = self.model.config.memory_span
        steps = [
            Step(0, t.bank.recall(frame.index, memory_span, span, reverse), span) for t in live
        ]
        tracked = track(self.model, self._encode(frame), steps, self.max_batch)
        return [(mask, FrameMemory(frame.index, m, mask.pointer)) for mask, m in tracked]

    def _encode(self, frame: Frame) -> FrameFeatures:
        pixels = torch.from_numpy(frame.pixels).to(self.model.device)
        return self.model.encode(normalise(pixels.permute(2, 0, 1)[None]))
