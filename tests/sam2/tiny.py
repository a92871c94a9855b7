"""A SAM 2 small enough to run in milliseconds, clips for it, and the video that the engine reads.

The weights are random but come from a recipe that depends on numpy's frozen generator alone, with
scales at which masks are partly filled, objects come and go, and memory decides what is seen.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2.config import ModelConfig, Precision, TrunkConfig
from sam2.images import normalise
from sam2.model import FrameFeatures, Sam2
from sam2.precision import set_precision
from sam2.tracking import FrameMask

SIZE = 64
TINY = ModelConfig(
    name="tiny",
    # The third stage has a window that its map of 4x4 does not divide by, so padding takes part.
    trunk=TrunkConfig(8, 1, (1, 1, 2, 1), (4, 2, 3, 2), (3,), 4),
    image_size=SIZE,
    channels=32,
    memory_channels=16,
    memory_layers=2,
    feedforward=64,
    memory_span=3,  # short spans, so that short clips reach beyond them
    pointer_span=6,
)
TINY_2_0 = replace(TINY, name="tiny-2.0", absent_memory=False, pointer_positions=False)

# (part of the key, gain) for matrices and convolutions; the first that fits counts.
_GAINS = (
    ("pred_obj_score_head.layers.2", 8.0),
    ("iou_prediction_head.layers.2", 4.0),
    ("token_to_image.v_proj", 2.5),
    ("mask_decoder.transformer", 1.5),
    ("cross_attn_image.v_proj", 3.0),
    ("cross_attn_image.out_proj", 3.0),
    ("memory_attention.layers", 1.4),
    ("attn.qkv", 1.6),
    ("output_upscaling", 1.6),
    ("memory_encoder.mask_downsampler.encoder.12", 6.0),
    ("memory_encoder.out_proj", 0.2),
)


def weight(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The weight called `key`; it does not depend on which others are made."""
    words = [seed, zlib.crc32(key.encode())]
    noise = np.random.RandomState(words).standard_normal(shape).astype(np.float32)
    if key.endswith("gaussian_matrix"):
        return torch.from_numpy(noise)
    if key.endswith(".bias"):
        return torch.from_numpy(0.05 * noise)
    if key.endswith("gamma"):
        return torch.from_numpy(0.5 + 0.1 * noise)
    if key.endswith(".weight") and len(shape) == 1:  # of a norm
        return torch.from_numpy(1 + 0.1 * noise)
    if not key.endswith(".weight") or (len(shape) == 2 and shape[0] <= 4 and "embed" in key):
        return torch.from_numpy(0.5 * noise)
    fan_in = shape[0] if "output_upscaling" in key else math.prod(shape[1:])
    gain = next((gain for part, gain in _GAINS if part in key), 1.0)
    return torch.from_numpy(noise * np.float32(gain / math.sqrt(fan_in)))


def weights(config: ModelConfig = TINY, seed: int = 7) -> dict[str, Tensor]:
    """The state dict of a model of this size."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Sam2(config).state_dict().items()}
    return {key: weight(key, tuple(shape), seed) for key, shape in shapes.items()}


@cache
def tiny_model(
    config: ModelConfig = TINY,
    seed: int = 7,
    score_shift: float = 0.0,
    precision: Precision = "exact",
) -> Sam2:
    """A model with such weights; `score_shift` makes objects be there more often, or less."""
    state = weights(config, seed)
    state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] += score_shift
    with torch.inference_mode(False):  # weights made in it could never be used outside of it
        model = Sam2(config)
        model.load_state_dict(state, strict=True)
        return set_precision(model.eval(), precision)


@cache
def pictures(count: int, seed: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    """A clip (count, size, size, 3): two squares that wander over a patchy ground."""
    random = np.random.RandomState(seed)
    ground = random.randint(0, 160, (size // 8, size // 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
    clip = np.repeat(ground[None], count, axis=0)
    half, side = size // 2, size // 4
    for t, frame in enumerate(clip):
        for colour, speed in (((250, 40, 90), 3), ((20, 220, 120), -5)):
            y, x = (half // 2 + 2 * speed * t) % (size - side), (half + speed * t) % (size - side)
            frame[y : y + side, x : x + side] = colour
    return clip.astype(np.uint8)


@dataclass(frozen=True)
class FakeFrame:
    """One frame of the clip below."""

    index: int
    pixels: NDArray[np.uint8]


class FakeClip:
    """Pictures as a video that can be walked through both ways; some of its frames are lost."""

    def __init__(self, pictures: NDArray[np.uint8], lost: frozenset[int] = frozenset()) -> None:
        self.pictures = pictures
        self.lost = lost

    def frames(self, start: int, stop: int, *, size: int) -> Iterator[FakeFrame]:
        yield from self._at(range(start, stop), size)

    def frames_reversed(self, start: int, stop: int, *, size: int) -> Iterator[FakeFrame]:
        yield from self._at(range(stop - 1, start - 1, -1), size)

    def _at(self, indices: range, size: int) -> Iterator[FakeFrame]:
        assert self.pictures.shape[1:3] == (size, size)
        for index in indices:
            if index not in self.lost and index < len(self.pictures):
                yield FakeFrame(index, self.pictures[index])


def ready(pictures: NDArray[np.uint8]) -> list[Tensor]:
    """The clip as a session reads it: one normalised (3, S, S) for each frame."""
    return [*normalise(torch.from_numpy(pictures).permute(0, 3, 1, 2))]


@torch.inference_mode()
def features_of(model: Sam2, pictures: NDArray[np.uint8]) -> FrameFeatures:
    """The features of all frames of a clip."""
    return model.encode(torch.stack(ready(pictures)))


def same(one: FrameMask, other: FrameMask) -> bool:
    """Whether two answers are equal to the last bit."""
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("mask", "iou", "score", "pointer")
    )
