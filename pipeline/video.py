"""One video: what it is, and its pictures one after another in the memory of a few.

A frame's number is its place in display order: the same picture whether the frames are read
forwards, from the middle or backwards. Pictures are RGB as a person sees them: turned as the file
asks, without alpha; more than 8 bits and HDR are brought to 8 bits without tone mapping.
"""

import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import IO, Self
from weakref import WeakSet

import av
import fsspec
import numpy as np
from av.video.frame import VideoFrame

from pipeline.decoder import Decoder, Painter, Pixels, shown_size, turns
from pipeline.decoder import VideoError as VideoError
from pipeline.frame_index import index_frames
from pipeline.patience import asks_to_wait, may_pass, patiently
from pipeline.uris import local_path

_COPY_BLOCK = 8 << 20  # bytes
_MOST_HELD = 512 << 20  # bytes of pictures that wait to be given backwards


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A video as a person sees it: turned upright, but in its stored pixels (no sample aspect)."""

    width: int
    height: int
    fps: float
    n_frames: int
    duration_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture. Its time is the file's own, which rises but need not begin at 0."""

    index: int
    timestamp_s: float
    pixels: Pixels


@contextmanager
def local_copy(uri: str, patient: bool = True) -> Iterator[Path]:
    """The video as a local file or folder: itself if it is one, else a copy for the time being.

    A store that cannot be reached is waited for if we are `patient`.
    Raises VideoError, which names the URI.
    """
    with ExitStack() as held:
        try:
            path = local_path(uri)
        except ValueError as error:
            raise VideoError(str(error)) from error
        if path is None:
            try:
                copy = held.enter_context(tempfile.NamedTemporaryFile(prefix="masklet-"))
            except OSError as error:
                raise VideoError(f"{uri}: there is no place for a copy of it: {error}") from error
            _download(uri, copy, patient)
            path = Path(copy.name)
        else:
            _check_kind(uri, path)
        yield path


def _check_kind(uri: str, path: Path) -> None:
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError as error:
        raise VideoError(f"{uri}: there is no such file") from error
    except (OSError, ValueError) as error:  # not ours to read, a failing disk, a name that is none
        raise VideoError(f"{uri}: cannot be reached: {error}") from error
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise VideoError(f"{uri}: is neither a file nor a folder")


def _download(uri: str, copy: IO[bytes], patient: bool) -> None:
    # A store that cannot be reached comes back; a host on the web may never have been there.
    on_the_web = uri.startswith(("http://", "https://"))
    passes = may_pass if patient and not on_the_web else asks_to_wait
    try:
        patiently(partial(_download_once, uri, copy), passes)
    except Exception as error:  # each storage has its own kinds, which have nothing in common
        raise VideoError(f"{uri}: cannot be read: {type(error).__name__}: {error}") from error


def _download_once(uri: str, copy: IO[bytes]) -> None:
    copy.seek(0)
    copy.truncate()
    with fsspec.open(uri, "rb") as source:
        shutil.copyfileobj(source, copy, _COPY_BLOCK)
    copy.flush()


