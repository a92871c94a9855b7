"""What the head of a video file promises, for the plan: remote files are not copied for it.

Of an MP4 or Matroska file only its head or its table of frames is read. What is tracked later goes
by the frames themselves, so a head that lies costs a worse plan and nothing else.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import av
import fsspec
from av.container import InputContainer
from av.stream import Disposition

from pipeline.any_video import open_video
from pipeline.decoder import OPTIONS
from pipeline.uris import local_path
from pipeline.video import VideoError, VideoInfo, local_copy

_BLOCK = 256 << 10  # bytes of one ranged read
_THREADS = 8


def probe_video(uri: str) -> VideoInfo | None:
    """What a video is by its head, or else by all of it; None if it cannot be opened."""
    try:
        return _by_head(uri) or _by_frames(uri)
    except VideoError:
        return None


def probe_in_threads(uris: Sequence[str]) -> Iterable[VideoInfo | None]:
    """What each of these videos is, in their order."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(probe_video, uris)


def _by_head(uri: str) -> VideoInfo | None:
    try:
        with (
            _open(uri) as file,
            av.open(file, "r", options=OPTIONS, metadata_errors="replace") as video,
        ):
            return _read_head(video)
    except Exception:  # whatever a store or FFmpeg dislikes: another way tells, or what is wrong
        return None


def _read_head(video: InputContainer) -> VideoInfo | None:
    """What an open container says of its video; None if it does not say how long it is."""
    streams = [s for s in video.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        return None
    stream = streams[0]
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    duration_s = video.duration / av.time_base if video.duration else 0.0
    n_frames = stream.frames or round(duration_s * rate)
    if not n_frames or not rate:
        return None
    return VideoInfo(stream.width, stream.height, rate, n_frames, duration_s or n_frames / rate)


def _open(uri: str) -> IO[bytes]:
    if path := local_path(uri):
        return path.open("rb")
    file: IO[bytes] = fsspec.open(uri, "rb", block_size=_BLOCK).open()
    return file


def _by_frames(uri: str) -> VideoInfo:
    with local_copy(uri, patient=False) as path, open_video(path, uri) as video:
        return video.info
