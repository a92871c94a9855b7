"""Any video: a file, or a folder with a picture for each frame."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.frame_folder import FrameFolder
from pipeline.video import Frame, Video, VideoInfo


class AnyVideo(Protocol):
    """What a file and a folder have in common.

    `timestamps` are seconds, one for each frame. Frames of [start, stop) come in display order, or
    from the last to the first; those that cannot be read are left out, and `damage` tells of them.
    With `size` they are scaled to so many pixels square.
    """

    @property
    def info(self) -> VideoInfo: ...

    @property
    def timestamps(self) -> NDArray[np.float64]: ...

    def frames(
        self, start: int = 0, stop: int | None = None, *, size: int | None = None
    ) -> Iterator[Frame]: ...

    def frames_reversed(
        self, start: int = 0, stop: int | None = None, *, size: int | None = None
    ) -> Iterator[Frame]: ...

    def damage(self, start: int = 0, stop: int | None = None) -> str: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_video(path: Path, name: str, threads: int = 1) -> AnyVideo:
    """The video at a local path; errors call it `name`. Raises VideoError."""
    if path.is_dir():
        return FrameFolder(path, name=name)
    return Video(path, name=name, threads=threads)
