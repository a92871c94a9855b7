"""J and F of two masks, against the definition written out slowly."""

from itertools import product
from math import ceil, hypot

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.evaluation.metric import Mask, Score, compare

Place = tuple[int, int]


def outline(mask: Mask) -> set[Place]:
    """Places unlike a neighbour to the right, below or between the two."""
    height, width = mask.shape
    steps = ((0, 1), (1, 0), (1, 1))
    return {
        (y, x)
        for y, x in product(range(height), range(width))
        for dy, dx in steps
        if y + dy < height and x + dx < width and mask[y, x] != mask[y + dy, x + dx]
    }


def matched(some: set[Place], others: set[Place], reach: int) -> float:
    near = [any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in others) for y, x in some]
    return sum(near) / len(near)


def contour(truth: Mask, predicted: Mask) -> float:
    reach = ceil(0.008 * hypot(*truth.shape))
    wanted, given = outline(truth), outline(predicted)
    if not wanted or not given:
        return float(not wanted and not given)
    precision, recall = matched(given, wanted, reach), matched(wanted, given, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def masks(height: int, width: int) -> st.SearchStrategy[Mask]:
    return hnp.arrays(np.bool_, (height, width), elements=st.booleans(), fill=st.just(False))


@given(st.data(), st.integers(1, 12), st.integers(1, 260))
@settings(max_examples=60, deadline=None)
def test_the_contour_score_is_the_slow_definition(
    data: st.DataObject, height: int, width: int
) -> None:
    truth, predicted = data.draw(masks(height, width)), data.draw(masks(height, width))

    assert compare(truth, predicted).f == pytest.approx(contour(truth, predicted), abs=1e-12)


def block(top: int, left: int, height: int = 20, width: int = 20) -> Mask:
    mask = np.zeros((480, 854), np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


def test_two_empty_masks_agree_and_one_empty_mask_does_not() -> None:
    nothing = block(0, 0, 0)

    assert compare(nothing, nothing) == Score(1.0, 1.0)
    assert compare(nothing, block(3, 3)) == Score(0.0, 0.0)
    assert compare(block(3, 3), nothing) == Score(0.0, 0.0)


def test_a_mask_of_the_whole_picture_has_no_outline() -> None:
    everything = block(0, 0, 480, 854)

    assert compare(everything, everything) == Score(1.0, 1.0)
    assert compare(everything, block(0, 0, 0)) == Score(0.0, 1.0)


def test_masks_far_apart_share_nothing() -> None:
    assert compare(block(10, 10), block(400, 700)) == Score(0.0, 0.0)


def test_an_outline_eight_pixels_off_is_still_right_at_480p_and_nine_are_not() -> None:
    line = block(100, 0, 380, 854)  # its outline is one row across the whole picture

    assert compare(line, block(108, 0, 372, 854)).f == 1.0
    assert compare(line, block(109, 0, 371, 854)).f == 0.0


def test_the_mean_of_j_and_f_goes_by_the_name_of_the_papers() -> None:
    assert Score(0.5, 1.0).to_json() == {"J": 0.5, "F": 1.0, "J&F": 0.75}
