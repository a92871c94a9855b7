import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2.components import (
    boxes_around,
    fill_holes_in_mask_scores,
    get_connected_components,
    get_sdpa_settings,
    mask_to_box,
    without_specks,
)


def flooded(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Labels and areas of the 8-connected regions of a mask, found pixel by pixel."""
    labels, areas = np.zeros(mask.shape, np.int32), np.zeros(mask.shape, np.int32)
    for seed in zip(*np.nonzero(mask), strict=True):
        if labels[seed]:
            continue
        label, region, waiting = labels.max() + 1, [], [seed]
        labels[seed] = label
        while waiting:
            y, x = waiting.pop()
            region.append((y, x))
            for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                inside = 0 <= near[0] < mask.shape[0] and 0 <= near[1] < mask.shape[1]
                if inside and mask[near] and not labels[near]:
                    labels[near] = label
                    waiting.append(near)
        for place in region:
            areas[place] = len(region)
    return labels, areas


@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    density=st.floats(0, 1),
)
def test_regions_are_those_that_flooding_finds(
    seed: int, height: int, width: int, density: float
) -> None:
    mask = np.random.RandomState(seed).rand(height, width) < density

    labels, areas = get_connected_components(torch.from_numpy(mask)[None, None])

    expected_labels, expected_areas = flooded(mask)
    assert np.array_equal(labels[0, 0], expected_labels)
    assert np.array_equal(areas[0, 0], expected_areas)


def test_a_region_that_winds_through_the_whole_mask_is_one() -> None:
    snake = torch.zeros(1, 1, 63, 63, dtype=torch.bool)
    snake[..., ::2, :] = True
    snake[..., 1::4, -1] = True
    snake[..., 3::4, 0] = True

    labels, areas = get_connected_components(snake)

    assert labels.max() == 1
    assert areas.max() == snake.sum()


def test_masks_of_a_batch_share_no_label() -> None:
    labels, areas = get_connected_components(torch.ones(2, 1, 3, 3, dtype=torch.bool))

    assert labels[:, 0, 0, 0].tolist() == [1, 2]
    assert areas[:, 0, 0, 0].tolist() == [9, 9]


def test_a_mask_without_anything_has_no_region() -> None:
    labels, areas = get_connected_components(torch.zeros(1, 1, 4, 5, dtype=torch.bool))

    assert labels.shape == areas.shape == (1, 1, 4, 5)
    assert not labels.any()
    assert not areas.any()


def test_holes_are_filled_up_to_an_area_and_left_beyond_it() -> None:
    logits = torch.ones(1, 1, 12, 12)
    logits[..., 2:4, 2:4] = -5  # 4 pixels
    logits[..., 4, 4] = -5  # touches them by a corner
    logits[..., 8:11, 8:11] = -5  # 9 pixels

    filled = fill_holes_in_mask_scores(logits, 8)

    assert torch.equal(filled[..., 2:4, 2:4], torch.full((1, 1, 2, 2), 0.1))
    assert filled[0, 0, 4, 4] == 0.1
    assert torch.equal(filled[..., 8:11, 8:11], logits[..., 8:11, 8:11])
    assert torch.equal(fill_holes_in_mask_scores(logits, 4), logits)


def test_specks_go_up_to_an_area_and_stay_beyond_it() -> None:
    logits = -torch.ones(1, 1, 8, 8)
    logits[..., 0, :3] = 5
    logits[..., 4:6, 4:6] = 5

    cleaned = without_specks(logits, area=3, threshold=0.0, value=-10.0)

    assert (cleaned[..., 0, :3] == -10).all()
    assert (cleaned[..., 4:6, 4:6] == 5).all()


def test_a_box_names_the_first_and_the_last_pixel() -> None:
    masks = torch.zeros(2, 1, 6, 7, dtype=torch.bool)
    masks[0, 0, 2:5, 1:4] = True

    assert mask_to_box(masks).tolist() == [[[1, 2, 3, 4]], [[0, 0, 0, 0]]]


@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 0, 5)])
def test_boxes_of_nothing_are_zero(shape: tuple[int, ...]) -> None:
    assert boxes_around(torch.zeros(shape, dtype=torch.bool)).tolist() == [[0] * 4] * shape[0]


def test_attention_settings_are_three_answers() -> None:
    assert [type(answer) for answer in get_sdpa_settings()] == [bool, bool, bool]
