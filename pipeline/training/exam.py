"""The exam of a model: synthetic clips that no training sees, tracked as in earnest, and scored.

Three tiers, fixed by their seeds. Their shapes are of families that training never draws.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.evaluation.metric import compare
from sam2.engine import Engine
from sam2.images import normalise
from sam2.model import Sam2
from sam2.prompts import MaskPrompt, PointPrompt, Prompt
from sam2.session import Session
from sam2.task import TrackTask
from sam2.training import shapes, textures
from sam2.training.scenes import EASY, HARD, MEDIUM, Difficulty, LabelledClip, draw_scene
from sam2.training.walk import Kind

FRAMES = 24
LEAST_PIXELS = 150  # at the start, of an object that is asked for
TIERS: Mapping[str, Difficulty] = {
    "easy": replace(EASY, families=shapes.HELD_OUT),
    "medium": replace(MEDIUM, families=shapes.HELD_OUT, backgrounds=textures.HELD_OUT),
    "hard": replace(
        HARD, families=shapes.HELD_OUT, patterns=textures.HELD_OUT, backgrounds=textures.HELD_OUT
    ),
}
PRACTICE_FRAMES = 8
# Trainings draw from three numbers, so never from four that end in 1.
_SEEDS = {"easy": 71, "medium": 72, "hard": 73}
_PRACTICE = 70


@dataclass(frozen=True, slots=True)
class Mark:
    """How one object was tracked."""

    jf: float  # mean over the frames after the first
    frozen: float  # the same of its first mask, held still
    hidden: tuple[bool, ...]  # of the frames on which it is hidden: whether the model said so
    shown: tuple[bool, ...]  # of those on which it shows: whether the model said so
    by_frame: tuple[float, ...]


def exam_clips(tier: str, number: int, size: int) -> list[LabelledClip]:
    """The first `number` clips of a tier, as long as the exam's."""
    return list(islice(_clips(TIERS[tier], _SEEDS[tier], FRAMES, size), number))


def practice_clips(number: int, size: int) -> list[LabelledClip]:
    """Short clips of middling difficulty, to watch a training by: families that it knows."""
    return list(islice(_clips(MEDIUM, _PRACTICE, PRACTICE_FRAMES, size), number))


def _clips(level: Difficulty, seed: int, frames: int, size: int) -> Iterator[LabelledClip]:
    """Clips one after another; of their objects only those that can be asked for."""
    for number in count():
        rng = np.random.default_rng([seed, number, 0, 1])
        scene = draw_scene(rng, level, frames)
        clip = scene.render(frames, size)
        large = clip.masks[:, 0].flatten(1).sum(dim=1) >= LEAST_PIXELS
        if large.any():
            yield LabelledClip(clip.frames, clip.masks[large])


def first_prompt(kind: Kind, mask: NDArray[np.bool_]) -> Prompt:
    """A click in the middle of a mask, the box round it, or the mask itself."""
    if kind == "mask":
        return MaskPrompt(torch.from_numpy(mask))
    rows, columns = np.nonzero(mask)
    if kind == "box":
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        left, top, right, bottom = (float(edge) for edge in box)
        return PointPrompt(box=(left, top, right, bottom))
    x, y = middle(mask)
    return PointPrompt(points=((x, y),), labels=(1,))


def middle(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """The point of a mask that lies deepest inside it, x then y."""
    inside, left = mask, mask
    while left.any():
        inside = left
        padded = np.pad(left, 1)
        left = (
            padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1]
            & padded[1:-1, :-2] & padded[1:-1, 2:]
        )  # fmt: skip
    rows, columns = np.nonzero(inside)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5


