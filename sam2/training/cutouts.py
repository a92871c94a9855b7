"""Things cut out of pictures with a transparent ground: outlines and paints as real things have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2.training.photographs import Photograph, tinted

REACH = 8  # pixels on both sides of an outline over which depth is told


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """The outline of what such a picture shows; its longer side is two units of the plane."""

    field: Tensor  # (H, W) depth in pixels, of the picture and REACH pixels around it

    def depth(self, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
        """Depth inside the outline at coordinates (T, H, W), as `Shape.depth` has it; rigid."""
        height, width = self.field.shape
        unit = (max(height, width) - 2 * REACH) / 2  # in pixels
        places = torch.stack((2 * unit / width * u, 2 * unit / height * v), dim=-1).flatten(0, 1)
        depth = F.grid_sample(
            self.field.to(u)[None, None], places[None], "bilinear", "border", align_corners=False
        )
        return depth.view_as(u) / unit


def draw_cutout(
    rng: np.random.Generator, pictures: Sequence[Tensor], pixels: float
) -> tuple[Cutout, Photograph]:
    """The thing on one of the pictures (4, H, W) uint8, the last of four its opacity.

    It is as sharp as it can be shown where one unit of the plane has so many pixels.
    """
    picture = pictures[int(rng.integers(len(pictures)))].float() / 255
    picture = torch.cat((picture[:3] * picture[3:], picture[3:]))
    while max(picture.shape[1:]) > 4 * pixels and min(picture.shape[1:]) > 1:
        picture = F.avg_pool2d(picture, 2)
    if rng.random() < 0.5:
        picture = picture.flip(-1)
    paint, opacity = picture[:3], picture[3]
    mean = paint.sum(dim=(1, 2)) / opacity.sum().clamp(min=1e-6)
    paint = torch.where(opacity > 0.02, paint / opacity.clamp(min=0.02), mean[:, None, None])
    return Cutout(depth_of(opacity)), Photograph(tinted(rng, paint), (0.0, 0.0), 1.0, 0.0)


def depth_of(opacity: Tensor) -> Tensor:
    """How many pixels each pixel lies inside an outline, up to REACH; negative outside.

    Opacity (H, W) -> (H + 2 REACH, W + 2 REACH): half a pixel's opacity is its distance to the
    outline; beyond that, how often the thing can shrink, or grow, by a pixel before it is reached.
    """
    thin = wide = F.pad(opacity, (REACH,) * 4)[None, None]
    depth = thin - 0.5
    for _ in range(REACH):
        thin, wide = -F.max_pool2d(-thin, 3, 1, 1), F.max_pool2d(wide, 3, 1, 1)
        depth = depth + thin - (1 - wide)
    return depth[0, 0]
