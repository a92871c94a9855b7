"""Videos of every make as frames that are read when a model asks for them.

Only a few pictures are held at a time, however long the video is.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from io import BytesIO
from os import PathLike, fspath
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Protocol, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sam2.images import from_video_picture
from sam2.session import EndOfVideoError

if TYPE_CHECKING:
    from sam2.video_file import VideoFile

Picture: TypeAlias = npt.NDArray[np.uint8] | Image.Image  # RGB, (H, W, 3)
VideoSource: TypeAlias = (
    str | PathLike[str] | IO[bytes] | npt.NDArray[np.uint8] | Sequence[Picture] | Iterator[Picture]
)
Opener: TypeAlias = Callable[[], Image.Image]
Ready: TypeAlias = Callable[[Tensor], Tensor]  # a uint8 picture (3, S, S) -> what the model reads

_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG")
_HELD = 16  # pictures of a stream that can be read again


class FramesError(RuntimeError, ValueError):
    """Frames that cannot be used. The published package raises the one or the other of the two."""


class NoVideoError(FileNotFoundError, NotImplementedError):
    """There is no video under this name."""


class SizedFrames(Protocol):
    """The frames of a video whose length is known: (3, S, S) each, ready for the model."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


class PictureFrames:
    """Frames from pictures: each is opened when it is asked for."""

    def __init__(self, openers: Sequence[Opener], names: Sequence[str], size: int, ready: Ready):
        self.openers = openers
        self.names = names  # of the pictures, for errors
        self.size = size
        self.ready = ready
        first = self._open(0)
        self.frame_size = first.height, first.width

    def __len__(self) -> int:
        return len(self.openers)

    def __getitem__(self, index: int) -> Tensor:
        index = range(len(self))[index]
        picture = self._open(index)
        _check_size(self.names[index], picture, self.frame_size)
        return self.ready(from_video_picture(picture, self.size))

    def _open(self, index: int) -> Image.Image:
        try:
            return self.openers[index]()
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise FramesError(
                f"{self.names[index]} cannot be read as a picture: {error}"
            ) from error


class FileFrames:
    """Frames from a video file."""

    def __init__(self, file: "VideoFile", ready: Ready) -> None:
        self.file = file
        self.ready = ready
        self.frame_size = file.frame_size

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, index: int) -> Tensor:
        return self.ready(torch.from_numpy(self.file[index]).permute(2, 0, 1))


class StreamFrames:
    """Frames from pictures that come one after another; the last few can be read again."""

    def __init__(self, pictures: Iterator[Picture], size: int, ready: Ready) -> None:
        first = next(pictures, None)
        if first is None:
            raise FramesError("The stream ended before its first frame.")
        self.size = size
        self.ready = ready
        picture = as_picture(first)
        self.frame_size = picture.height, picture.width
        self._coming = pictures
        self._held = {0: from_video_picture(picture, size)}

    @property
    def seen(self) -> int:
        """How many frames have come by now."""
        return max(self._held) + 1

    def __getitem__(self, index: int) -> Tensor:
        while index >= self.seen:
            self._take(self.seen)
        if index not in self._held:
            raise FramesError(
                f"Frame {index} of the stream is gone: only the last {_HELD} can be read again, "
                f"from {min(self._held)}. Propagate with a start_frame_idx from there on."
            )
        return self.ready(self._held[index])

    def _take(self, index: int) -> None:
        try:
            picture = as_picture(next(self._coming))
        except StopIteration:
            raise EndOfVideoError(f"The stream has ended: it had {index} frames.") from None
        _check_size(f"Frame {index}", picture, self.frame_size)
        self._held.pop(index - _HELD, None)
        self._held[index] = from_video_picture(picture, self.size)


class ReadAhead:
    """Frames of which a thread reads the next one while this one is worked on."""

    def __init__(self, frames: SizedFrames) -> None:
        self.frames = frames
        self._thread = ThreadPoolExecutor(max_workers=1)  # one: a reader need not be thread-safe
        self._last = -1
        self._ahead: tuple[int, Future[Tensor]] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Tensor:
        index = range(len(self))[index]
        ahead, self._ahead = self._ahead, None
        future = ahead[1] if ahead and ahead[0] == index else self._read(index)
        following = index + (1 if index > self._last else -1)
        self._last = index
        if 0 <= following < len(self):
            self._ahead = following, self._read(following)
        return future.result()

    def _read(self, index: int) -> "Future[Tensor]":
        return self._thread.submit(self.frames.__getitem__, index)


