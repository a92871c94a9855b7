"""The objects of one video on their way through it, all in step: nobody leaves a frame before all
are done with it. A walk knows where everybody stands; what is found is told to it.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event

import torch
from torch import Tensor

from sam2.config import ModelConfig
from sam2.memory import FrameMemory, Recollection, reach_of
from sam2.model import FrameFeatures
from sam2.prompts import Prompt
from sam2.reader import End, Leg, Reader, ReadFrame, Route
from sam2.task import TrackState, TrackTask, VideoTask
from sam2.tracking import FrameMask


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """The objects found on one frame of a video."""

    video: VideoTask
    frame: int
    found: Mapping[int, FrameMask]  # by the key of the task
    # Where each of them stands now. These are the engine's own values, not copies: to look at one
    # costs nothing, and to keep one keeps its memories.
    states: Mapping[int, TrackState]


@dataclass(slots=True, eq=False)
class Ahead:
    """A frame that the walk will come to."""

    picture: ReadFrame
    needed: bool  # somebody will look at it; else it is not encoded
    features: FrameFeatures | None = None

    @property
    def ready(self) -> bool:
        """Whether the walk can go there."""
        return self.features is not None or not self.needed


class Walk:
    """Some tasks of one video, under way together."""

    def __init__(
        self, video: VideoTask, tasks: Sequence[TrackTask], config: ModelConfig, news: Event
    ) -> None:
        start, stop = video.window
        self.video = video
        self.tasks = {task.key: task for task in tasks}
        self.states = {task.key: task.state for task in tasks}  # of those that have not ended
        self.leg = Leg.PROMPTS
        self.ahead: deque[Ahead] = deque()  # the next frames of this leg
        self.recalled: dict[int, Recollection] = {}  # of who is to be followed to this frame yet
        self.memory_span = config.memory_span
        self.pointer_span = min(config.pointer_span, stop - start)
        self._here: Ahead | None = None
        self._found: dict[int, FrameMask] = {}  # on this frame
        self._reader = Reader(self._route().pictures(video.clip, config.image_size), news)

    def start(self, device: torch.device) -> None:
        """Begins to read; whatever is remembered from before comes to the device."""
        self.states = {key: state.to(device) for key, state in self.states.items()}
        self._reader.start()

    def close(self) -> None:
        """Ends the reading."""
        self._reader.close()

    # ---- the frames

    @property
    def frame(self) -> int:
        """The frame on which the walk is."""
        assert self._here is not None
        return self._here.picture.index

    @property
    def features(self) -> FrameFeatures:
        """The features of this frame; only a frame that was needed has any."""
        assert self._here is not None
        assert self._here.features is not None
        return self._here.features

    def look_ahead(self, most: int) -> int:
        """Takes decoded frames until `most` are ahead; how many of those taken need encoding.

        It stays within the leg: who looks at the frames of the next one is not settled before.
        """
        needed = 0
        while len(self.ahead) < most:
            coming = self._reader.peek()
            if not isinstance(coming, ReadFrame):
                break
            self._reader.take()
            self.ahead.append(Ahead(coming, self._needs(coming)))
            needed += self.ahead[-1].needed
        return needed

    def to_encode(self) -> Iterator[Ahead]:
        """The frames ahead that have to be encoded."""
        return (ahead for ahead in self.ahead if not ahead.ready)

    def step(self) -> Ahead | None:
        """Goes to the next frame of the leg, if it is ready and all are done with this one."""
        if self.recalled or not self.ahead or not self.ahead[0].ready:
            return None
        self._here = self.ahead.popleft()
        self._found = {}
        return self._here

    def next_leg(self) -> Leg | End | None:
        """What comes after this leg, if it is over."""
        coming = None if self.recalled or self.ahead else self._reader.peek()
        return None if isinstance(coming, ReadFrame) else coming

    def enter(self, leg: Leg) -> list[int]:
        """Begins the next leg: who goes both ways turns. The tasks that are at their end now."""
        self._reader.take()
        self.leg = leg
        out = [key for key, s in self.states.items() if leg is Leg.BACK and not s.reverse]
        both = [key for key in out if self.tasks[key].direction == "both"]
        self.states |= {key: self.states[key].turned() for key in both}
        return [key for key in out if key not in both]

    def _route(self) -> Route:
        start, stop = self.video.window
        out = [s.next_frame for s in self.states.values() if not s.reverse]
        back = [s.next_frame for s in self.states.values() if s.reverse]
        back += [
            min(self.tasks[key].prompts) - 1
            for key, s in self.states.items()
            if not s.reverse and self.tasks[key].direction == "both"
        ]
        return Route(
            prompts=sorted({frame for key in self.states for frame in self._unanswered(key)}),
            out=(min(out, default=stop), stop),
            back=(start, max(back, default=start - 1) + 1),
        )

    def _needs(self, picture: ReadFrame) -> bool:
        if self.leg is Leg.PROMPTS:
            return picture.pixels is not None
        states = (self.states[key] for key in self._walking(picture.index))
        return any(picture.index not in state.answers for state in states)

    # ---- the objects

    def asked(self) -> dict[int, Prompt]:
        """The prompts on this frame that have no answer yet, by task."""
        prompts = {key: self._unanswered(key) for key in self.states}
        return {key: ps[self.frame] for key, ps in prompts.items() if self.frame in ps}

    def answered(self, key: int, memory: FrameMemory, found: FrameMask) -> None:
        """A prompt is answered."""
        self.states[key] = self.states[key].answered(memory, found)

    def meet(self) -> None:
        """Finds the objects that were prompted on this frame; the others recall what they know."""
        for key in self._walking(self.frame):
            state = self.states[key]
            if answer := state.answers.get(self.frame):
                self._found[key] = answer
                self.states[key] = state.after(self.frame)
            else:
                self.recalled[key] = state.bank.recall(
                    self.frame, self.memory_span, self.pointer_span, state.reverse
                )

    def followed(self, key: int, found: FrameMask, memory: Tensor) -> None:
        """An object was followed to this frame; its memory is (M, h, w), and no view."""
        remembered = FrameMemory(self.frame, memory, found.pointer)
        reach = reach_of(self.memory_span, self.pointer_span)
        self.states[key] = self.states[key].remembering(remembered, reach)
        self._found[key] = found
        del self.recalled[key]

    def result(self) -> FrameResult | None:
        """What was found on this frame, once all are done with it."""
        if self.recalled or not self._found:
            return None
        found = {key: self._found[key] for key in self.states if key in self._found}
        return FrameResult(self.video, self.frame, found, {key: self.states[key] for key in found})

    def end(self, key: int) -> None:
        """A task is done with the video, or cannot go on."""
        del self.states[key]
        self.recalled.pop(key, None)

    def _unanswered(self, key: int) -> dict[int, Prompt]:
        answers = self.states[key].answers
        return {f: prompt for f, prompt in self.tasks[key].prompts.items() if f not in answers}

    def _walking(self, frame: int) -> list[int]:
        """The tasks whose way on this leg comes to a frame."""
        reverse = self.leg is Leg.BACK
        return [k for k, s in self.states.items() if s.reverse == reverse and s.lives_on(frame)]
