"""What a step is made of: a few clips, which of their objects to follow, and how to prompt them."""

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from sam2.training.scenes import LabelledClip
from sam2.training.walk import Batch, Kind, Lesson

LEAST_PIXELS = 40  # of an object that is prompted, at the model's picture size
HIDING = 4.0  # how much likelier an object is chosen that is hidden at some time


def gather(clips: Sequence[LabelledClip], objects: int, rng: np.random.Generator) -> Batch | None:
    """A batch of these clips with at most `objects` objects of each; None if nothing shows.

    An object must show where the clip starts, for there it is prompted.
    """
    chosen = [_choose(clip, objects, rng) for clip in clips]
    truth = [clip.masks[ids] for clip, ids in zip(clips, chosen, strict=True) if ids]
    if not truth:
        return None
    shown = [clip for clip, ids in zip(clips, chosen, strict=True) if ids]
    counts = [len(masks) for masks in truth]
    rows = tuple(row for row, count in enumerate(counts) for _ in range(count))
    frames = torch.stack([clip.frames for clip in shown])
    return Batch(frames, torch.cat(truth), rows, tuple(clip.name for clip in shown))


def _choose(clip: LabelledClip, most: int, rng: np.random.Generator) -> list[int]:
    starts: Tensor = clip.masks[:, 0].flatten(1).sum(dim=1) >= LEAST_PIXELS
    fit = starts.nonzero()[:, 0].tolist()
    if len(fit) <= most:
        return list(fit)
    hides = 1 + (HIDING - 1) * (~clip.visible[fit]).any(dim=1).double().cpu().numpy()
    return sorted(int(i) for i in rng.choice(fit, most, replace=False, p=hides / hides.sum()))


def draw_lesson(
    rng: np.random.Generator,
    frames: int,
    prompts: Mapping[Kind, float],
    corrected: float,
) -> Lesson:
    """A lesson for clips of `frames` frames: how the first is prompted, and where clicks correct.

    `prompts` says how often each kind is the first prompt; each of two clicks is given with the
    chance `corrected`, on any frame. A single frame has no use for its own mask.
    """
    kinds = [kind for kind in get_args(Kind) if frames > 1 or kind != "mask"]
    shares = np.array([prompts.get(kind, 0.0) for kind in kinds])
    first = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
    earliest = 1 if first == "mask" else 0
    clicks = [int(rng.integers(earliest, frames)) for _ in range(2) if rng.random() < corrected]
    return Lesson(first, tuple(sorted(clicks)))
