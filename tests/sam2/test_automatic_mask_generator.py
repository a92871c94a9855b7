from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sam2.automatic_mask_generator import FoundMask, SAM2AutomaticMaskGenerator
from sam2.components import get_connected_components
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.amg import build_point_grid, calculate_stability_score, rle_to_mask
from tests.sam2.published import HEIGHT, WIDTH, picture, published_tiny
from tests.sam2.tiny import pictures

OPEN: dict[str, Any] = {
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 1.0,
}


def generate(**settings: Any) -> list[FoundMask]:
    """All masks of the picture, with nothing filtered but what the settings say."""
    generator = SAM2AutomaticMaskGenerator(
        published_tiny(), **{"points_per_side": 3, **OPEN, **settings}
    )
    return generator.generate(picture())


def test_every_mask_answers_a_point_of_the_grid() -> None:
    predictor = SAM2ImagePredictor(published_tiny())
    predictor.set_image(picture())

    found = generate()

    assert len(found) == 3 * 9
    best = found[0]
    masks, scores, _ = predictor.predict(best["point_coords"], [1])
    assert best["predicted_iou"] == pytest.approx(scores.max(), abs=1e-5)
    assert np.array_equal(best["segmentation"], masks[scores.argmax()] > 0)
    logits, _, _ = predictor.predict(best["point_coords"], [1], return_logits=True)
    stability = calculate_stability_score(torch.from_numpy(logits[scores.argmax()]), 0.0, 1.0)
    assert best["stability_score"] == pytest.approx(stability.item())


def test_records_have_the_published_keys_and_types() -> None:
    for mask in generate():
        segmentation = mask["segmentation"]
        assert isinstance(segmentation, np.ndarray)
        assert (segmentation.shape, segmentation.dtype) == ((HEIGHT, WIDTH), bool)
        assert mask["area"] == segmentation.sum()
        ys, xs = np.nonzero(segmentation)
        box = [xs.min(), ys.min(), np.ptp(xs), np.ptp(ys)] if len(xs) else [0, 0, 0, 0]
        assert mask["bbox"] == box
        assert mask["crop_box"] == [0, 0, WIDTH, HEIGHT]
        assert isinstance(mask["predicted_iou"], float)
        assert isinstance(mask["stability_score"], float)


def test_masks_come_by_falling_predicted_iou() -> None:
    scores = [mask["predicted_iou"] for mask in generate()]

    assert scores == sorted(scores, reverse=True)


def test_the_filters_drop_what_lies_below_them() -> None:
    everything = generate()
    iou = np.median([mask["predicted_iou"] for mask in everything])
    stability = np.nanmedian([mask["stability_score"] for mask in everything])

    found = generate(pred_iou_thresh=iou, stability_score_thresh=stability)

    assert 0 < len(found) < len(everything)
    assert all(mask["predicted_iou"] > iou for mask in found)
    assert all(mask["stability_score"] >= stability for mask in found)


def test_of_masks_with_like_boxes_one_stays() -> None:
    boxes = [tuple(mask["bbox"]) for mask in generate(box_nms_thresh=0.5)]

    assert len(boxes) == len(set(boxes)) < 27


def test_nothing_good_enough_is_an_empty_list() -> None:
    assert generate(pred_iou_thresh=1.1) == []
    assert generate(points_per_side=None, point_grids=[np.zeros((0, 2))]) == []


def test_the_number_of_points_per_batch_changes_nothing() -> None:
    def places(found: list[FoundMask]) -> list[Any]:
        return [(mask["point_coords"], mask["area"]) for mask in found]

    assert places(generate(points_per_batch=2)) == places(generate(points_per_batch=64))


def test_run_lengths_hold_the_same_masks() -> None:
    from pycocotools import mask as coco

    binary = generate()
    for plain, rle, string in zip(
        binary,
        generate(output_mode="uncompressed_rle"),
        generate(output_mode="coco_rle"),
        strict=True,
    ):
        runs, counts = rle["segmentation"], string["segmentation"]
        assert isinstance(runs, dict)
        assert isinstance(counts, dict)
        assert np.array_equal(rle_to_mask(runs), plain["segmentation"])
        assert isinstance(counts["counts"], str)
        assert coco.area(counts) == plain["area"]


def test_crops_are_searched_too_and_their_masks_lie_in_the_picture() -> None:
    image = pictures(1, size=256)[0][:192]  # so large that a crop does not cut off everything
    generator = SAM2AutomaticMaskGenerator(
        published_tiny(), points_per_side=3, crop_n_layers=1, crop_nms_thresh=1.0, **OPEN
    )

    found = generator.generate(image)

    crops = [tuple(mask["crop_box"]) for mask in found]
    assert len(set(crops)) > 1
    assert crops.count((0, 0, 256, 192)) == 27
    sizes = [width * height for _, _, width, height in crops]
    assert sizes == sorted(sizes)  # the smallest crops first
    for mask, (x, y, width, height) in zip(found, crops, strict=True):
        outside = np.array(mask["segmentation"])
        assert outside.shape == image.shape[:2]
        outside[y : y + height, x : x + width] = False
        assert not outside.any()
        ((point_x, point_y),) = mask["point_coords"]
        assert x <= point_x <= x + width
        assert y <= point_y <= y + height


def test_a_mask_refined_by_itself_is_another() -> None:
    plain, refined = generate(), generate(use_m2m=True)

    assert len(refined) == len(plain)
    assert [m["area"] for m in refined] != [m["area"] for m in plain]


def test_a_least_area_leaves_fewer_small_regions() -> None:
    def small_regions(found: list[FoundMask]) -> int:
        masks = torch.tensor(np.stack([mask["segmentation"] for mask in found]))[:, None]
        areas = get_connected_components(masks)[1]
        return int(((areas > 0) & (areas <= 15)).sum())  # 15: one low-resolution pixel, scaled up

    assert small_regions(generate(min_mask_region_area=5.0)) < small_regions(generate())


def test_one_mask_for_each_point_can_be_asked_for() -> None:
    assert len(generate(multimask_output=False)) == 9


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"points_per_side": None}, "exactly one of"),
        ({"point_grids": [build_point_grid(2)]}, "exactly one of"),
        ({"output_mode": "polygons"}, "output_mode is binary_mask"),
        ({"points_per_batch": 0}, "points_per_batch are 1 or more"),
        ({"points_per_side": 0}, "points_per_side and points_per_batch are 1"),
        (
            {"points_per_side": None, "point_grids": [build_point_grid(2)], "crop_n_layers": 1},
            "needs 2 point_grids",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], what: str
) -> None:
    with pytest.raises(AssertionError, match=what):
        SAM2AutomaticMaskGenerator(published_tiny(), **settings)


def test_settings_are_kept_as_attributes() -> None:
    generator = SAM2AutomaticMaskGenerator(published_tiny(), points_per_side=4, token="unknown")

    assert (generator.pred_iou_thresh, generator.stability_score_thresh) == (0.8, 0.95)
    assert [len(grid) for grid in generator.point_grids] == [16]
    assert isinstance(generator.predictor, SAM2ImagePredictor)


def test_a_picture_from_pil_will_do_and_a_grey_one_will_not() -> None:
    generator = SAM2AutomaticMaskGenerator(published_tiny(), points_per_side=2, **OPEN)

    assert len(generator.generate(Image.fromarray(picture()))) == 12  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match=r"\(H, W, 3\)"):
        generator.generate(picture()[..., 0])


def test_it_runs_under_inference_mode_and_autocast() -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert len(generate()) == 27
