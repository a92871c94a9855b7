import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam2.utils.amg import (
    MaskData,
    area_from_rle,
    batch_iterator,
    batched_mask_to_box,
    box_xyxy_to_xywh,
    build_all_layer_point_grids,
    build_point_grid,
    calculate_stability_score,
    coco_encode_rle,
    generate_crop_boxes,
    is_box_near_crop_edge,
    mask_to_rle_pytorch,
    nms,
    remove_small_regions,
    rle_to_mask,
    uncrop_boxes_xyxy,
    uncrop_masks,
    uncrop_points,
)

# ---- run lengths


@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    density=st.floats(0, 1),
)
def test_run_lengths_give_the_mask_back(seed: int, height: int, width: int, density: float) -> None:
    mask = np.random.RandomState(seed).rand(height, width) < density

    (rle,) = mask_to_rle_pytorch(torch.from_numpy(mask)[None])

    assert np.array_equal(rle_to_mask(rle), mask)
    assert area_from_rle(rle) == mask.sum()


def test_runs_go_down_the_columns_and_begin_with_zeros() -> None:
    mask = torch.tensor([[[1, 0], [1, 1]]], dtype=torch.bool)

    assert mask_to_rle_pytorch(mask) == [{"size": [2, 2], "counts": [0, 2, 1, 1]}]


def test_the_coco_string_is_what_pycocotools_makes() -> None:
    from pycocotools import mask as coco

    mask = np.random.RandomState(0).rand(7, 5) > 0.5
    (rle,) = mask_to_rle_pytorch(torch.from_numpy(mask)[None])

    encoded = coco_encode_rle(rle)

    assert (
        encoded["counts"] == coco.encode(np.asfortranarray(mask.view(np.uint8)))["counts"].decode()
    )


def test_runs_that_do_not_fill_the_mask_are_refused() -> None:
    with pytest.raises(ValueError, match="cover 3 pixels of a 2 x 2 mask"):
        rle_to_mask({"size": [2, 2], "counts": [1, 2]})


# ---- points and crops


def test_a_grid_has_the_middles_of_its_cells_row_by_row() -> None:
    assert build_point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_grids_of_deeper_layers_are_sparser() -> None:
    assert [len(grid) for grid in build_all_layer_point_grids(8, 2, 2)] == [64, 16, 4]


def test_crops_cover_the_picture_and_overlap() -> None:
    crops, layers = generate_crop_boxes((240, 320), 1, 512 / 1500)

    # overlap int(512/1500 * 240) = 81; width ceil((81 + 320) / 2) = 201, height 161
    assert crops == [
        [0, 0, 320, 240],
        [0, 0, 201, 161],
        [0, 80, 201, 240],
        [120, 0, 320, 161],
        [120, 80, 320, 240],
    ]
    assert layers == [0, 1, 1, 1, 1]


def test_what_is_found_in_a_crop_moves_to_its_place_in_the_picture() -> None:
    crop = [3, 2, 6, 4]

    assert uncrop_boxes_xyxy(torch.tensor([[0, 0, 1, 1]]), crop).tolist() == [[3, 2, 4, 3]]
    assert uncrop_points(torch.tensor([[0.5, 1.0]]), crop).tolist() == [[3.5, 3.0]]
    masks = uncrop_masks(torch.ones(1, 2, 3, dtype=torch.bool), crop, 5, 8)
    assert masks.shape == (1, 5, 8)
    assert masks[0, 2:4, 3:6].all()
    assert masks.sum() == 6


def test_a_box_counts_as_cut_off_by_the_crop_but_not_by_the_picture() -> None:
    boxes = torch.tensor([[30, 30, 60, 60], [30, 30, 95, 60], [1, 30, 60, 60]])

    cut = is_box_near_crop_edge(boxes, [0, 0, 100, 100], [0, 0, 200, 100])

    assert cut.tolist() == [False, True, False]


# ---- masks and boxes


def test_stability_compares_the_mask_at_two_thresholds() -> None:
    logits = torch.tensor([[[3.0, 0.5, -0.5, -3.0]], [[-9.0, -9.0, -9.0, -9.0]]])

    scores = calculate_stability_score(logits, 0.0, 1.0)

    assert scores[0] == 1 / 3
    assert scores[1].isnan()


def test_boxes_keep_all_leading_axes() -> None:
    assert batched_mask_to_box(torch.ones(2, 3, 4, 5, dtype=torch.bool)).shape == (2, 3, 4)
    assert batched_mask_to_box(torch.ones(4, 5, dtype=torch.bool)).tolist() == [0, 0, 4, 3]


def test_a_box_may_come_as_list_array_or_tensor() -> None:
    assert box_xyxy_to_xywh([1, 2, 4, 8]) == [1, 2, 3, 6]
    assert box_xyxy_to_xywh(np.array([1, 2, 4, 8])).tolist() == [1, 2, 3, 6]
    assert box_xyxy_to_xywh(torch.tensor([1, 2, 4, 8])).tolist() == [1, 2, 3, 6]


def test_of_overlapping_boxes_the_best_stays() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 4]])
    scores = torch.tensor([0.5, 0.9, 0.1, 0.6])

    assert nms(boxes, scores, 0.7).tolist() == [1, 3, 2]


def test_an_overlap_of_just_the_threshold_is_allowed() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 5]])

    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0, 1]
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.49).tolist() == [0]


def test_equal_scores_and_boxes_without_area_keep_their_order() -> None:
    boxes = torch.tensor([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 2, 2]])

    assert nms(boxes, torch.tensor([0.5, 0.5, 0.5]), 0.7).tolist() == [0, 1, 2]
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.7).tolist() == []


def test_small_holes_are_filled_and_small_islands_dropped() -> None:
    mask = np.zeros((10, 10), bool)
    mask[1:8, 1:8] = True
    mask[3, 3] = False
    mask[9, 9] = True

    filled, changed = remove_small_regions(mask, 2, "holes")
    assert changed
    assert filled[3, 3]
    assert filled[9, 9]
    dropped, changed = remove_small_regions(mask, 2, "islands")
    assert changed
    assert not dropped[3, 3]
    assert not dropped[9, 9]
    assert not remove_small_regions(mask, 1, "holes")[1]


def test_of_small_islands_alone_the_largest_stays() -> None:
    mask = np.zeros((5, 5), bool)
    mask[0, 0] = True
    mask[3, 2:5] = True

    kept, changed = remove_small_regions(mask, 10, "islands")

    assert changed
    assert kept.sum() == 3


# ---- bulk


def test_batches_are_slices_of_all_sequences() -> None:
    assert list(batch_iterator(2, [1, 2, 3], "abc")) == [[[1, 2], "ab"], [[3], "c"]]
    with pytest.raises(ValueError, match="one length"):
        next(batch_iterator(2, [1], [1, 2]))


def test_mask_data_filters_and_joins_all_columns_alike() -> None:
    data = MaskData(boxes=torch.arange(3), rles=["a", "b", "c"], ious=np.arange(3))
    data.filter(torch.tensor([True, False, True]))
    data.cat(MaskData(boxes=torch.tensor([9]), rles=["z"], ious=np.array([9])))
    data.filter(torch.tensor([2, 0]))
    data.to_numpy()

    assert {name: list(column) for name, column in data.items()} == {
        "boxes": [9, 0],
        "rles": ["z", "a"],
        "ious": [9, 0],
    }
    with pytest.raises(TypeError, match="'area' is a int"):
        data["area"] = 3  # type: ignore[assignment]
