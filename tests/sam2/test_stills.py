"""A still picture: one mask or three, many prompts at once, corrections."""

import pytest
import torch

from sam2.prompts import PointPrompt
from tests.sam2.stills import segment_still, stack_prompts
from tests.sam2.tiny import TINY, features_of, pictures, tiny_model

SIZE = (48, 80)
CLICKS = [PointPrompt(((x, 20),), (1,)) for x in (10, 40, 70)]

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.mark.parametrize(("multimask", "count"), [(True, 3), (False, 1)])
def test_a_prompt_gets_three_masks_or_one(multimask: bool, count: int) -> None:
    model = tiny_model()
    points = stack_prompts(CLICKS[:1], *SIZE, model)

    masks, ious = segment_still(model, features_of(model, pictures(1)), points, None, multimask)

    assert masks.shape == (1, count, TINY.mask_size, TINY.mask_size)
    assert ious.shape == (1, count)
    assert ((ious >= 0) & (ious <= 1)).all()


def test_prompts_of_one_picture_are_answered_together_as_they_are_alone() -> None:
    model = tiny_model()
    features = features_of(model, pictures(1))

    masks, ious = segment_still(model, features, stack_prompts(CLICKS, *SIZE, model))

    for i, click in enumerate(CLICKS):
        own, own_ious = segment_still(model, features, stack_prompts([click], *SIZE, model))
        torch.testing.assert_close(masks[i : i + 1], own)
        torch.testing.assert_close(ious[i : i + 1], own_ious)


def test_a_still_is_answered_even_when_the_model_thinks_that_nothing_is_there() -> None:
    sure, unsure = tiny_model(), tiny_model(score_shift=-100)
    features = features_of(sure, pictures(1))
    points = stack_prompts(CLICKS[:1], *SIZE, sure)

    assert torch.equal(
        segment_still(sure, features, points)[0], segment_still(unsure, features, points)[0]
    )


def test_logits_given_along_correct_the_mask_and_may_come_without_points() -> None:
    model = tiny_model()
    features = features_of(model, pictures(1))
    points = stack_prompts(CLICKS[:1], *SIZE, model)
    before, _ = segment_still(model, features, points, multimask=False)

    corrected, _ = segment_still(model, features, points, before, multimask=False)
    alone, _ = segment_still(model, features, None, before, multimask=False)

    assert float((corrected - before).abs().max()) > 1e-2
    assert alone.shape == before.shape
