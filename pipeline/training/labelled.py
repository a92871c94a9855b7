"""Videos whose objects are known on some frames: our own masklets, and folders like DAVIS's."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.any_video import open_video
from pipeline.evaluation.folders import (
    VOID,
    EvaluationError,
    MaskFolder,
    find_frames,
    find_masks,
    ids_in,
)
from pipeline.frame_folder import FrameFolder
from pipeline.masklets import Masklet, MaskletError, read_masklets
from pipeline.video import VideoError, local_copy


class SourceError(ValueError):
    """Training data that cannot be used; the message names the file and says what to do."""


class LabelledVideo(Protocol):
    """A video with masks of its objects."""

    @property
    def name(self) -> str: ...

    @property
    def known(self) -> Sequence[int]:
        """The frames on which every object is known, in order."""

    def pictures(self, frames: Sequence[int], size: int) -> NDArray[np.uint8]:
        """Frames in ascending order, square: (T, size, size, 3)."""

    def masks(self, frame: int) -> NDArray[np.bool_]:
        """The objects on one frame: (K, H, W)."""


def masklet_videos(out: str) -> list[LabelledVideo]:
    """The videos of a run, with what it found of their objects; raises SourceError."""
    by_video: dict[str, list[Masklet]] = defaultdict(list)
    try:
        for masklet in read_masklets(out):
            if masklet.status in ("ok", "partial"):
                by_video[masklet.video_id].append(masklet)
    except MaskletError as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        raise SourceError(f"{out}: {error}") from error
    if not by_video:
        raise SourceError(f"{out}: holds no masklets to learn from: give the --out of a run")
    return [MaskletVideo(found[0].uri, tuple(found)) for found in by_video.values()]


def davis_videos(root: Path) -> list[LabelledVideo]:
    """The sequences of a folder with JPEGImages and Annotations; raises SourceError."""
    try:
        masks, pictures = find_masks(root), find_frames(root)
        if missing := sorted(masks.keys() - pictures.keys()):
            raise SourceError(f"{root}: has no pictures of '{missing[0]}'")
        return [AnnotatedFolder(FrameFolder(pictures[n]), MaskFolder(masks[n])) for n in masks]
    except (EvaluationError, VideoError) as error:
        raise SourceError(str(error)) from error


@dataclass(frozen=True)
class MaskletVideo:
    """A video with the masklets of its objects."""

    name: str  # its URI
    masklets: tuple[Masklet, ...]

    @cached_property
    def known(self) -> Sequence[int]:
        """The frames that all of them cover."""
        frames = [set(masklet.frame_index) for masklet in self.masklets]
        return sorted(set.intersection(*frames))

    def pictures(self, frames: Sequence[int], size: int) -> NDArray[np.uint8]:
        """Decodes from the first of the frames to the last."""
        wanted = set(frames)
        try:
            with local_copy(self.name) as path, open_video(path, self.name) as video:
                read = {
                    frame.index: frame.pixels
                    for frame in video.frames(frames[0], frames[-1] + 1, size=size)
                    if frame.index in wanted
                }
        except VideoError as error:
            raise SourceError(str(error)) from error
        if lost := wanted - read.keys():
            raise SourceError(f"{self.name}: frame {min(lost)} cannot be read")
        return np.stack([read[frame] for frame in frames])

    def masks(self, frame: int) -> NDArray[np.bool_]:
        """What was found of each object."""
        return np.stack([masklet.mask(frame) for masklet in self.masklets])


@dataclass(frozen=True)
class AnnotatedFolder:
    """Pictures with a PNG of object ids for some of them."""

    video: FrameFolder
    labels: MaskFolder

    @property
    def name(self) -> str:
        """The folder of its masks."""
        return str(self.labels.path)

    @cached_property
    def known(self) -> Sequence[int]:
        """The annotated frames, counted among the pictures."""
        numbers = {number: index for index, number in enumerate(self.video.numbers)}
        if stray := [n for n in self.labels.files if n not in numbers]:
            raise SourceError(f"{self.labels.files[stray[0]]}: there is no such picture")
        return [numbers[n] for n in self.labels.files]

    def pictures(self, frames: Sequence[int], size: int) -> NDArray[np.uint8]:
        """Reads one picture after another."""
        try:
            each = [next(self.video.frames(f, f + 1, size=size)).pixels for f in frames]
        except VideoError as error:
            raise SourceError(str(error)) from error
        return np.stack(each)

    def masks(self, frame: int) -> NDArray[np.bool_]:
        """The mask of each object that the first annotation shows."""
        numbers = self.video.numbers
        try:
            first = self.labels.read(min(self.labels.files))
            labels = self.labels.read_like(first, numbers[frame])
        except EvaluationError as error:
            raise SourceError(str(error)) from error
        height, width = labels.shape
        info = self.video.info
        if (width, height) != (info.width, info.height):
            raise SourceError(
                f"{self.labels.files[numbers[frame]]}: is {width} x {height}, but the pictures "
                f"are {info.width} x {info.height}"
            )
        objects = [i for i in ids_in(first) if i != VOID]
        if not objects:
            raise SourceError(f"{min(self.labels.files.values())}: shows no object, and goes first")
        return np.stack([labels == i for i in objects])
