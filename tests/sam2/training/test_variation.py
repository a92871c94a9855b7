"""Clips seen otherwise: masks stay on their objects, and nothing is the same twice."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2.training.scenes import LabelledClip
from sam2.training.variation import vary

SIZE = 64
RED, GREY = (230, 40, 40), (90, 90, 90)


def clip() -> LabelledClip:
    """A bright red square that goes right, on a grey ground that is nowhere black."""
    masks = torch.zeros(1, 5, SIZE, SIZE, dtype=torch.bool)
    for t in range(5):
        masks[0, t, 24:44, 10 + 6 * t : 30 + 6 * t] = True
    red, grey = (torch.tensor(c, dtype=torch.uint8).view(3, 1, 1) for c in (RED, GREY))
    frames = torch.stack([torch.where(mask, red, grey) for mask in masks[0]])
    return LabelledClip(frames, masks, "red square")


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_masks_stay_on_what_they_show(seed: int) -> None:
    varied = vary(np.random.default_rng(seed), clip())

    brightest = varied.frames.float().amax(dim=1)
    whole = replace(clip(), masks=torch.ones(1, 5, SIZE, SIZE, dtype=torch.bool))
    inside = vary(np.random.default_rng(seed), whole).masks[0]  # not the black beyond the picture
    ground = inside & ~varied.masks[0]
    threshold = 0.5 * (brightest.max() + brightest[ground].median())
    square = brightest > threshold
    assert varied.frames.dtype == torch.uint8
    assert varied.frames.shape == (5, 3, SIZE, SIZE)
    assert varied.masks.shape == (1, 5, SIZE, SIZE)
    assert varied.name == "red square"
    union = (square | varied.masks[0]).sum()
    assert union < 40 or (square & varied.masks[0]).sum() / union > 0.85


def test_every_chance_gives_another_clip_and_the_same_chance_the_same() -> None:
    one, again, other = (vary(np.random.default_rng(seed), clip()) for seed in (1, 1, 2))

    assert torch.equal(one.frames, again.frames)
    assert torch.equal(one.masks, again.masks)
    assert not torch.equal(one.masks, other.masks)


def test_as_many_clips_go_one_way_as_the_other() -> None:
    ways = []
    for seed in range(80):
        masks = vary(np.random.default_rng(seed), clip()).masks[0]
        centres = [mask.nonzero().float().mean(dim=0) for mask in masks if mask.any()]
        ways.append(bool(centres[-1][1] > centres[0][1]))

    assert 25 <= sum(ways) <= 55