class Video:
    """One video in a local file. Every reading opens the file anew, so several may run at once.

    Raises VideoError where not one frame can be shown; `name` is what errors call it.
    """

    def __init__(self, path: Path | str, *, name: str | None = None, threads: int = 1) -> None:
        self.path = Path(path)
        self.name = name or str(path)
        self.threads = threads
        self.lost: set[int] = set()  # frames that were asked for and could not be decoded
        self.suspect: set[int] = set()  # frames made from damaged data, or copying from such
        self._decoders: WeakSet[Decoder] = WeakSet()
        with self._decoder() as decoder:
            index = self._index = index_frames(decoder.container, decoder.stream)
            if not len(index):
                raise VideoError(f"{self.name}: has a video track without any frames")
            first = next((frame for _, frame in decoder.frames(index, 0)), None)
            if first is None:
                raise VideoError(
                    f"{self.name}: not one of its {len(index)} frames decodes ({decoder.fault})"
                )
            second = float(decoder.stream.time_base or 1)
            stated_fps = float(decoder.stream.average_rate or 0)
        self._turns = turns(first)
        width, height = shown_size(first, self._turns)
        self.timestamps = np.asarray(index.ticks * second, np.float64)  # (n_frames,)
        duration_s = index.duration * second
        fps = len(index) / duration_s
        if abs(stated_fps - fps) < 0.01 * fps:
            fps = stated_fps  # the same without the rounding of times
        self.info = VideoInfo(width, height, fps, len(index), duration_s)

    @property
    def made_up_times(self) -> bool:
        """Whether the file gives some of its frames no time: theirs follow from the frame rate."""
        return self._index.made_up_times

    def frames(
        self, start: int = 0, stop: int | None = None, *, size: int | None = None
    ) -> Iterator[Frame]:
        """Frames of [start, stop) in display order, as slices count; lost ones are left out."""
        painter = self._painter(size)
        with self._decoder() as decoder:
            for number, frame in self._read(decoder, range(self.info.n_frames)[start:stop]):
                yield self._finished(number, self._painted(painter, number, frame))

    def frames_reversed(
        self, start: int = 0, stop: int | None = None, *, size: int | None = None, chunk: int = 16
    ) -> Iterator[Frame]:
        """The same frames from the last to the first, held in parts of `chunk` or so.

        Each part is decoded from the keyframe before it. Where that is far, parts are as long as an
        eighth of the way, for every frame on it is decoded again for each of them.
        """
        painter = self._painter(size)
        asked = range(self.info.n_frames)[start:stop]
        area = size * size if size else self.info.width * self.info.height
        most = max(1, _MOST_HELD // (3 * area))
        end = asked.stop
        with self._decoder() as decoder:
            while end > asked.start:
                way = end - self._index.first_for(end - 1)
                part = range(max(asked.start, end - min(max(chunk, way // 8), most)), end)
                read = self._read(decoder, part)
                held = [(i, self._painted(painter, i, frame)) for i, frame in read]
                while held:
                    yield self._finished(*held.pop())
                end = part.start

    def damage(self, start: int = 0, stop: int | None = None) -> str:
        """What is known, after reading, to be wrong with [start, stop); empty if nothing is."""
        asked = range(self.info.n_frames)[start:stop]
        wrong = [self._index.flaw] if stop is None or stop > self.info.n_frames else []
        for frames, what in (  # copies: another thread may be reading on
            ({*self.lost}, "could not be decoded"),
            (self.suspect - self.lost, "may be wrong pictures"),
        ):
            if among := sorted(i for i in frames if i in asked):
                frame_s = "frame" if len(among) == 1 else "frames"
                wrong.append(f"{len(among)} {frame_s} {what} ({_spans(among)})")
        return "; ".join(filter(None, wrong))

    def close(self) -> None:
        """Ends all readings; the video can still be read again."""
        for decoder in list(self._decoders):
            decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _decoder(self) -> Iterator[Decoder]:
        decoder = Decoder(self.path, self.name, self.threads)
        self._decoders.add(decoder)
        try:
            yield decoder
        finally:
            decoder.close()

    def _painter(self, size: int | None) -> Painter:
        return Painter(self._turns, (self.info.width, self.info.height), size, self.threads)

    def _painted(self, painter: Painter, number: int, frame: VideoFrame) -> Pixels:
        try:
            return painter.paint(frame)
        except av.FFmpegError as error:  # colours of a kind that FFmpeg has no formula for, say
            raise VideoError(
                f"{self.name}: frame {number} cannot be turned into RGB ({error.strerror}): code "
                "the video again, in the colours of BT.709"
            ) from error

    def _finished(self, number: int, pixels: Pixels) -> Frame:
        return Frame(number, float(self.timestamps[number]), pixels)

    def _read(self, decoder: Decoder, asked: range) -> Iterator[tuple[int, VideoFrame]]:
        """Decodes the frames asked for, and notes which are missing or damaged."""
        if not asked:
            return
        expected = self._index.first_for(asked.start)
        for number, frame in decoder.frames(self._index, asked.start):
            if number < expected:
                continue
            self._note_lost(range(expected, number), asked)
            if frame.is_corrupt:
                self.suspect.update(self._index.built_on(number))
            if number in asked:
                yield number, frame
            expected = number + 1
            if expected >= asked.stop:
                return
        self.lost.update(range(max(expected, asked.start), asked.stop))

    def _note_lost(self, numbers: range, asked: range) -> None:
        for number in numbers:
            self.suspect.update(self._index.built_on(number))
            if number in asked:
                self.lost.add(number)


def _spans(numbers: list[int], most: int = 5) -> str:
    """[1, 2, 3, 7] -> "1-3, 7"; only the first few."""
    runs = [
        [number for _, number in run]
        for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ]
    spans = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return ", ".join(spans[:most] + ["…"] * (len(spans) > most))
