"""Things of synthetic clips: painted shapes on their ways, and the shadows that they cast."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sam2.training.shapes import Outline
from sam2.training.textures import Paint


@dataclass(frozen=True, slots=True)
class Path:
    """Where something is, and how fast it goes: a straight way with a sway across it."""

    start: tuple[float, float]
    velocity: tuple[float, float]
    sway: tuple[float, float]
    pace: float  # radians per frame
    phase: float

    def at(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """The place at each time (T, 1, 1) -> x and y, (T, 1, 1) each."""
        swing = torch.sin(self.pace * time + self.phase) - np.sin(self.phase)
        x, y = (
            start + velocity * time + sway * swing
            for start, velocity, sway in zip(self.start, self.velocity, self.sway, strict=True)
        )
        return x, y


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a thing in a paint of its own: what is nearer to its middle than to any other's."""

    texture: Paint
    u: float  # its middle, in the thing's own plane; the thing's main paint has its own at 0, 0
    v: float


@dataclass(frozen=True, slots=True)
class Shadow:
    """A thing's outline on the ground, beside it and darker."""

    x: float  # how far beside it, in the thing's radius
    y: float
    darkness: float  # 0..1


@dataclass(frozen=True, slots=True)
class Thing:
    """A painted shape on its way. Only an object counts; the others are there to hide objects."""

    shape: Outline
    texture: Paint
    path: Path
    size: float
    aspect: float
    angle: float
    spin: float
    growth: float  # per frame
    light: float  # how much brighter its lit side is
    is_object: bool = True
    patches: tuple[Patch, ...] = ()
    shadow: Shadow | None = None
    opacity: float = 1.0  # 0: nothing of it is seen

    def place(self, x: Tensor, y: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """World coordinates (T, H, W) in the thing's own plane: u and v."""
        centre_x, centre_y = self.path.at(time)
        angle = self.angle + self.spin * time
        scale = self.size * torch.exp(self.growth * time)
        x, y = (x - centre_x) / scale, (y - centre_y) / scale
        u = x * torch.cos(angle) + y * torch.sin(angle)
        v = y * torch.cos(angle) - x * torch.sin(angle)
        return u * self.aspect, v / self.aspect

    def paint(self, u: Tensor, v: Tensor) -> Tensor:
        """Its colour at each point of its own plane: (T, H, W) -> (T, 3, H, W), 0..1."""
        paint, nearest = self.texture.paint(u, v), u.square() + v.square()
        for patch in self.patches:
            distance = (u - patch.u).square() + (v - patch.v).square()
            nearer = distance < nearest
            paint = torch.where(nearer[:, None], patch.texture.paint(u, v), paint)
            nearest = torch.where(nearer, distance, nearest)
        return (paint * (1 - self.light * v.clamp(-1, 1))[:, None]).clamp(0, 1)

    def draw(self, picture: Tensor, x: Tensor, y: Tensor, time: Tensor) -> Tensor:
        """Draws it and its shadow on pictures (T, 3, S, S) in place -> what it covers, (T, S, S).

        World coordinates x and y (T, S, S), time (T, 1, 1). Only what it covers is painted.
        """
        if self.shadow:
            picture *= self._light_beside(self.shadow, x, y, time)
        u, v = self.place(x, y, time)
        depth = self.shape.depth(u, v, time) * self.size * picture.shape[-1]
        cover = (0.5 + depth).clamp(0, 1)
        frame, row, column = cover.nonzero(as_tuple=True)
        places = (frame, slice(None), row, column)
        paint = self.paint(u[frame, row, column][None, None], v[frame, row, column][None, None])
        share = self.opacity * cover[frame, row, column][:, None]
        picture[places] = torch.lerp(picture[places], paint[0, :, 0].T, share)
        return cover > 0.5

    def _light_beside(self, shadow: Shadow, x: Tensor, y: Tensor, time: Tensor) -> Tensor:
        """How much light its shadow leaves, (T, 1, S, S) in 0..1; the shadow's edges are soft."""
        beside = x - self.size * shadow.x, y - self.size * shadow.y
        depth = self.shape.depth(*self.place(*beside, time), time)
        return (1 - shadow.darkness * (0.5 + 4 * depth).clamp(0, 1))[:, None]
