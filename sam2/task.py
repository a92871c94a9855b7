"""What is asked of the engine, an object to be tracked, and how far it has got with it: values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch

from sam2.config import ModelConfig
from sam2.memory import FrameMemory, MemoryBank, reach_of
from sam2.prompts import Prompt
from sam2.reader import FrameSource
from sam2.tracking import FrameMask

Direction = Literal["forward", "reverse", "both"]


@dataclass(frozen=True, slots=True, eq=False)
class TrackState:
    """Where a task stands between two frames: all that is needed to take it up again.

    Nothing in it names a model or a video, but it can only be taken up by the model that made its
    memories, with the same video, window, prompts and direction. Then every further mask is equal
    to the bit to that of a task which was never interrupted.
    """

    next_frame: int  # the walk goes on at this frame, or at the first one after it that there is
    reverse: bool  # which way it goes
    answers: Mapping[int, FrameMask]  # to the task's prompts, by frame
    bank: MemoryBank
    turn: MemoryBank | None  # what the way back starts from; None for a task that has none

    def lives_on(self, frame: int) -> bool:
        """Whether the rest of the walk comes to `frame`."""
        return frame <= self.next_frame if self.reverse else frame >= self.next_frame

    def answered(self, memory: FrameMemory, found: FrameMask) -> Self:
        """The state with one more prompt answered."""
        answers = {**self.answers, memory.frame: found}
        bank = self.bank.remember_prompted(memory)
        return replace(self, answers=answers, bank=bank, turn=self.turn and bank)

    def after(self, frame: int) -> Self:
        """The state with this frame done."""
        return replace(self, next_frame=frame - 1 if self.reverse else frame + 1)

    def remembering(self, memory: FrameMemory, reach: int) -> Self:
        """The state with one more frame tracked; what the next one reads is nearer than `reach`."""
        bank = self.bank.remember(memory, reach)
        # Frames as near to the start as this are read again by the first frames of the way back.
        near = not self.reverse and memory.frame - min(self.answers) < reach
        walked = replace(self, bank=bank, turn=self.turn and (bank if near else self.turn))
        return walked.after(memory.frame)

    def turned(self) -> Self:
        """The state at the start of the way back; the way out has met the first frame already."""
        bank = self.turn or self.bank
        return replace(self, next_frame=min(self.answers) - 1, reverse=True, bank=bank, turn=None)

    def to(self, device: torch.device) -> Self:
        """The same with its tensors on this device."""
        return replace(
            self,
            answers={frame: mask.to(device) for frame, mask in self.answers.items()},
            bank=self.bank.to(device),
            turn=self.turn and self.turn.to(device),
        )


@dataclass(frozen=True, slots=True, eq=False)
class TrackTask:
    """One object to be tracked: forwards from its first prompt, in reverse from its last, or both.

    Both: forwards from the first prompt, then from there in reverse, remembering what lay ahead.
    """

    key: int  # what its results are called by
    prompts: Mapping[int, Prompt]  # by frame; at least one
    direction: Direction = "forward"
    begun: TrackState | None = None  # where an earlier run of the same task stood

    @property
    def state(self) -> TrackState:
        """Where the task stands before anything is done now."""
        if self.begun:
            return self.begun
        reverse = self.direction == "reverse"
        start = max(self.prompts) if reverse else min(self.prompts)
        bank = MemoryBank()
        return TrackState(start, reverse, {}, bank, bank if self.direction == "both" else None)

    def bank_bytes(self, config: ModelConfig) -> int:
        """The most bytes of masks and memories that the task's state comes to hold."""
        ways = 2 if self.direction == "both" else 1  # it keeps a bank for the way back
        memory = 2 * config.memory_channels * config.grid**2
        answer = 4 * config.mask_size**2
        tracked = ways * reach_of(config.memory_span, config.pointer_span)
        return len(self.prompts) * (memory + answer) + tracked * memory


@dataclass(frozen=True, slots=True, eq=False)
class VideoTask:
    """A video and the objects to be tracked through it."""

    clip: FrameSource
    frame_size: tuple[int, int]  # height, width of the video
    tasks: Sequence[TrackTask]  # their keys differ
    window: tuple[int, int]  # the frames to look at, half open
