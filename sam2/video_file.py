"""Frames of a video file, read when asked for. The one file of this package that knows PyAV."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, count
from os import PathLike, fspath
from pathlib import Path
from typing import IO, cast

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame

Pixels = npt.NDArray[np.uint8]  # (S, S, 3)

_HELD = 16  # pictures kept, so that a walk in reverse decodes a stretch once and not for each frame
_MAX_PIXELS = 8192 * 8192  # a file of a few kB can ask for far more
_OPTIONS = {  # FFmpeg goes by content, not by name: a playlist in disguise would open what it lists
    "format_whitelist": "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,gif,ogg,asf,h264,hevc",
    "protocol_whitelist": "file",
}
_UPRIGHT = {90: ("transpose=cclock",), 180: ("hflip", "vflip"), 270: ("transpose=clock",)}


class VideoFileError(RuntimeError):
    """A video file that cannot be read; the message names it and says why."""


class VideoFile:
    """The frames of a file in display order: RGB, upright, and scaled to a square.

    FFmpeg scales them by its bilinear filter, as the published SAM 2 sees video files.
    """

    def __init__(self, source: str | PathLike[str] | IO[bytes], size: int) -> None:
        self.source = source
        self.size = size
        self.name = str(getattr(source, "name", source))
        self._held: dict[int, Pixels] = {}
        self._painter: tuple[tuple[int, int, str], Graph] | None = None
        self._frames: Iterator[tuple[int, VideoFrame]]  # decoded from here on, with their numbers
        self._next: int  # the frame that comes next
        self._index()
        self._open()
        self.frame_size = self._first_size()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Pixels:
        index = range(len(self))[index]
        if index not in self._held:
            self._read(index)
        if index not in self._held:
            raise VideoFileError(f"{self.name}: frame {index} cannot be decoded.")
        return self._held[index]

    def _first_size(self) -> tuple[int, int]:
        """Height and width of the first frame as it is shown."""
        try:
            head = next(self._frames, None)
        except av.FFmpegError:
            head = None
        if head is None:
            raise VideoFileError(f"{self.name}: not one of its frames can be decoded.")
        self._frames = chain([head], self._frames)
        _, frame = head
        upright = frame.rotation % 180 == 0
        return (frame.height, frame.width) if upright else (frame.width, frame.height)

    def _index(self) -> None:
        """Reads all packets, and decodes none: when frames are shown, and where decoding starts."""
        self._times: list[int] = []  # of the frames; none where only counting tells them apart
        self._open()
        try:
            packets = [  # not themselves, which would hold the whole file
                (p.pts, p.is_keyframe, p.is_discard)
                for p in self._container.demux(self._stream)
                if p.size
            ]
        except av.FFmpegError as error:
            raise VideoFileError(f"{self.name} cannot be read to its end: {error}") from error
        shown = [pts for pts, _, hidden in packets if not hidden]  # by an edit list
        times = {pts for pts in shown if pts is not None}
        self._length = len(shown)
        if len(times) == len(shown):
            self._times = sorted(times)
        self._keys = sorted(pts for pts, key, _ in packets if key and pts is not None)

    def _open(self) -> None:
        """Opens the file, or opens it again, at its first frame."""
        if isinstance(self.source, str | PathLike):
            source: str | IO[bytes] = f"file:{Path(fspath(self.source)).absolute()}"
        else:
            source = self.source
            source.seek(0)
        try:
            self._container = _opened(source)
            self._stream = self._container.streams.video[0]
        except (av.FFmpegError, IndexError) as error:
            raise VideoFileError(
                f"{self.name} cannot be opened as a video ({error}): it may be empty, not whole, "
                "or something else under a video's name."
            ) from error
        context = self._stream.codec_context
        context.options = {"max_pixels": str(_MAX_PIXELS)}
        context.thread_type = "NONE"  # left to itself FFmpeg takes every core
        self._frames, self._next = self._decode(), 0

    def _decode(self) -> Iterator[tuple[int, VideoFrame]]:
        """Frames from here on with their numbers."""
        places = count()
        for frame in self._container.decode(self._stream):
            if not self._times:
                yield next(places), frame
            elif frame.pts is not None:
                number = bisect_left(self._times, frame.pts)
                if self._times[number : number + 1] == [frame.pts]:
                    yield number, frame

    def _read(self, index: int) -> None:
        """Decodes up to this frame and holds it, and going back also those before it."""
        back = index < self._next
        first = max(0, index - _HELD + 1) if back else index
        try:
            if back or self._key(index) > self._next:
                self._seek(first)
            for number, frame in self._frames:
                self._next = number + 1
                if number >= first:
                    self._hold(number, self._paint(frame))
                if number >= index:
                    return
        except av.FFmpegError as error:
            raise VideoFileError(
                f"{self.name}: frame {index} cannot be decoded: {error}"
            ) from error
        finally:
            if index not in self._held:  # whatever is asked next, this reading has come to its end
                self._next = len(self)

    def _key(self, index: int) -> int:
        """The frame from which decoding has to start for this one."""
        if not self._times:
            return 0
        keys = self._keys[: bisect_right(self._keys, self._times[index])]
        return bisect_left(self._times, keys[-1]) if keys else 0

    def _seek(self, index: int) -> None:
        if key := self._key(index):
            self._container.seek(self._times[key], stream=self._stream)
            self._frames, self._next = self._decode(), key
            head = next(self._frames, None)
            if head and head[0] <= index:
                self._frames = chain([head], self._frames)
                return
        self._open()  # no seek leads there; decoding from the start does

    def _hold(self, index: int, pixels: Pixels) -> None:
        self._held[index] = pixels
        while len(self._held) > _HELD:
            del self._held[next(iter(self._held))]

    def _paint(self, frame: VideoFrame) -> Pixels:
        """A decoded frame -> (S, S, 3)."""
        kind = (frame.width, frame.height, frame.format.name)
        if self._painter is None or self._painter[0] != kind:
            self._painter = kind, self._graph(frame)
        graph = self._painter[1]
        graph.vpush(frame)
        return np.asarray(graph.vpull().to_ndarray(), np.uint8)

    def _graph(self, frame: VideoFrame) -> Graph:
        filters = [
            *_UPRIGHT.get(round(frame.rotation) % 360, ()),
            f"scale={self.size}:{self.size}:flags=bilinear",
            "format=rgb24",
            "buffersink",
        ]
        graph = Graph()
        graph.threads = 1
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
        )
        graph.link_nodes(source, *(graph.add(*f.split("=", 1)) for f in filters)).configure()
        return graph


def _opened(source: str | IO[bytes]) -> InputContainer:
    return cast(InputContainer, av.open(source, options=_OPTIONS, metadata_errors="replace"))
