"""Clips seen otherwise: what a few labelled videos need so that they are not learnt by heart.

SAM 2 paper, "Training": mirroring, affine maps, colours and greys, the same for all of a clip.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2.training.scenes import LabelledClip

TURN, SHEAR, SHIFT = 0.4, 0.2, 0.15  # largest: radians, and shares of the picture
SCALE, LIGHT, CONTRAST, COLOUR = 1.4, 1.3, 1.3, 1.5  # largest factors; as often below one
GREY = 0.05  # chance of a clip without colours


def vary(rng: np.random.Generator, clip: LabelledClip) -> LabelledClip:
    """The clip turned, mirrored, stretched, in other light, perhaps backwards; black beyond it."""
    frames, masks = clip.frames, clip.masks
    if rng.random() < 0.5:
        frames, masks = frames.flip(0), masks.flip(1)
    places = F.affine_grid(_draw_map(rng)[None], [1, 1, *frames.shape[2:]], align_corners=False)
    seen = _look(frames.float() / 255, places)
    shown = _look(masks.float(), places) >= 0.5
    return LabelledClip((_recolour(rng, seen) * 255).round().to(torch.uint8), shown, clip.name)


def _look(x: Tensor, places: Tensor) -> Tensor:
    """Pictures (T, C, S, S), read at places (1, S, S, 2)."""
    places = places.to(x.device).expand(len(x), -1, -1, -1)
    return F.grid_sample(x, places, align_corners=False)


def _draw_map(rng: np.random.Generator) -> Tensor:
    """A map from places of the new picture to such of the old, (2, 3)."""
    angle, shear = rng.uniform(-TURN, TURN), rng.uniform(-SHEAR, SHEAR)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1, shear], [0, 1]]) * _factor(rng, SCALE)
    linear[:, 0] *= 1 if rng.random() < 0.5 else -1
    shift = rng.uniform(-2 * SHIFT, 2 * SHIFT, (2, 1))
    return torch.from_numpy(np.concatenate((linear, shift), axis=1)).float()


def _recolour(rng: np.random.Generator, pictures: Tensor) -> Tensor:
    """Other light, contrast and strength of colours: (T, 3, S, S) in 0..1."""
    light, contrast, colour = (_factor(rng, most) for most in (LIGHT, CONTRAST, COLOUR))
    grey = pictures.mean(dim=1, keepdim=True)
    pictures = grey + (0 if rng.random() < GREY else colour) * (pictures - grey)
    return (light * (grey.mean() + contrast * (pictures - grey.mean()))).clamp(0, 1)


def _factor(rng: np.random.Generator, most: float) -> float:
    return float(np.exp(rng.uniform(-1, 1) * np.log(most)))