@dataclass(frozen=True, slots=True)
class _Frame:
    index: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Frames held in memory, (T, H, W, 3), as a clip for the engine."""

    pixels: NDArray[np.uint8]

    def frames(self, start: int, stop: int, *, size: int) -> Iterator[_Frame]:
        """Frames `start` to `stop`; they must be of the size asked for."""
        return (_Frame(i, self.pixels[i]) for i in range(start, min(stop, len(self.pixels))))

    def frames_reversed(self, start: int, stop: int, *, size: int) -> Iterator[_Frame]:
        """The same, last first."""
        return reversed([*self.frames(start, stop, size=size)])


def examine(model: Sam2, clips: Sequence[LabelledClip], kind: Kind) -> list[Mark]:
    """Tracks every object of the clips from one prompt on its first frame."""
    return [mark for clip in clips for mark in _examine(model, clip, kind)]


def _examine(model: Sam2, clip: LabelledClip, kind: Kind) -> list[Mark]:
    truth = clip.masks.numpy()
    prompts = [{0: first_prompt(kind, masks[0])} for masks in truth]
    found = track(model, clip, [dict(p) for p in prompts])
    return [_mark(masks, *answer) for masks, answer in zip(truth, found, strict=True)]


def track(
    model: Sam2, clip: LabelledClip, prompts: Sequence[dict[int, Prompt]]
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Masks (T, S, S) and presence (T,) of each object, tracked forwards from its prompts."""
    length, _, height, width = clip.frames.shape
    pictures = Pictures(clip.frames.permute(0, 2, 3, 1).contiguous().numpy())
    tasks = [TrackTask(key, prompt, "forward") for key, prompt in enumerate(prompts)]
    masks = np.zeros((len(prompts), length, height, width), bool)
    present = np.zeros((len(prompts), length), bool)
    for result in Engine(model).run(pictures, (height, width), tasks, (0, length)):
        for key, answer in result.found.items():
            large = torch.nn.functional.interpolate(
                answer.mask[None, None].float(), size=(height, width), mode="bilinear"
            )
            masks[key, result.frame] = (large[0, 0] > 0).numpy()
            present[key, result.frame] = bool(answer.present)
    return list(zip(masks, present, strict=True))


def _mark(truth: NDArray[np.bool_], found: NDArray[np.bool_], present: NDArray[np.bool_]) -> Mark:
    later = range(1, len(truth))
    scores = [compare(truth[t], found[t]).jf for t in later]
    return Mark(
        jf=fmean(scores),
        frozen=fmean(compare(truth[t], truth[0]).jf for t in later),
        hidden=tuple(not present[t] for t in later if not truth[t].any()),
        shown=tuple(bool(present[t]) for t in later if truth[t].any()),
        by_frame=tuple(scores),
    )


def corrected(model: Sam2, clip: LabelledClip) -> list[tuple[float, float]]:
    """Each object's J&F from one click, and after a second one on its worst frame.

    That is the worst of the frames on which enough of the object shows for a person to click at.
    The second click is in the middle of what is wrong there; the object is then tracked anew.
    """
    frames = [*normalise(clip.frames)]
    marks = _examine(model, clip, "click")
    pairs = []
    for truth, mark in zip(clip.masks.numpy(), marks, strict=True):
        session = Session(model, frames, truth.shape[1:], corrections_condition=True)
        session.prompt(1, 0, first_prompt("click", truth[0]))
        found = _propagated(session)
        clear = truth.sum(axis=(1, 2))[1:] >= LEAST_PIXELS
        worst = 1 + int(np.argmin(np.where(clear, mark.by_frame, np.inf)))
        wrong = found[worst] ^ truth[worst]
        if wrong.any():
            x, y = middle(wrong)
            label = int(truth[worst][int(y), int(x)])
            session.prompt(1, worst, PointPrompt(points=((x, y),), labels=(label,)))
            found = _propagated(session)
        after = fmean(compare(truth[t], found[t]).jf for t in range(1, len(truth)))
        pairs.append((mark.jf, after))
    return pairs


def _propagated(session: Session) -> dict[int, NDArray[np.bool_]]:
    """The one object's mask on every frame."""
    return {frame: (logits[0] > 0).numpy() for frame, logits in session.propagate()}
