"""FFmpeg as this package uses it: one open file, its frames from any place on, their pixels."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain, count
from pathlib import Path
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.buffer import Buffer
from av.filter import Graph
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.frame_index import FrameIndex, Key, demux

Pixels = npt.NDArray[np.uint8]  # (height, width, 3)

MAX_PIXELS = 8192 * 8192  # 200 MB as RGB; a file of a few kB can ask for far more
OPTIONS = {  # FFmpeg goes by content, not by name: a playlist in disguise would open what it lists
    "format_whitelist": "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,gif,ogg,asf,h264,hevc",
    "protocol_whitelist": "file",
}
_TURNS = {  # the first four numbers of a display matrix -> the filters that do what it asks
    (-1, 0, 0, -1): ("hflip", "vflip"),
    (-1, 0, 0, 1): ("hflip",),
    (1, 0, 0, -1): ("vflip",),
    (0, -1, 1, 0): ("transpose=cclock",),
    (0, 1, -1, 0): ("transpose=clock",),
    (0, 1, 1, 0): ("transpose=cclock_flip",),
    (0, -1, -1, 0): ("transpose=clock_flip",),
}


class VideoError(Exception):
    """A video that cannot be used; the message names it and says why."""


class Decoder:
    """One open video file."""

    def __init__(self, path: Path, name: str, threads: int) -> None:
        self.path = path
        self.name = name
        self.threads = threads
        self.fault = ""  # what FFmpeg said of the last packet that it could not use
        self._open()

    def close(self) -> None:
        self.container.close()

    def frames(self, index: FrameIndex, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """Frames with their numbers in display order, from where `start` can be decoded."""
        if key := index.key_for(start):
            frames = self._numbered(index, self._packets_from(index, key))
            first = next(frames, None)
            if first is not None and first[0] <= index.place(key.pts):
                yield first
                yield from frames
                return
        # No seek leads there. Decoding from the start does, however long it takes.
        self.close()
        self._open()
        yield from self._numbered(index, self._packets())

    def _open(self) -> None:
        try:
            self.container = av.open(
                f"file:{self.path.absolute()}", options=OPTIONS, metadata_errors="replace"
            )
        except av.FFmpegError as error:
            raise VideoError(
                f"{self.name}: cannot be opened as a video ({error.strerror}): it may be empty, "
                f"not whole, or something else under a video's name"
            ) from error
        self.stream = self._video_stream()
        context = self.stream.codec_context
        context.options = {"max_pixels": str(MAX_PIXELS)}
        # Left to itself FFmpeg takes every core, and has been seen to hang doing so.
        context.thread_count = self.threads
        context.thread_type = "FRAME" if self.threads > 1 else "NONE"

    def _video_stream(self) -> VideoStream:
        streams = self.container.streams.video
        stream = next((s for s in streams if not s.disposition & Disposition.attached_pic), None)
        if stream is None:
            raise VideoError(f"{self.name}: has no video in it, only sound or a cover picture")
        if stream.codec_context is None:
            raise VideoError(f"{self.name}: is coded in a way that FFmpeg cannot decode")
        if stream.width * stream.height > MAX_PIXELS:
            raise VideoError(
                f"{self.name}: its pictures are {stream.width}x{stream.height}, and "
                f"{MAX_PIXELS:,} pixels are the most we decode; make it smaller first"
            )
        return stream

    def _packets_from(self, index: FrameIndex, key: Key) -> Iterator["Packet[Stream]"]:
        """The packets from this keyframe or an earlier one; none if no seek leads there."""
        for time in (key.pts, key.dts):  # containers differ in which of them they seek by
            try:
                self.container.seek(time, stream=self.stream)
            except av.FFmpegError:
                continue
            packets = self._packets()
            if head := next((p for p in packets if p.is_keyframe), None):
                # Some demuxers give wrong times after a seek: only a keyframe we know will do.
                found = index.find_key(head.pts, head.size)
                if found and found.packet <= key.packet:
                    return chain([head], packets)
        return iter(())

    def _numbered(
        self, index: FrameIndex, packets: Iterator["Packet[Stream]"]
    ) -> Iterator[tuple[int, VideoFrame]]:
        places = count()
        for packet in chain(packets, [None]):  # None: give what is still inside
            for frame in self._decode(packet):
                number = index.number(frame.pts) if index.by_time else next(places)
                if number is not None:
                    yield number, frame

    def _packets(self) -> Iterator["Packet[Stream]"]:
        try:
            yield from demux(self.container, self.stream)
        except av.FFmpegError as error:
            self.fault = error.strerror or str(error)

    def _decode(self, packet: "Packet[Stream] | None") -> list[VideoFrame]:
        try:
            return self.stream.decode(packet)
        except av.FFmpegError as error:  # its frame will be missed when a later number comes
            self.fault = error.strerror or str(error)
            return []


def turns(frame: VideoFrame) -> tuple[str, ...]:
    """The filters that turn a video's frames as its file asks; odd angles are left as they are."""
    side_data = cast(Mapping[str, Buffer], frame.side_data)  # declared with one of its many keys
    if (matrix := side_data.get("DISPLAYMATRIX")) is None:
        return ()
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5] / (1 << 16)  # 16.16 fixed point
    return _TURNS.get((round(a), round(b), round(c), round(d)), ())


def shown_size(frame: VideoFrame, turns: Sequence[str]) -> tuple[int, int]:
    """Width and height after the turns."""
    sideways = any(turn.startswith("transpose") for turn in turns)
    return (frame.height, frame.width) if sideways else (frame.width, frame.height)


class Painter:
    """Turns decoded frames into RGB arrays, upright and of one size, with FFmpeg's own filters."""

    def __init__(
        self, turns: Sequence[str], shown: tuple[int, int], size: int | None, threads: int
    ) -> None:
        self.turns = turns
        self.shown = shown  # width and height of the video
        self.size = size
        self.threads = threads
        self._kind: tuple[int, int, str] | None = None

    def paint(self, frame: VideoFrame) -> Pixels:
        """A decoded frame -> (size, size, 3), or (height, width, 3) of the video without a size."""
        kind = (frame.width, frame.height, frame.format.name)
        if kind != self._kind:  # the first frame, or a stream that changes in the middle
            self._kind, self._graph = kind, self._build(frame)
        self._graph.vpush(frame)
        return np.asarray(self._graph.vpull().to_ndarray(), np.uint8)

    def _build(self, frame: VideoFrame) -> Graph:
        filters = [*self.turns, "format=rgb24", "buffersink"]
        if self.size or shown_size(frame, self.turns) != self.shown:
            width, height = (self.size, self.size) if self.size else self.shown
            filters.insert(len(self.turns), f"scale={width}:{height}:flags=bilinear")
        graph = Graph()
        graph.threads = self.threads
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
        )
        graph.link_nodes(source, *(graph.add(*f.split("=", 1)) for f in filters)).configure()
        return graph
