"""A folder of pictures as a video: one file per frame, as data sets of annotated clips come.

Its pictures are made ready for the model as the published SAM 2 does it for such folders. They have
no times, so the frames follow one another at a nominal rate.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from pipeline.decoder import MAX_PIXELS, Pixels
from pipeline.video import Frame, VideoError, VideoInfo

NOMINAL_FPS = 24.0
PICTURES = (".jpg", ".jpeg", ".png")


class FrameFolder:
    """A video whose frames are picture files, in the order of the numbers in their names."""

    def __init__(self, path: Path | str, *, name: str | None = None) -> None:
        self.path = Path(path)
        self.name = name or str(path)
        numbered = numbered_files(self.path, PICTURES)
        if not numbered:
            raise VideoError(f"{self.name}: has no pictures ({', '.join(PICTURES)}) in it")
        self.numbers = list(numbered)  # of the frames, as the files' names have them
        self.files = list(numbered.values())
        width, height = _common_size(self.files)
        n_frames = len(self.files)
        self.timestamps = np.arange(n_frames) / NOMINAL_FPS
        self.info = VideoInfo(width, height, NOMINAL_FPS, n_frames, n_frames / NOMINAL_FPS)

    def frames(
        self, start: int = 0, stop: int | None = None, *, size: int | None = None
    ) -> Iterator[Frame]:
        """Frames of [start, stop), as slices count; with `size`, square ones."""
        return (self._frame(i, size) for i in range(self.info.n_frames)[start:stop])

    def frames_reversed(
        self, start: int = 0, stop: int | None = None, *, size: int | None = None
    ) -> Iterator[Frame]:
        """The same frames from the last to the first."""
        return (self._frame(i, size) for i in reversed(range(self.info.n_frames)[start:stop]))

    def damage(self, start: int = 0, stop: int | None = None) -> str:
        """Never any: a picture that cannot be read ends the reading."""
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open between two frames."""

    def _frame(self, index: int, size: int | None) -> Frame:
        with open_picture(self.files[index]) as picture:
            return Frame(index, float(self.timestamps[index]), _pixels(picture, size))


def numbered_files(folder: Path, suffixes: Sequence[str]) -> dict[int, Path]:
    """The folder's files of these kinds by the number that ends their names, in that order."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise VideoError(f"{folder}: cannot be read as a folder: {error}") from error
    files: dict[int, Path] = {}
    for path in found:
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if not (ending := re.search(r"[0-9]+$", path.stem)):
            raise VideoError(f"{path}: its name must end in the number of its frame")
        number = int(ending[0])
        if number in files:
            raise VideoError(f"{path}: its number is that of {files[number].name} too")
        files[number] = path
    return dict(sorted(files.items()))


def _pixels(picture: Image.Image, size: int | None) -> Pixels:
    picture = picture.convert("RGB")
    if size is not None:
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(picture)


def _common_size(files: Sequence[Path]) -> tuple[int, int]:
    """The width and height that all the pictures have."""
    sizes = [_size(path) for path in files]
    for path, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise VideoError(
                f"{path}: is {size[0]} x {size[1]}, but {files[0].name} is "
                f"{sizes[0][0]} x {sizes[0][1]}: the frames of a video have one size"
            )
    return sizes[0]


def _size(path: Path) -> tuple[int, int]:
    with open_picture(path) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise VideoError(f"{path}: is too large, {picture.width} x {picture.height}")
        return picture.size


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """A picture file, open for reading; raises VideoError, also for what fails inside."""
    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # The last three are how Pillow's PNG reader and its limits put it.
        raise VideoError(f"{path}: cannot be read as a picture: {error}") from error
