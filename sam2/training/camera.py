"""The camera of synthetic clips: where it looks, and what its lens and its file do to a picture."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8  # side of the blocks that compression works on


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera that drifts and zooms; speeds are shares of the picture's side per frame."""

    drift: tuple[float, float]
    zoom: float  # change of scale per frame
    stretch: float  # how much wider than high the world is shown

    def look(self, size: int, time: Tensor) -> tuple[Tensor, Tensor]:
        """World coordinates x and y of every pixel at each time (T, 1, 1) -> (T, S, S) each."""
        line = (torch.arange(size, device=time.device) + 0.5) / size - 0.5
        scale = torch.exp(self.zoom * time)
        x = line.view(1, 1, -1) * scale * self.stretch + 0.5 + self.drift[0] * time
        y = line.view(1, -1, 1) * scale / self.stretch + 0.5 + self.drift[1] * time
        shape = (len(time), size, size)
        return x.expand(shape), y.expand(shape)


@dataclass(frozen=True, slots=True)
class Lens:
    """What happens to a picture on its way into a file."""

    blur: float  # share of a three-pixel blur
    gain: float  # of the light, largest change
    pace: float  # of the light, radians per frame
    noise: float  # standard deviation, 0..1
    compression: float  # step to which frequencies are rounded, 0..1; 0: none
    seed: int

    def take(self, picture: Tensor, time: Tensor) -> Tensor:
        """Pictures (T, 3, S, S) in 0..1 -> as a file would hold them, uint8."""
        picture = picture * (1 + self.gain * torch.sin(self.pace * time))[:, None]
        if self.blur > 0.05:
            soft = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            picture = torch.lerp(picture, soft, self.blur)
        if self.noise > 0.002:
            generator = torch.Generator(picture.device).manual_seed(self.seed)
            noise = torch.randn(picture.shape, generator=generator, device=picture.device)
            picture = picture + self.noise * noise
        if self.compression > 0.01:
            picture = compress(picture, self.compression)
        return (picture * 255).round().clamp(0, 255).to(torch.uint8)


def draw_camera(rng: np.random.Generator, speed: float, stretch: float) -> Camera:
    """A random camera no faster than `speed`, that shows the world up to e^(2 `stretch`) too wide.

    Models see every picture as a square, and so anything on one of 16:9 as 1.8 times too narrow.
    """
    drift = rng.uniform(-speed, speed, 2)
    return Camera(
        drift=(float(drift[0]), float(drift[1])),
        zoom=float(rng.uniform(-1, 1)) * speed,
        stretch=float(np.exp(rng.uniform(-stretch, stretch))),
    )


def draw_lens(rng: np.random.Generator, strength: float) -> Lens:
    """A random lens; at strength 0 it does nothing."""
    return Lens(
        blur=strength * float(rng.random()),
        gain=strength * float(rng.uniform(-0.2, 0.2)),
        pace=float(rng.uniform(0.05, 0.4)),
        noise=strength * 0.05 * float(rng.random()) ** 2,
        compression=strength * 0.2 * float(rng.random()) ** 2,
        seed=int(rng.integers(2**31)),
    )


def compress(picture: Tensor, step: float) -> Tensor:
    """Rounds the frequencies of each 8x8 block, high ones more coarsely, as JPEG does."""
    height, width = picture.shape[-2:]
    if height % BLOCK or width % BLOCK:
        raise ValueError(f"a picture of {width} x {height} cannot be cut into blocks of {BLOCK}")
    place = torch.arange(BLOCK, dtype=picture.dtype, device=picture.device)
    cosines = torch.cos(torch.pi / BLOCK * place[:, None] * (place + 0.5)) * (2 / BLOCK) ** 0.5
    cosines[0] /= 2**0.5  # orthonormal
    coarseness = step * (0.2 + (place[:, None] + place) / BLOCK)
    blocks = picture.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK)  # (T, 3, h, w, 8, 8)
    frequencies = cosines @ blocks @ cosines.T
    blocks = cosines.T @ ((frequencies / coarseness).round() * coarseness) @ cosines
    compressed: Tensor = blocks.transpose(3, 4).reshape(picture.shape)
    return compressed
