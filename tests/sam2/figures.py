"""Figures of the tiny model on a few prompts, kept so that a change of any of them is noticed.

python tests/sam2/figures.py    writes tests/golden/figures.npz anew; see the README beside it.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from numpy.typing import NDArray

from sam2.config import ModelConfig
from sam2.prompts import MaskPrompt, PointPrompt, Prompt
from sam2.session import Session, upscale
from sam2.tracking import FrameMask
from tests.sam2.stills import segment_still, stack_prompts
from tests.sam2.tiny import TINY, TINY_2_0, features_of, pictures, ready, tiny_model

FILE = Path(__file__).resolve().parents[1] / "golden" / "figures.npz"
FRAMES = 7
# Weights, pictures and how sure the model is: such that no object is nearly absent and no two masks
# are nearly equally promising, so that a machine which rounds otherwise decides the same.
MODEL, CLIP, PRESENT, FICKLE = 5, 2, 1.5, -4.5
SIZE = (48, 80)  # of the clip as its prompts see it, height and width
CLICK = PointPrompt(points=((20, 20),), labels=(1,))
CLICKS = PointPrompt(points=((60, 30), (10, 40)), labels=(1, 0))
BOX = PointPrompt(box=(10, 10, 40, 30))
MASK = MaskPrompt(torch.ones(SIZE).tril().bool())

Figures = dict[str, NDArray[np.float32]]


def figures() -> Figures:
    """All figures, called CASE_ARRAY."""
    with torch.inference_mode():
        cases = {
            "still": dict(_still()),
            "forward": _video(TINY, {1: {0: CLICK}, 2: {0: BOX, 5: CLICKS}}),
            "reverse": _video(TINY, {1: {FRAMES - 1: MASK}}, reverse=True),
            "coming_and_going": _video(TINY, {1: {0: MASK}, 2: {3: BOX}}, score_shift=FICKLE),
            "sam_2_0": _video(TINY_2_0, {1: {0: CLICK}}),
        }
    return {f"{case}_{name}": a for case, arrays in cases.items() for name, a in arrays.items()}


def _still() -> Iterator[tuple[str, NDArray[np.float32]]]:
    model = tiny_model(seed=MODEL)
    features = features_of(model, pictures(1, CLIP))
    for name, prompt, several in (("click", CLICK, True), ("box", BOX, False)):
        points = stack_prompts([prompt], *SIZE, model)
        masks, ious = segment_still(model, features, points, multimask=several)
        yield f"{name}_low", masks[0, :, ::2, ::2].numpy()
        yield f"{name}_iou", ious[0].numpy()


def _video(
    config: ModelConfig,
    prompts: Mapping[int, Mapping[int, Prompt]],
    reverse: bool = False,
    score_shift: float = PRESENT,
) -> Figures:
    model = tiny_model(config, MODEL, score_shift)
    session = Session(model, ready(pictures(FRAMES, CLIP)), SIZE)
    for object_id, by_frame in prompts.items():
        for frame, prompt in by_frame.items():
            session.prompt(object_id, frame, prompt)
    start = max(f for by_frame in prompts.values() for f in by_frame) if reverse else 0
    visited = [frame for frame, _ in session.propagate(start, reverse=reverse)]
    found = [t.found[frame] for frame in visited for t in session.tracks.values()]
    return _arrays(found, (len(visited), len(prompts)))


def _arrays(found: list[FrameMask], shape: tuple[int, int]) -> Figures:
    """Scores, IoU, the first values of pointers, logits on a coarse grid and areas of masks."""
    masks = torch.stack([f.mask for f in found])
    areas = (upscale(masks, SIZE) > 0).flatten(1).sum(dim=1)
    arrays = {
        "score": torch.stack([f.score for f in found]),
        "iou": torch.stack([f.iou for f in found]),
        "ptr": torch.stack([f.pointer[:8] for f in found]),
        "low": masks[:, ::2, ::2],
        "area": areas.to(torch.float32),
    }
    return {name: a.reshape(*shape, *a.shape[1:]).numpy() for name, a in arrays.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    np.savez_compressed(FILE, **figures())
    print(f"wrote {FILE}")
