"""Outlines of synthetic objects: how deep inside a shape each point of its own plane lies.

A shape lives in a plane where it is about one unit in radius. Every function takes coordinates u, v
(T, H, W) and the time in frames (T, 1, 1), and returns a depth (T, H, W): positive inside, in the
same unit, falling about as fast as the distance to the outline grows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Outline(Protocol):
    """Where a thing ends."""

    def depth(self, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
        """Depth inside it, (T, H, W); negative outside."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One outline: its family, and numbers in 0..1 that tell it from others of the family."""

    family: str
    traits: tuple[float, ...]
    deformation: float  # how much it changes as time passes; 0: rigid

    def depth(self, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
        """Depth inside the shape, (T, H, W); negative outside."""
        return FAMILIES[self.family](self, u, v, time)


def draw_shape(rng: np.random.Generator, families: tuple[str, ...], deformation: float) -> Shape:
    """A random outline of one of the families."""
    family = families[rng.integers(len(families))]
    return Shape(family, tuple(rng.random(12)), deformation)


def _polar(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return torch.hypot(u, v), torch.atan2(v, u)


def _swing(shape: Shape, index: int, time: Tensor) -> Tensor:
    """An angle that swings with time, about 0; (T, 1, 1)."""
    pace = 0.15 + 0.35 * shape.traits[index]
    return shape.deformation * torch.sin(pace * time + 6.3 * shape.traits[index - 1])


def _blob(shape: Shape, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
    """A round body with a few waves in its outline, which travel round it."""
    radius, angle = _polar(u, v)
    edge = torch.full_like(radius, 0.85)
    for wave in (2, 3, 5):
        phase = 6.3 * shape.traits[wave] + shape.deformation * time * (shape.traits[wave + 1] - 0.5)
        edge = edge + 0.3 * shape.traits[wave + 2] / wave**0.5 * torch.cos(wave * angle + phase)
    return edge - radius


def _superellipse(shape: Shape, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
    """From a diamond over an ellipse to a box with round corners, breathing."""
    power = 1.2 + 5 * shape.traits[0] ** 2
    breath = 1 + 0.3 * _swing(shape, 2, time)
    radius = ((u / breath).abs() ** power + (v * breath).abs() ** power + 1e-6) ** (1 / power)
    return 0.9 - radius


def _polygon(shape: Shape, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
    """What three to seven straight cuts leave: most often a polygon, skewed as time passes."""
    sides = 3 + int(5 * shape.traits[0])
    u = u + 0.6 * _swing(shape, 2, time) * v
    depth = torch.full_like(u, 2.0)
    for side in range(sides):
        angle = 2 * math.pi * (side + 0.5 * (shape.traits[3 + side] - 0.5)) / sides
        reach = 0.55 + 0.3 * shape.traits[11 - side]
        depth = torch.minimum(depth, reach - u * math.cos(angle) - v * math.sin(angle))
    return depth


def _limbs(shape: Shape, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
    """A round body with two to four limbs that swing."""
    depth = 0.42 + 0.2 * shape.traits[0] - torch.hypot(u, v * (0.8 + 0.5 * shape.traits[1]))
    for limb in range(2 + int(3 * shape.traits[2])):
        angle = 6.3 * shape.traits[3 + limb] + 1.2 * _swing(shape, 7 + limb, time)
        along = u * torch.cos(angle) + v * torch.sin(angle)
        across = v * torch.cos(angle) - u * torch.sin(angle)
        beyond = along - along.clamp(0, 0.75 + 0.3 * shape.traits[6 + limb])
        depth = torch.maximum(depth, 0.14 + 0.1 * shape.traits[1] - torch.hypot(beyond, across))
    return depth


def _ring(shape: Shape, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
    """A ring, thick or thin, that breathes."""
    width = 0.16 + 0.16 * shape.traits[0]
    middle = 0.95 - width + 0.15 * _swing(shape, 2, time)
    return width - (torch.hypot(u, v) - middle).abs()


def _pair(shape: Shape, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
    """Two overlapping ellipses, a head on a body, that nod."""
    angle = 6.3 * shape.traits[3] + _swing(shape, 5, time)
    x, y = u - 0.6 * torch.cos(angle), v - 0.6 * torch.sin(angle)
    body = 0.7 - torch.hypot(u * (0.8 + 0.6 * shape.traits[0]), v)
    head = 0.35 + 0.15 * shape.traits[1] - torch.hypot(x, y)
    return torch.maximum(body, head)


def _cluster(shape: Shape, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
    """A body with one to four lumps on it, long or round, each of which sways."""
    depth = 0.3 + 0.3 * shape.traits[0] - torch.hypot(u * (0.7 + 0.6 * shape.traits[1]), v)
    for lump in range(1 + int(4 * shape.traits[2])):
        angle = 6.3 * shape.traits[3 + lump] + _swing(shape, 7 + lump, time)
        reach = 0.25 + 0.3 * shape.traits[8 - lump]
        along = u * torch.cos(angle) + v * torch.sin(angle) - reach
        across = v * torch.cos(angle) - u * torch.sin(angle)
        width = 0.6 + 1.2 * shape.traits[11 - lump]  # below one it is long, above it is broad
        size = 0.2 + 0.2 * shape.traits[6 + lump]
        depth = torch.maximum(depth, size - torch.hypot(along * width, across / width))
    return depth


def _star(shape: Shape, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
    """A star of four to seven points, which lengthen and shorten."""
    radius, angle = _polar(u, v)
    points = 4 + int(4 * shape.traits[0])
    peak = torch.acos(0.97 * torch.cos(points * angle)) / math.pi  # 0 at a point, 1 between two
    slope = 0.3 + 0.2 * shape.traits[1] + 0.15 * _swing(shape, 3, time)
    return (1 - slope * 1.1 * peak - radius) * 0.8


def _crescent(shape: Shape, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
    """A disk without a bite, which moves."""
    bite = torch.hypot(u - 0.75 - 0.2 * shape.traits[0] - 0.2 * _swing(shape, 2, time), v)
    return torch.minimum(0.95 - torch.hypot(u, v), bite - 0.55 - 0.15 * shape.traits[1])


def _cross(shape: Shape, u: Tensor, v: Tensor, time: Tensor) -> Tensor:
    """Two bars at an angle that opens and closes."""
    opening = math.pi / 2 + 0.8 * _swing(shape, 2, time)
    width = 0.18 + 0.14 * shape.traits[0]
    first = torch.minimum(width - v.abs(), 0.95 - u.abs())
    x = u * torch.cos(opening) + v * torch.sin(opening)
    y = v * torch.cos(opening) - u * torch.sin(opening)
    return torch.maximum(first, torch.minimum(width - y.abs(), 0.95 - x.abs()))


FAMILIES: dict[str, Callable[[Shape, Tensor, Tensor, Tensor], Tensor]] = {
    "blob": _blob,
    "superellipse": _superellipse,
    "polygon": _polygon,
    "limbs": _limbs,
    "ring": _ring,
    "pair": _pair,
    "cluster": _cluster,
    "star": _star,
    "crescent": _crescent,
    "cross": _cross,
}
TRAINED = ("blob", "superellipse", "polygon", "limbs", "ring", "pair")
VARIED = (*TRAINED, "cluster", "cluster", "limbs")  # the more of what differs most in itself
HELD_OUT = ("star", "crescent", "cross")  # no training ever sees these
