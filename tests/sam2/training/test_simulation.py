"""Simulated prompts say what a person would: where the object is, and where the mask is wrong."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sam2.prompt_encoder import BOTTOM_RIGHT, NEGATIVE, NOT_A_POINT, POSITIVE, TOP_LEFT
from sam2.training.simulation import box, click, correction

SIZE = 24


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rectangle(left: int, top: int, right: int, bottom: int) -> Tensor:
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    mask[:, top:bottom, left:right] = True
    return mask


EMPTY = rectangle(0, 0, 0, 0)


@given(seed=st.integers(0, 1000))
def test_a_click_is_on_its_object(seed: int) -> None:
    masks = torch.cat((rectangle(3, 4, 9, 20), rectangle(20, 0, 24, 2)))

    found = click(masks, chance(seed))

    for mask, (x, y) in zip(masks, found.points[:, 0].long().tolist(), strict=True):
        assert mask[y, x]
    assert found.labels.tolist() == [[POSITIVE], [POSITIVE]]


def test_clicks_go_everywhere_on_an_object() -> None:
    mask = rectangle(10, 10, 13, 13)

    places = {tuple(click(mask, chance(seed)).points[0, 0].tolist()) for seed in range(200)}

    assert places == {(x, y) for x in (10, 11, 12) for y in (10, 11, 12)}


def test_an_object_that_does_not_show_gets_no_prompt() -> None:
    assert click(EMPTY, chance(0)).labels.tolist() == [[NOT_A_POINT]]
    assert box(EMPTY, chance(0)).labels.tolist() == [[NOT_A_POINT, NOT_A_POINT]]
    assert correction(EMPTY, EMPTY, chance(0)).labels.tolist() == [[NOT_A_POINT]]


@given(seed=st.integers(0, 1000))
def test_a_correction_marks_a_wrong_pixel_as_what_it_is(seed: int) -> None:
    truth, found = rectangle(4, 4, 14, 14), rectangle(8, 8, 18, 18)

    fix = correction(found, truth, chance(seed))

    x, y = fix.points[0, 0].long().tolist()
    assert truth[0, y, x] != found[0, y, x]
    assert int(fix.labels) == (POSITIVE if truth[0, y, x] else NEGATIVE)


def test_a_mask_with_nothing_wrong_is_confirmed() -> None:
    truth = rectangle(4, 4, 14, 14)

    fix = correction(truth, truth, chance(1))

    x, y = fix.points[0, 0].long().tolist()
    assert truth[0, y, x]
    assert int(fix.labels) == POSITIVE


@given(seed=st.integers(0, 1000))
def test_a_box_is_near_its_object_and_within_the_picture(seed: int) -> None:
    found = box(rectangle(0, 5, 10, 15), chance(seed))

    (left, top), (right, bottom) = found.points[0].tolist()
    assert 0 <= left <= 1
    assert 9 <= right <= 11
    assert 4 <= top <= 6
    assert 14 <= bottom <= 16
    assert found.labels.tolist() == [[TOP_LEFT, BOTTOM_RIGHT]]


def test_an_exact_box_is_as_people_draw_it() -> None:
    found = box(rectangle(2, 5, 10, 15), chance(0), looseness=0.0)

    assert found.points[0].tolist() == [[2, 5], [10, 15]]


def test_prompts_end_in_a_padding_point() -> None:
    prompt = click(rectangle(2, 5, 10, 15), chance(0))

    padded = prompt.followed_by(prompt).padded()

    assert padded.labels.tolist() == [[POSITIVE, POSITIVE, NOT_A_POINT]]
    assert padded.points.shape == (1, 3, 2)
