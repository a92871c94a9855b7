"""Where clips come from: drawn scenes, our own masklets, folders like those of DAVIS."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pipeline.frame_folder import PICTURES, open_picture
from pipeline.training.config import Source
from pipeline.training.labelled import (
    LabelledVideo,
    SourceError,
    davis_videos,
    masklet_videos,
)
from pipeline.video import VideoError
from sam2.training.scenes import EASY, HARD, MEDIUM, WILD, Difficulty, LabelledClip, draw_scene
from sam2.training.variation import vary

LEVELS = {"easy": EASY, "medium": MEDIUM, "hard": HARD, "wild": WILD}
CROWD = (2, 6)  # objects of a training scene: more than one follows can be drawn from it
STRIDES = (0.5, 3.0)  # units of time from one frame of a scene to the next
LONGEST_SCENE = 3.0  # times the clip: what takes its time begins or ends outside
LARGEST = 640  # pixels of a side that a picture is kept with
LONGEST_STRIDE = 3  # frames of a video from one frame of a clip to the next


class ClipSource(Protocol):
    """Something that clips can be drawn from."""

    def draw(self, rng: np.random.Generator, frames: int, size: int, device: str) -> LabelledClip:
        """A clip of `frames` square frames of side `size`."""


class SyntheticClips:
    """Scenes of one difficulty; the same random state draws the same clip."""

    def __init__(self, level: Difficulty) -> None:
        self.level = replace(level, things=CROWD)

    def draw(self, rng: np.random.Generator, frames: int, size: int, device: str) -> LabelledClip:
        """A clip of a new scene, fast or slow; all that happens, or a part of it."""
        stride, longer = (
            float(np.exp(rng.uniform(*np.log(span)))) for span in (STRIDES, (1.0, LONGEST_SCENE))
        )
        length = frames * stride
        scene = draw_scene(rng, self.level, frames=max(round(length * longer), 4))
        start = float(rng.uniform(0, length * (longer - 1)))
        return scene.render(frames, size, stride, device, start)


class LabelledClips:
    """Parts of videos whose objects are known."""

    def __init__(self, videos: Sequence[LabelledVideo], longest: int) -> None:
        self.videos: list[LabelledVideo] = []
        for video in videos:
            if len(video.known) >= longest:
                self.videos.append(video)
                continue
            found = f"has {len(video.known)} frames on which all its objects are known"
            print(f"{video.name}: {found}, too few for a clip: left out", file=sys.stderr)
        if not self.videos:
            raise SourceError(
                f"{videos[0].name}: like all others has fewer than the {longest} frames with masks "
                "that a stage's clips want: make those shorter, or give longer videos"
            )

    def draw(self, rng: np.random.Generator, frames: int, size: int, device: str) -> LabelledClip:
        """A clip of one of the videos, from a random frame on, its frames evenly apart."""
        video = self.videos[int(rng.integers(len(self.videos)))]
        widest = min(LONGEST_STRIDE, (len(video.known) - 1) // max(frames - 1, 1))
        stride = int(rng.integers(1, max(widest, 1) + 1))
        first = int(rng.integers(len(video.known) - stride * (frames - 1)))
        numbers = [video.known[first + stride * i] for i in range(frames)]
        pixels = torch.from_numpy(video.pictures(numbers, size)).permute(0, 3, 1, 2)
        truth = torch.from_numpy(np.stack([video.masks(n) for n in numbers], axis=1))
        masks = interpolate(truth.float(), size=(size, size), mode="area") >= 0.5
        name = f"{video.name}, frames {numbers[0]} to {numbers[-1]}"
        return LabelledClip(pixels.contiguous().to(device), masks.contiguous().to(device), name)


class VariedClips:
    """The clips of another source, each seen otherwise every time."""

    def __init__(self, source: ClipSource) -> None:
        self.source = source

    def draw(self, rng: np.random.Generator, frames: int, size: int, device: str) -> LabelledClip:
        """A clip of the source, varied."""
        return vary(rng, self.source.draw(rng, frames, size, device))


class Mixture:
    """Several sources, each drawn from by its share."""

    def __init__(self, sources: Sequence[Source], longest: int) -> None:
        self.sources = [open_source(source, longest) for source in sources]
        shares = np.array([source.share for source in sources])
        self.shares = shares / shares.sum()

    def draw(self, rng: np.random.Generator, frames: int, size: int, device: str) -> LabelledClip:
        """A clip of one of them."""
        chosen = self.sources[rng.choice(len(self.sources), p=self.shares)]
        return chosen.draw(rng, frames, size, device)


def open_source(source: Source, longest: int) -> ClipSource:
    """The source that the settings name, for clips up to `longest` frames; raises SourceError."""
    if source.masklets is not None:
        return VariedClips(LabelledClips(masklet_videos(source.masklets), longest))
    if source.davis is not None:
        return VariedClips(LabelledClips(davis_videos(Path(source.davis)), longest))
    assert source.synthetic is not None  # one of the three is given
    level = LEVELS[source.synthetic]
    if source.pictures is not None:
        photographs, cutouts = read_pictures(Path(source.pictures))
        level = replace(level, photographs=photographs, cutouts=cutouts)
    return SyntheticClips(level)


def read_pictures(folder: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The pictures in a folder, uint8, no side above LARGEST; raises SourceError.

    First those that fill their frames, (3, H, W), then things on a transparent ground, (4, H, W).
    """
    try:
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in PICTURES)
        if not files:
            raise SourceError(f"{folder}: holds no pictures ({', '.join(PICTURES)})")
        pictures = [_read_picture(file) for file in files]
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror}: give a folder of pictures") from error
    except VideoError as error:
        raise SourceError(str(error)) from error
    full, cut = (tuple(p for p in pictures if len(p) == channels) for channels in (3, 4))
    return full, cut


def _read_picture(file: Path) -> Tensor:
    with open_picture(file) as picture:
        clear = picture.has_transparency_data
        small = picture.convert("RGBA" if clear else "RGB")
    small.thumbnail((LARGEST, LARGEST))
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()
    if clear and not (pixels[3] > 127).any():
        raise SourceError(f"{file}: is transparent everywhere: take it out of the folder")
    return pixels[:3] if clear and (pixels[3] == 255).all() else pixels
