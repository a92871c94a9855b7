"""Masks of everything in a picture: a grid of points is asked about, and the best answers stay."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2.build_sam import build_sam2_hf
from sam2.modeling.sam2_base import SAM2Base
from sam2.prompt_encoder import POSITIVE
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.amg import (
    Rle,
    area_from_rle,
    batch_iterator,
    batched_mask_to_box,
    box_xyxy_to_xywh,
    build_all_layer_point_grids,
    calculate_stability_score,
    coco_encode_rle,
    generate_crop_boxes,
    is_box_near_crop_edge,
    mask_to_rle_pytorch,
    nms,
    rle_to_mask,
    uncrop_boxes_xyxy,
    uncrop_masks,
    uncrop_points,
)
from sam2.utils.transforms import picture_size

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
Box = Sequence[int]  # xyxy, in pixels of the picture

FULL_SIZE_BATCH = 32  # masks that are held as full-size logits at a time


class GeneratorError(ValueError, AssertionError):
    """Settings that contradict each other; the message says which."""


class FoundMask(TypedDict):
    """One mask of the result."""

    segmentation: NDArray[np.bool_] | Rle  # (H, W), or run lengths
    area: int
    bbox: list[float]  # xywh
    predicted_iou: float
    point_coords: list[list[float]]  # the point that was asked about
    stability_score: float
    crop_box: list[int]  # xywh


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """N masks that passed the filters, in pixels of the picture."""

    masks: list[Rle]
    boxes: Tensor  # (N, 4) xyxy
    ious: Tensor  # (N,) predicted
    stability: Tensor  # (N,)
    points: Tensor  # (N, 2)
    crops: Tensor  # (N, 4) xyxy

    def take(self, rows: Tensor) -> "Candidates":
        """These of the candidates, in this order."""
        _, *tensors = (getattr(self, f.name) for f in fields(self))
        masks = [self.masks[row] for row in rows.tolist()]
        return Candidates(masks, *(t[rows.to(t.device)] for t in tensors))

    @staticmethod
    def join(parts: Sequence["Candidates"]) -> "Candidates":
        """All candidates of several lots."""
        columns = ([getattr(part, f.name) for part in parts] for f in fields(Candidates))
        masks, *tensors = columns
        return Candidates([m for lot in masks for m in lot], *(torch.cat(t) for t in tensors))


class SAM2AutomaticMaskGenerator:
    """Asks about a grid of points, filters the answers, and keeps one of each heap of like masks.

    With `crop_n_layers` it does the same on ever smaller crops, for the sake of small objects.
    """

    def __init__(
        self,
        model: SAM2Base,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: list[NDArray[Any]] | None = None,
        min_mask_region_area: float = 0,
        output_mode: OutputMode = "binary_mask",
        use_m2m: bool = False,
        multimask_output: bool = True,
        **kwargs: Any,
    ) -> None:
        """Unknown keywords have no effect: `from_pretrained` hands over those of the builder."""
        if (points_per_side is None) == (point_grids is None):
            raise GeneratorError("Pass exactly one of points_per_side and point_grids.")
        if points_per_batch < 1 or (points_per_side is not None and points_per_side < 1):
            raise GeneratorError("points_per_side and points_per_batch are 1 or more.")
        if output_mode not in ("binary_mask", "uncompressed_rle", "coco_rle"):
            raise GeneratorError(
                f"output_mode is binary_mask, uncompressed_rle or coco_rle, not {output_mode!r}."
            )
        if output_mode == "coco_rle":
            import pycocotools.mask  # noqa: F401 - to fail here and not after the first picture
        self.predictor = SAM2ImagePredictor(
            model,
            mask_threshold=mask_threshold,
            max_hole_area=min_mask_region_area,
            max_sprinkle_area=min_mask_region_area,
        )
        self.point_grids = point_grids or build_all_layer_point_grids(
            points_per_side or 0, crop_n_layers, crop_n_points_downscale_factor
        )
        if len(self.point_grids) <= crop_n_layers:
            raise GeneratorError(
                f"crop_n_layers={crop_n_layers} needs {crop_n_layers + 1} point_grids, one for the "
                f"whole picture and one for each layer, not {len(self.point_grids)}."
            )
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.mask_threshold = mask_threshold
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.crop_n_points_downscale_factor = crop_n_points_downscale_factor
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.use_m2m = use_m2m
        self.multimask_output = multimask_output

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> Self:
        """A generator with the weights of a Hugging Face id, such as facebook/sam2.1-hiera-tiny."""
        return cls(build_sam2_hf(model_id, **kwargs), **kwargs)

    @torch.no_grad()
    def generate(self, image: NDArray[np.uint8]) -> list[FoundMask]:
        """All masks of an RGB picture (H, W, 3), by falling predicted IoU within crops of a size.

        Crops come before the whole picture, the smallest first.
        """
        image = np.asarray(image)
        size = picture_size(image)
        crops, layers = generate_crop_boxes(size, self.crop_n_layers, self.crop_overlap_ratio)
        lots = [
            lot
            for crop, layer in zip(crops, layers, strict=True)
            if (lot := self._look_into(image, crop, self.point_grids[layer]))
        ]
        if not lots:
            return []
        found = Candidates.join(lots)
        if len(crops) > 1:
            areas = (found.crops[:, 2:] - found.crops[:, :2]).prod(dim=1)
            found = found.take(nms(found.boxes, 1 / areas, self.crop_nms_thresh))
        return self._records(found)

    def _look_into(
        self, image: NDArray[np.uint8], crop: Box, grid: NDArray[Any]
    ) -> Candidates | None:
        """The masks of one crop, none of them twice; None if there are none."""
        left, top, right, bottom = crop
        self.predictor.set_image(image[top:bottom, left:right])
        points = torch.tensor(grid * [right - left, bottom - top], dtype=torch.float32)
        lots = [
            lot
            for batch in torch.split(points, self.points_per_batch)
            if len(batch)
            for lot in self._ask(batch, crop, picture_size(image))
        ]
        self.predictor.reset_predictor()
        if not lots:
            return None
        found = Candidates.join(lots)
        return found.take(nms(found.boxes, found.ious, self.box_nms_thresh))

    def _ask(self, points: Tensor, crop: Box, size: tuple[int, int]) -> list[Candidates]:
        """Asks about points (P, 2) of the crop; what passes the filters, in a few lots."""
        left, top, right, bottom = crop
        height, width = bottom - top, right - left
        places = self.predictor._transforms.transform_coords(points, True, (height, width))
        places = places.to(self.predictor.device)[:, None]  # (P, 1, 2)
        low, ious = self._decode(places, self.multimask_output)
        answers = low.shape[1]
        low, ious = low.flatten(0, 1)[:, None], ious.flatten()  # (P*C, 1, s, s), (P*C,)
        points = points.to(low.device).repeat_interleave(answers, dim=0)
        if self.use_m2m:
            low, ious = self._refine(low, places.repeat_interleave(answers, dim=0))
        if self.pred_iou_thresh > 0:
            good = ious > self.pred_iou_thresh
            low, ious, points = low[good], ious[good], points[good]
        lots = (torch.split(t, FULL_SIZE_BATCH) for t in (low, ious, points))
        return [
            self._judge(masks, scores, asked, crop, size)
            for masks, scores, asked in zip(*lots, strict=True)
            if len(masks)
        ]

    def _decode(
        self, places: Tensor, multimask: bool, previous: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        labels = torch.full(places.shape[:2], POSITIVE, device=places.device)
        return self.predictor._decode(places, labels, None, previous, multimask)

    def _refine(self, low: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Each mask (N, 1, s, s) again, from itself and the point (N, 1, 2) that it answers."""
        lots = [
            self._decode(where, multimask=False, previous=before.clamp(-32, 32))
            for before, where in batch_iterator(self.points_per_batch, low, places)
        ]
        return torch.cat([low for low, _ in lots]), torch.cat([ious[:, 0] for _, ious in lots])

    def _judge(
        self, low: Tensor, ious: Tensor, points: Tensor, crop: Box, size: tuple[int, int]
    ) -> Candidates:
        """Masks (N, 1, s, s) at full size, but for unstable ones and those that the crop cuts."""
        left, top, right, bottom = crop
        height, width = size
        transforms = self.predictor._transforms
        logits = transforms.postprocess_masks(low, (bottom - top, right - left))[:, 0]
        stability = calculate_stability_score(
            logits, self.mask_threshold, self.stability_score_offset
        )
        masks = logits > self.mask_threshold
        boxes = batched_mask_to_box(masks)
        good = ~is_box_near_crop_edge(boxes, crop, [0, 0, width, height])
        if self.stability_score_thresh > 0:
            good &= stability >= self.stability_score_thresh
        kept = uncrop_masks(masks[good], crop, height, width)
        return Candidates(
            masks=mask_to_rle_pytorch(kept),
            boxes=uncrop_boxes_xyxy(boxes[good], crop),
            ious=ious[good],
            stability=stability[good],
            points=uncrop_points(points[good], crop),
            crops=torch.tensor(crop, device=low.device).expand(len(kept), -1),
        )

    def _records(self, found: Candidates) -> list[FoundMask]:
        columns = (getattr(found, field.name) for field in fields(found))
        # To the host at once: a GPU would be waited for at every number.
        on_host = (c.cpu() if isinstance(c, Tensor) else c for c in columns)
        rows = zip(*on_host, strict=True)
        return [
            {
                "segmentation": self._encoded(mask),
                "area": area_from_rle(mask),
                "bbox": box_xyxy_to_xywh(box.float()).tolist(),
                "predicted_iou": iou.item(),
                "point_coords": [point.tolist()],
                "stability_score": stability.item(),
                "crop_box": box_xyxy_to_xywh(crop).tolist(),
            }
            for mask, box, iou, stability, point, crop in rows
        ]

    def _encoded(self, mask: Rle) -> NDArray[np.bool_] | Rle:
        if self.output_mode == "coco_rle":
            return coco_encode_rle(mask)
        return mask if self.output_mode == "uncompressed_rle" else rle_to_mask(mask)
