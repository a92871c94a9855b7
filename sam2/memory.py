"""What one object remembers, and what of it one frame reads. All of it values; no computation."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)  # eq=False: comparing tensors is never what we mean
class FrameMemory:
    """One frame as an object remembers it."""

    frame: int
    features: Tensor  # (M, h, w) bfloat16: picture and mask, fused
    pointer: Tensor  # (C,) object pointer

    def to(self, device: torch.device) -> Self:
        """The same with its tensors on this device."""
        return replace(self, features=self.features.to(device), pointer=self.pointer.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class Recollection:
    """What of a memory bank one frame reads, in the order in which it is read."""

    maps: tuple[Tensor, ...]  # each (M, h, w) bfloat16
    ages: tuple[int, ...]  # of the maps, in frames; 0 for a prompted frame, however far it is
    pointers: tuple[Tensor, ...]  # each (C,)
    distances: tuple[int, ...]  # of the pointers, in frames

    @property
    def shape(self) -> tuple[int, int]:
        """Recollections of one shape can be read in one batch."""
        return len(self.maps), len(self.pointers)

    def to(self, device: torch.device) -> Self:
        """The same with its maps on this device; pointers are small and never leave the model's."""
        return replace(self, maps=tuple(m.to(device) for m in self.maps))


@dataclass(frozen=True, slots=True, eq=False)
class MemoryBank:
    """What one object remembers: prompted frames and tracked frames (paper: "Memory bank").

    A bank never changes. `remember` returns the next one, so a failed step can be retried.
    """

    prompted: tuple[FrameMemory, ...] = ()
    tracked: tuple[FrameMemory, ...] = ()

    def to(self, device: torch.device) -> Self:
        """The same with its tensors on this device."""
        return replace(
            self,
            prompted=tuple(m.to(device) for m in self.prompted),
            tracked=tuple(m.to(device) for m in self.tracked),
        )

    def remember_prompted(self, memory: FrameMemory) -> Self:
        """The bank with one more prompted frame, which no longer counts as tracked."""
        return replace(
            self,
            prompted=_with(self.prompted, memory),
            tracked=tuple(m for m in self.tracked if m.frame != memory.frame),
        )

    def remember(self, memory: FrameMemory, reach: int | None = None) -> Self:
        """The bank with one more tracked frame; those `reach` or more frames away are dropped.

        With `reach_of` of its spans as reach, a pass in one direction loses nothing that it could
        read again, and the bank stays small however long the video is.
        """
        tracked = _with(self.tracked, memory)
        if reach is not None:
            tracked = tuple(m for m in tracked if abs(m.frame - memory.frame) < reach)
        return replace(self, tracked=tracked)

    def recent(self, history: int, reach: int) -> Self:
        """The bank with its `history` newest tracked frames, and those by a prompted frame.

        Those are at most `reach` frames from it. A walk starts from a prompted frame or goes on
        where the last one ended; with `reach_of` of the spans, either finds all that it reads.
        """
        old = self.tracked[: max(len(self.tracked) - history, 0)]
        starts = [m.frame for m in self.prompted]
        near = tuple(m for m in old if any(abs(m.frame - start) <= reach for start in starts))
        return replace(self, tracked=(*near, *self.tracked[len(old) :]))

    def forget(self, frame: int) -> Self:
        """The bank without anything of `frame`."""
        return replace(
            self,
            prompted=tuple(m for m in self.prompted if m.frame != frame),
            tracked=tuple(m for m in self.tracked if m.frame != frame),
        )

    def recall(
        self,
        frame: int,
        span: int,
        pointer_span: int,
        reverse: bool = False,
        most_prompted: int = -1,
    ) -> Recollection:
        """What `frame` reads of this bank, walking forwards or in reverse.

        Maps: every prompted frame, past and future, then those of the `span` frames walked through
        last, oldest first; gaps are left out. Pointers: prompted frames not ahead, then tracked
        frames less than `pointer_span` away, nearest first. Of more than `most_prompted` prompted
        frames (-1: no limit) the farther ones count as tracked.
        """
        sign = -1 if reverse else 1
        prompted = self._nearest_prompted(frame, most_prompted)
        others = (m for m in self.prompted if m not in prompted)
        behind = {sign * (frame - m.frame): m for m in (*others, *self.tracked)}  # by distance
        recent = [(age, behind[age]) for age in range(span, 0, -1) if age in behind]
        pointed = [(sign * (frame - m.frame), m) for m in prompted]
        pointed = [(distance, m) for distance, m in pointed if distance >= 0]
        pointed += [(d, behind[d]) for d in range(1, pointer_span) if d in behind]
        return Recollection(
            maps=tuple(m.features for m in (*prompted, *(m for _, m in recent))),
            ages=(0,) * len(prompted) + tuple(age for age, _ in recent),
            pointers=tuple(m.pointer for _, m in pointed),
            distances=tuple(distance for distance, _ in pointed),
        )

    def _nearest_prompted(self, frame: int, most: int) -> tuple[FrameMemory, ...]:
        """The nearest prompted frames: one before, one at or after, then whichever is nearer."""
        if not 0 < most < len(self.prompted):
            return self.prompted
        nearest = sorted(self.prompted, key=lambda m: abs(m.frame - frame))
        before = [m for m in nearest if m.frame < frame]
        after = [m for m in nearest if m.frame >= frame]
        first = [*before[:1], *after[:1]]
        chosen = [*first, *(m for m in nearest if m not in first)][:most]
        return tuple(m for m in self.prompted if m in chosen)


def reach_of(memory_span: int, pointer_span: int) -> int:
    """The next frame reads only memories less than so many frames from the one tracked last."""
    return max(pointer_span - 1, memory_span)


def _with(memories: tuple[FrameMemory, ...], memory: FrameMemory) -> tuple[FrameMemory, ...]:
    return (*(m for m in memories if m.frame != memory.frame), memory)
