"""What one object remembers, and what of it one frame reads. All of it values; no computation."""

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)  # eq=False: comparing tensors is never what we mean
class FrameMemory:
    """One frame as an object remembers it."""

    frame: int
    features: Tensor  # (M, h, w) bfloat16: picture and mask, fused
    pointer: Tensor  # (C,) object pointer


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


@dataclass(frozen=True, slots=True, eq=False)
class MemoryBank:
    """What one object remembers: prompted frames and tracked frames (paper: "Memory bank").

    A bank never changes. `remember` returns the next one, so a failed step can be retried.
    """

    prompted: tuple[FrameMemory, ...] = ()
    tracked: tuple[FrameMemory, ...] = ()

    def remember_prompted(self, memory: FrameMemory) -> Self:
        """The bank with one more prompted frame, which no longer counts as tracked."""
        return replace(
            self,
            prompted=_with(self.prompted, memory),
            tracked=tuple(m for m in self.tracked if m.frame != memory.frame),
        )

    def remember(self, memory: FrameMemory, reach: int | None = None) -> Self:
        """The bank with one more tracked frame; those `reach` or more frames away are dropped.

        With the pointer span less one as reach, a pass in one direction loses nothing that it
        could read again, and the bank stays small however long the video is.
        """
        tracked = _with(self.tracked, memory)
        if reach is not None:
            tracked = tuple(m for m in tracked if abs(m.frame - memory.frame) < reach)
        return replace(self, tracked=tracked)

    def forget(self, frame: int) -> Self:
        """The bank without anything of `frame`."""
        return replace(
            self,
            prompted=tuple(m for m in self.prompted if m.frame != frame),
            tracked=tuple(m for m in self.tracked if m.frame != frame),
        )

    def recall(
        self, frame: int, span: int, pointer_span: int, reverse: bool = False
    ) -> Recollection:
        """What `frame` reads of this bank, walking forwards or in reverse.

        Maps: every prompted frame, past and future, then those of the `span` frames walked through
        last, oldest first; gaps are left out. Pointers: prompted frames not ahead, then tracked
        frames less than `pointer_span` away, nearest first.
        """
        sign = -1 if reverse else 1
        behind = {sign * (frame - m.frame): m for m in self.tracked}  # by distance walked
        recent = [(age, behind[age]) for age in range(span, 0, -1) if age in behind]
        pointed = [(sign * (frame - m.frame), m) for m in self.prompted]
        pointed = [(distance, m) for distance, m in pointed if distance >= 0]
        pointed += [(d, behind[d]) for d in range(1, pointer_span) if d in behind]
        return Recollection(
            maps=tuple(m.features for m in (*self.prompted, *(m for _, m in recent))),
            ages=(0,) * len(self.prompted) + tuple(age for age, _ in recent),
            pointers=tuple(m.pointer for _, m in pointed),
            distances=tuple(distance for distance, _ in pointed),
        )


def _with(memories: tuple[FrameMemory, ...], memory: FrameMemory) -> tuple[FrameMemory, ...]:
    return (*(m for m in memories if m.frame != memory.frame), memory)
