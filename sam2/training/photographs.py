"""Pictures as paint for synthetic scenes: no label says what is on them, and none is needed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2.training.textures import Colour

SPANS = (0.1, 0.8)  # of a picture's longer half, over one unit of the plane


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """A part of a picture, turned and tinted."""

    picture: Tensor  # (3, H, W), 0..1
    centre: tuple[float, float]  # of the part; the picture reaches from -1 to 1
    span: float  # how much of the picture's longer half one unit of the plane shows
    angle: float

    @property
    def colours(self) -> tuple[Colour]:
        """Its mean colour."""
        red, green, blue = (float(value) for value in self.picture.mean(dim=(1, 2)))
        return ((red, green, blue),)

    def paint(self, u: Tensor, v: Tensor) -> Tensor:
        """The colour of each point: coordinates (T, H, W) -> (T, 3, H, W); mirrored beyond."""
        height, width = self.picture.shape[1:]
        cos, sin, longer = np.cos(self.angle), np.sin(self.angle), max(height, width)
        x = self.centre[0] + self.span * longer / width * (u * cos + v * sin)
        y = self.centre[1] + self.span * longer / height * (v * cos - u * sin)
        places = torch.stack((x, y), dim=-1).flatten(0, 1)[None]
        colours = F.grid_sample(
            self.picture.to(u)[None], places, "bilinear", "reflection", align_corners=False
        )
        return colours.view(3, *u.shape).transpose(0, 1)

    def finer(self, factor: float) -> Self:
        """The same paint where one unit of the plane shows `factor` units of this one."""
        return replace(self, span=self.span * factor)


def draw_photograph(
    rng: np.random.Generator, pictures: Sequence[Tensor], turn: float, pixels: float
) -> Photograph:
    """A random part of one of the pictures (3, H, W) uint8, turned up to `turn` radians.

    It is as sharp as it can be shown where one unit of the plane has so many pixels.
    """
    picture = pictures[int(rng.integers(len(pictures)))].float() / 255
    span = float(np.exp(rng.uniform(*np.log(SPANS))))
    while span * max(picture.shape[1:]) / 2 > 2 * pixels and min(picture.shape[1:]) > 1:
        picture = F.avg_pool2d(picture, 2)
    if rng.random() < 0.5:
        picture = picture.flip(-1)
    if rng.random() < 0.3:
        picture = picture[torch.from_numpy(rng.permutation(3))]
    picture = tinted(rng, picture)
    x, y = (float(place) for place in rng.uniform(-1, 1, 2))
    angle = float(rng.uniform(-turn, turn))
    return Photograph(picture, (x, y), span, angle)


def tinted(rng: np.random.Generator, picture: Tensor) -> Tensor:
    """A picture (3, H, W), 0..1, in a light of another colour."""
    tint = torch.from_numpy(rng.uniform(0.6, 1.3, 3)).to(picture).view(3, 1, 1)
    return (picture * tint).clamp(0, 1)
