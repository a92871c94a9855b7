"""Frames of one video, decoded in a thread of their own, a few ahead of whoever takes them."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from threading import Event, Semaphore, Thread
from typing import Protocol

import numpy as np
import numpy.typing as npt

_AHEAD = 4  # frames decoded before they are asked for

Pixels = npt.NDArray[np.uint8]


class Frame(Protocol):
    """One frame of a clip: its number from 0 and its RGB pixels (S, S, 3)."""

    @property
    def index(self) -> int: ...

    @property
    def pixels(self) -> Pixels: ...


class FrameSource(Protocol):
    """A video that can be walked through both ways, its frames scaled to `size` pixels square.

    Frames of [start, stop) come in order, or from the last to the first; those that cannot be read
    are left out. It is read in another thread than the one that hands it over.
    """

    def frames(self, start: int, stop: int, *, size: int) -> Iterator[Frame]: ...

    def frames_reversed(self, start: int, stop: int, *, size: int) -> Iterator[Frame]: ...


class Leg(IntEnum):
    """The parts of a walk, in their order."""

    PROMPTS = 0  # the prompted frames, wherever they are
    OUT = 1  # forwards
    BACK = 2  # in reverse


@dataclass(frozen=True, slots=True, eq=False)
class ReadFrame:
    """One frame of a leg; only a prompted frame that cannot be read has no pixels."""

    index: int
    pixels: Pixels | None


@dataclass(frozen=True, slots=True)
class End:
    """What comes after the last picture: nothing, or the error that ended the reading."""

    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The frames of a clip that a walk needs, leg by leg; forwards and back are half open."""

    prompts: Sequence[int]
    out: tuple[int, int]
    back: tuple[int, int]

    def pictures(self, clip: FrameSource, size: int) -> Generator[ReadFrame | Leg]:
        """Reads them in the order of the walk; each leg after the prompts is told as it begins."""
        for index in self.prompts:
            frame = next(clip.frames(index, index + 1, size=size), None)
            yield ReadFrame(index, frame.pixels if frame else None)
        if self.out[0] < self.out[1]:
            yield Leg.OUT
            for frame in clip.frames(*self.out, size=size):
                yield ReadFrame(frame.index, frame.pixels)
        if self.back[0] < self.back[1]:
            yield Leg.BACK
            for frame in clip.frames_reversed(*self.back, size=size):
                yield ReadFrame(frame.index, frame.pixels)


class Reader:
    """Runs through pictures in a thread of its own; `news` is set whenever there is one to take."""

    def __init__(self, pictures: Generator[ReadFrame | Leg], news: Event) -> None:
        self._pictures = pictures
        self._news = news
        self._decoded: deque[ReadFrame | Leg | End] = deque()
        self._room = Semaphore(_AHEAD)
        self._closed = False
        self._thread = Thread(target=self._read, name="masklet-reader", daemon=True)

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def peek(self) -> ReadFrame | Leg | End | None:
        """What comes next, if it is there already."""
        return self._decoded[0] if self._decoded else None

    def take(self) -> None:
        """Takes away what `peek` has shown."""
        self._decoded.popleft()
        self._room.release()

    def close(self) -> None:
        """Ends the reading and waits until the thread is through with its frame."""
        self._closed = True
        self._room.release()
        if self._thread.is_alive():
            self._thread.join()

    def _read(self) -> None:
        try:
            with closing(self._pictures) as pictures:
                for picture in pictures:
                    self._room.acquire()
                    if self._closed:
                        return
                    self._put(picture)
        except Exception as error:  # whatever it is, it belongs to this video and not to the engine
            self._put(End(error))
        else:
            self._put(End())

    def _put(self, decoded: ReadFrame | Leg | End) -> None:
        self._decoded.append(decoded)
        self._news.set()
