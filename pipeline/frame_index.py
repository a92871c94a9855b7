"""Which frames a video stream holds and where decoding can start, known from its packets alone.

Packets lie in the order a decoder needs them; frames are numbered in the order they are shown.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from statistics import median
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

Ticks = npt.NDArray[np.int64]  # times, counted in the stream's own clock

_STATES_ITS_LENGTH = ("matroska,webm", "flv", "avi")  # in a header, but without a table of frames
_LENGTH_SLACK_S = 0.5  # such headers are rounded, and may count the end of the sound
_MOST_REORDERED = 32  # places between a frame in decoding and in display; codecs allow 16
_USUAL_RATE = 25  # for a stream without any times, as FFmpeg assumes


class Key(NamedTuple):
    """A keyframe: decoding can start here."""

    packet: int
    pts: int
    dts: int
    size: int


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    duration: int
    size: int
    is_key: bool
    is_hidden: bool  # by an edit list


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """The n frames of a stream in display order."""

    ticks: Ticks  # (n,) when each frame is shown, always rising
    packets: npt.NDArray[np.int64]  # (n,) which packet holds each frame
    keys: Sequence[Key]  # in the order of the packets
    duration: int  # from the first frame to the end of the last
    by_time: bool  # a frame is known by its time; otherwise only by counting from the start
    made_up_times: bool  # the file gives some of its frames no time
    flaw: str  # what the file promises and does not hold; empty if nothing

    def __len__(self) -> int:
        return len(self.ticks)

    def place(self, pts: int) -> int:
        """How many frames are shown before this time."""
        return int(np.searchsorted(self.ticks, pts))

    def number(self, pts: int | None) -> int | None:
        """The frame that is shown at exactly this time."""
        if pts is None:
            return None
        place = self.place(pts)
        return place if place < len(self) and self.ticks[place] == pts else None

    def key_for(self, frame: int) -> Key | None:
        """The last keyframe from which a frame can be decoded; None: only from the start."""
        if not self.by_time:
            return None
        # A frame stored after a keyframe but shown before it may need what came earlier still.
        tick = self.ticks[frame]
        earlier = self.keys[: self._keys_up_to(frame)]
        return next((key for key in reversed(earlier) if key.pts <= tick), None)

    def first_for(self, frame: int) -> int:
        """The first frame that comes out when decoding starts where this one needs it."""
        key = self.key_for(frame)
        return self.place(key.pts) if key else 0

    def find_key(self, pts: int | None, size: int) -> Key | None:
        """The keyframe of this time and size, if the file has one."""
        return next((key for key in self.keys if key.pts == pts and key.size == size), None)

    def built_on(self, frame: int) -> list[int]:
        """The frame and all that may repeat its faults: those stored from it to the next key."""
        touched = self.packets >= self.packets[frame]
        for key in self.keys[self._keys_up_to(frame) :][:1]:
            touched &= (self.packets < key.packet) | (self.ticks < key.pts)
        return [int(i) for i in np.flatnonzero(touched)]

    def _keys_up_to(self, frame: int) -> int:
        return bisect_right(self.keys, self.packets[frame], key=lambda key: key.packet)


def demux(container: InputContainer, *streams: VideoStream) -> Iterator["Packet[Stream]"]:
    """The packets of these streams, or of all."""
    with suppress(IndexError):  # PyAV's way to end a file in which a stream appeared late
        # An empty packet marks the end, and would close a decoder.
        yield from (packet for packet in container.demux(*streams) if packet.size)


def index_frames(container: InputContainer, stream: VideoStream) -> FrameIndex:
    """Reads every packet of a freshly opened file once; decodes nothing."""
    packets, flaw = _read_packets(container, stream)
    start = next((i for i, p in enumerate(packets) if p.is_key), 0)  # before it, nothing decodes
    shown = [i for i in range(start, len(packets)) if not packets[i].is_hidden]
    pts = {i: t for i in shown if (t := packets[i].pts) is not None}
    if _restarts(pts.values()):
        pts = {}
    # A stream that may reorder its frames, though no time does: AVI knows only decoding times.
    unordered = stream.has_b_frames and all(a < b for a, b in pairwise(pts.values()))
    by_time = 0 < len(shown) == len(set(pts.values())) and not unordered
    if by_time:
        low = pts.get(start, min(pts.values()))  # frames shown before a first keyframe lack theirs
        high = _certain_until(packets, low) if flaw else inf
        shown = sorted((i for i in shown if low <= pts[i] < high), key=lambda i: pts[i])
    period = _period(packets, stream)
    ticks = _rising(sorted(pts[i] for i in shown if i in pts), len(shown), period)
    return FrameIndex(
        ticks=ticks,
        packets=np.array(shown, np.int64),
        keys=[
            Key(i, p.pts, p.pts if p.dts is None else p.dts, p.size)
            for i, p in enumerate(packets)
            if p.is_key and p.pts is not None
        ],
        duration=_duration(ticks, period),
        by_time=by_time,
        made_up_times=len(pts) < len(shown),
        flaw=flaw,
    )


def _read_packets(container: InputContainer, stream: VideoStream) -> tuple[list[_Packet], str]:
    """The packets of the stream, and in words what the file should hold beyond them."""
    packets = []
    ends: dict[int, float] = {}  # stream -> when its last packet ends, in seconds
    try:
        for p in demux(container):
            if p.stream_index == stream.index:
                packets.append(
                    _Packet(p.pts, p.dts, p.duration or 0, p.size, p.is_keyframe, p.is_discard)
                )
            if (begin := p.dts if p.pts is None else p.pts) is not None:
                end = float((begin + (p.duration or 0)) * p.time_base)
                ends[p.stream_index] = max(end, ends.get(p.stream_index, end))
    except av.FFmpegError as error:
        return packets, f"it cannot be read to its end ({error.strerror})"
    promised = sum(entry.size > 0 for entry in stream.index_entries)
    if promised > len(packets):
        return packets, f"it is cut short: it promises {promised} frames and holds {len(packets)}"
    end, stated = max(ends.values(), default=0.0), (container.duration or 0) / av.time_base
    if container.format.name in _STATES_ITS_LENGTH and end + _LENGTH_SLACK_S < stated:
        return packets, f"it is cut short: it promises {stated:.1f} s and ends after {end:.1f} s"
    return packets, ""


def _certain_until(packets: Sequence[_Packet], low: int) -> float:
    """Before this time a file cut short holds every frame, so that their numbers are known."""
    last = packets[-1]
    return inf if last.dts is None else max(last.dts + last.duration, low + 1)


def _restarts(pts: Iterable[int]) -> bool:
    """Whether the clock jumps back, as where files were joined: then times order nothing."""
    order = np.argsort([*pts], kind="stable")
    return bool(np.any(np.abs(order - np.arange(len(order))) > _MOST_REORDERED))


def _period(packets: Sequence[_Packet], stream: VideoStream) -> int:
    """How many ticks a frame is usually shown."""
    durations = [p.duration for p in packets if p.duration > 0]
    if durations:
        return round(median(durations))
    rate = stream.average_rate or stream.guessed_rate or _USUAL_RATE
    return max(1, round(1 / (rate * (stream.time_base or 1))))


def _rising(known: list[int], n: int, period: int) -> Ticks:
    """The n times: frames without one come first, and equal ones move a tick apart."""
    missing = n - len(known)
    first = known[0] if known else missing * period
    ticks = np.array([first - i * period for i in range(missing, 0, -1)] + known, np.int64)
    steps = np.arange(n)
    return np.maximum.accumulate(ticks - steps) + steps


def _duration(ticks: Ticks, period: int) -> int:
    """The last frame is taken to last as long as most: what files say of it is often wrong."""
    if len(ticks) < 2:
        return period
    return int(ticks[-1] - ticks[0] + np.median(np.diff(ticks)))
