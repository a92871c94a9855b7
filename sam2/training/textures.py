"""Paint for synthetic objects and backgrounds: a colour for each point of a plane."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Colour = tuple[float, float, float]  # red, green, blue, 0..1


class Paint(Protocol):
    """What a surface is painted with."""

    @property
    def colours(self) -> tuple[Colour, ...]:
        """Its main colour, and others."""

    def paint(self, u: Tensor, v: Tensor) -> Tensor:
        """The colour of each point: coordinates (T, H, W) -> (T, 3, H, W), 0..1."""

    def finer(self, factor: float) -> Self:
        """The same paint where one unit of the plane shows `factor` units of this one."""


@dataclass(frozen=True, slots=True)
class Texture:
    """Two colours and the pattern that mixes them."""

    pattern: str
    colours: tuple[Colour, Colour]
    scale: float  # how many times the pattern repeats over one unit of the plane
    angle: float
    seed: int

    def paint(self, u: Tensor, v: Tensor) -> Tensor:
        """The colour of each point: coordinates (T, H, W) -> (T, 3, H, W), 0..1."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = self.scale * (u * cos + v * sin), self.scale * (v * cos - u * sin)
        share = PATTERNS[self.pattern](self, x, y)[:, None]
        first, second = (
            torch.tensor(c, dtype=u.dtype, device=u.device).view(1, 3, 1, 1) for c in self.colours
        )
        return torch.lerp(first, second, share)

    def finer(self, factor: float) -> Self:
        """The same paint where one unit of the plane shows `factor` units of this one."""
        return replace(self, scale=self.scale * factor)


def draw_texture(
    rng: np.random.Generator, patterns: tuple[str, ...], contrast: float, base: Colour | None = None
) -> Texture:
    """A random paint; `contrast` 0..1 is how far its two colours may lie apart."""
    first = base or draw_colour(rng)
    towards = draw_colour(rng)
    second = np.clip(first + 1.4 * contrast * np.subtract(towards, first), 0, 1)
    return Texture(
        pattern=patterns[rng.integers(len(patterns))],
        colours=(first, _colour(second)),
        scale=float(np.exp(rng.uniform(-0.2, 1.6))),
        angle=float(rng.uniform(0, np.pi)),
        seed=int(rng.integers(2**31)),
    )


def draw_colour(rng: np.random.Generator) -> Colour:
    """A random colour, more often a dull one than a pure one, as in the world."""
    pure = rng.random(3)
    return _colour(pure.mean() + rng.random() ** 0.7 * (pure - pure.mean()))


def _colour(values: NDArray[np.float64]) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _plain(texture: Texture, x: Tensor, y: Tensor) -> Tensor:
    return torch.zeros_like(x)


def _gradient(texture: Texture, x: Tensor, y: Tensor) -> Tensor:
    return (0.5 + 0.4 * x / texture.scale).clamp(0, 1)


def _stripes(texture: Texture, x: Tensor, y: Tensor) -> Tensor:
    return (0.5 + 2 * torch.sin(6.3 * x)).clamp(0, 1)


def _checks(texture: Texture, x: Tensor, y: Tensor) -> Tensor:
    return (0.5 + 3 * torch.sin(4 * x) * torch.sin(4 * y)).clamp(0, 1)


def _spots(texture: Texture, x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.round(), y - y.round()
    return (0.5 + 8 * (0.3 - torch.hypot(x, y))).clamp(0, 1)


def _clouds(texture: Texture, x: Tensor, y: Tensor) -> Tensor:
    """Noise of several sizes."""
    noise = _noise(texture.seed, 128, ((4, 0.5), (12, 0.3), (40, 0.25)))
    return (2 * _read(noise, x, y) - 0.55).clamp(0, 1)


def _grain(texture: Texture, x: Tensor, y: Tensor) -> Tensor:
    """Noise of all sizes, the fine weaker in proportion to its size, as in photographs."""
    noise = _noise(texture.seed, 256, tuple((4 * 2**i, 0.5 * 0.6**i) for i in range(6)))
    return (1.6 * _read(noise, x, y) - 0.35).clamp(0, 1)


def _mosaic(texture: Texture, x: Tensor, y: Tensor) -> Tensor:
    """Patches with crooked edges, each of a shade of its own."""
    bend = _noise(texture.seed, 64, ((6, 1.0),))
    x, y = x + 0.5 * _read(bend, x, y), y + 0.5 * _read(bend, y, x)
    return _read(_noise(texture.seed + 1, 12, ((12, 1.0),)), x, y, "nearest")


def _noise(seed: int, size: int, waves: Sequence[tuple[int, float]]) -> Tensor:
    """A square of noise: random numbers on so many cells, smoothed, times their weights; summed."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.zeros(1, 1, size, size)
    for cells, weight in waves:
        coarse = torch.rand(1, 1, cells, cells, generator=generator)
        noise += weight * F.interpolate(coarse, size=(size, size), mode="bicubic")
    return noise


def _read(noise: Tensor, x: Tensor, y: Tensor, mode: str = "bilinear") -> Tensor:
    """A square of noise at these places; it spans four units and is mirrored beyond them."""
    places = torch.stack((x, y), dim=-1).flatten(0, 1)[None] / 2
    shares = F.grid_sample(noise.to(x), places, mode, "reflection", align_corners=False)
    return shares.view_as(x)


def _waves(texture: Texture, x: Tensor, y: Tensor) -> Tensor:
    return 0.5 + 0.5 * torch.sin(5 * x + 1.5 * torch.sin(3 * y))


def _rings(texture: Texture, x: Tensor, y: Tensor) -> Tensor:
    return (0.5 + 2 * torch.sin(7 * torch.hypot(x, y))).clamp(0, 1)


PATTERNS: dict[str, Callable[[Texture, Tensor, Tensor], Tensor]] = {
    "plain": _plain,
    "gradient": _gradient,
    "stripes": _stripes,
    "checks": _checks,
    "spots": _spots,
    "clouds": _clouds,
    "grain": _grain,
    "mosaic": _mosaic,
    "waves": _waves,
    "rings": _rings,
}
CALM = ("plain", "gradient")
NATURAL = ("gradient", "clouds", "grain", "mosaic")
TRAINED = ("plain", "gradient", "stripes", "checks", "spots", "clouds")
HELD_OUT = ("waves", "rings", "clouds")  # of the medium and hard test clips