def open_frames(
    source: VideoSource, size: int, ready: Ready
) -> tuple[SizedFrames | StreamFrames, tuple[int, int]]:
    """The frames of a video, and the height and width of its pictures.

    A folder of JPEG files or a video file (a path, a URI, an open file), an array (N, H, W, 3), a
    sequence of pictures, or an iterator of them: a stream, of which nobody knows when it ends.
    """
    frames = _open_frames(source, size, ready)
    return frames, frames.frame_size


def _open_frames(
    source: VideoSource, size: int, ready: Ready
) -> PictureFrames | FileFrames | StreamFrames:
    if isinstance(source, str) and "://" in source:
        return _open_remote(source, size, ready)
    if isinstance(source, str | PathLike):
        return _open_local(Path(fspath(source)), size, ready)
    if isinstance(source, np.ndarray | Sequence):
        return _of_pictures(cast("Sequence[Picture]", source), size, ready)
    if hasattr(source, "read"):
        return _of_file(cast("IO[bytes]", source), size, ready)
    if isinstance(source, Iterator):
        return StreamFrames(source, size, ready)
    raise NotImplementedError(
        f"A video cannot be read from {type(source).__name__}: pass a folder of JPEG files, a "
        "video file, an array (N, H, W, 3), a list of pictures, or an iterator of them."
    )


def _of_file(source: Path | IO[bytes], size: int, ready: Ready) -> FileFrames:
    from sam2.video_file import VideoFile  # only for video files: pictures need no PyAV

    return FileFrames(VideoFile(source, size), ready)


def _of_pictures(pictures: Sequence[Picture], size: int, ready: Ready) -> PictureFrames:
    if not len(pictures):
        raise FramesError("The video has no frames.")
    openers = [partial(as_picture, picture) for picture in pictures]
    return PictureFrames(openers, [f"Frame {i}" for i in range(len(openers))], size, ready)


def _open_local(path: Path, size: int, ready: Ready) -> PictureFrames | FileFrames:
    if path.is_dir():
        files = _in_order(list(path.iterdir()), path)
        openers = [partial(_decoded, file.read_bytes) for file in files]
        return PictureFrames(openers, [*map(str, files)], size, ready)
    if not path.is_file():
        raise NoVideoError(f"{path}: there is no such folder or video file.")
    return _of_file(path, size, ready)


def _open_remote(uri: str, size: int, ready: Ready) -> PictureFrames | FileFrames:
    from fsspec.core import url_to_fs  # only for videos that lie elsewhere

    storage, path = url_to_fs(uri)
    if storage.isfile(path):
        return _of_file(storage.open(path, "rb"), size, ready)
    if not storage.isdir(path):
        raise NoVideoError(f"{uri}: there is no such folder or video file.")
    files = _in_order([PurePath(p) for p in storage.ls(path, detail=False)], uri)
    openers = [partial(_decoded, partial(storage.cat_file, str(file))) for file in files]
    return PictureFrames(openers, [*map(str, files)], size, ready)


Name = TypeVar("Name", bound=PurePath)


def _in_order(files: Sequence[Name], folder: Path | str) -> list[Name]:
    """The pictures among these files, by the numbers that are their names."""
    pictures = [file for file in files if file.suffix in _SUFFIXES]
    if not pictures:
        raise FramesError(f"{folder}: has no pictures (.jpg, .jpeg) in it.")
    for file in pictures:
        if not file.stem.isdecimal():
            raise FramesError(f"{folder}: '{file.name}' must be called by its number: 00012.jpg.")
    return sorted(pictures, key=lambda file: int(file.stem))


def _decoded(read: Callable[[], bytes]) -> Image.Image:
    picture = Image.open(BytesIO(read()))
    picture.load()
    return picture


def as_picture(source: Picture) -> Image.Image:
    """A picture or an array (H, W, 3) as a picture."""
    if isinstance(source, Image.Image):
        return source
    array = np.asarray(source)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise FramesError(
            f"A frame must be RGB, uint8 (H, W, 3), and not {array.dtype} {array.shape}."
        )
    return Image.fromarray(array)


def _check_size(name: str, picture: Image.Image, frame_size: tuple[int, int]) -> None:
    height, width = frame_size
    if picture.size != (width, height):
        raise FramesError(
            f"{name} is {picture.width} x {picture.height} and the first is {width} x {height}: "
            "the frames of a video have one size."
        )
