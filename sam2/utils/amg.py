"""Helpers for masks in bulk, under their published names: run lengths, point grids and crops."""

import math
from collections.abc import ItemsView, Iterator, Sequence
from copy import deepcopy
from itertools import product
from typing import Any, TypedDict, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sam2.components import boxes_around, get_connected_components

Column = list[Any] | NDArray[Any] | Tensor
BoxT = TypeVar("BoxT", list[int], list[float], NDArray[Any], Tensor)


class Rle(TypedDict):
    """Run lengths down the columns, zeros first; or the same as COCO's string."""

    size: list[int]  # height, width
    counts: list[int] | str


# ---- run lengths


def mask_to_rle_pytorch(tensor: Tensor) -> list[Rle]:
    """Masks (B, H, W) -> their run lengths."""
    _, height, width = tensor.shape
    columns = tensor.bool().transpose(1, 2).flatten(1).cpu().numpy()
    return [{"size": [height, width], "counts": _runs(pixels)} for pixels in columns]


def _runs(pixels: NDArray[np.bool_]) -> list[int]:
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs: list[int] = np.diff(changes, prepend=0, append=len(pixels)).tolist()
    return [0, *runs] if pixels[0] else runs


def rle_to_mask(rle: Rle) -> NDArray[np.bool_]:
    """Run lengths -> mask (H, W)."""
    height, width = rle["size"]
    counts = np.asarray(_counts(rle), dtype=np.int64)
    if counts.sum() != height * width:
        raise ValueError(f"The runs cover {counts.sum()} pixels of a {height} x {width} mask.")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def area_from_rle(rle: Rle) -> int:
    """Pixels of the mask."""
    return sum(_counts(rle)[1::2])


def coco_encode_rle(uncompressed_rle: Rle) -> Rle:
    """Run lengths with COCO's string for counts."""
    from pycocotools import mask as coco

    height, width = uncompressed_rle["size"]
    encoded = coco.frPyObjects(uncompressed_rle, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode()}


def _counts(rle: Rle) -> list[int]:
    counts = rle["counts"]
    if isinstance(counts, str):
        raise ValueError("These are COCO's compressed counts: use pycocotools.mask.decode.")
    return counts


# ---- points and crops


def build_point_grid(n_per_side: int) -> NDArray[np.float64]:
    """The middles of n x n cells of the unit square, row by row -> (n*n, 2) x, y."""
    middles = (np.arange(n_per_side) + 0.5) / n_per_side
    x, y = np.meshgrid(middles, middles)
    return np.stack((x, y), axis=-1).reshape(-1, 2)


def build_all_layer_point_grids(
    n_per_side: int, n_layers: int, scale_per_layer: int
) -> list[NDArray[np.float64]]:
    """One grid for the whole picture and one for each layer of crops, ever sparser."""
    sides = (int(n_per_side / scale_per_layer**layer) for layer in range(n_layers + 1))
    return [build_point_grid(side) for side in sides]


def generate_crop_boxes(
    im_size: tuple[int, ...], n_layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    """Crops xyxy of a picture (height, width), and the layer of each; the whole picture is 0."""
    height, width = im_size
    crops, layers = [[0, 0, width, height]], [0]
    for layer in range(1, n_layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * 2 / per_side)
        across, down = (
            math.ceil((overlap * (per_side - 1) + length) / per_side) for length in (width, height)
        )
        lefts = [(across - overlap) * i for i in range(per_side)]
        tops = [(down - overlap) * i for i in range(per_side)]
        for x, y in product(lefts, tops):
            crops.append([x, y, min(x + across, width), min(y + down, height)])
            layers.append(layer)
    return crops, layers


def uncrop_boxes_xyxy(boxes: Tensor, crop_box: Sequence[int]) -> Tensor:
    """Boxes (N, 4) within a crop -> within the picture."""
    x, y = crop_box[:2]
    return boxes + torch.tensor([x, y, x, y], device=boxes.device)


def uncrop_points(points: Tensor, crop_box: Sequence[int]) -> Tensor:
    """Points (..., 2) within a crop -> within the picture."""
    return points + torch.tensor(crop_box[:2], device=points.device)


def uncrop_masks(masks: Tensor, crop_box: Sequence[int], orig_h: int, orig_w: int) -> Tensor:
    """Masks (N, h, w) of a crop -> of the picture (N, H, W), empty round the crop."""
    left, top, right, bottom = crop_box
    return F.pad(masks, (left, orig_w - right, top, orig_h - bottom), value=0)


def is_box_near_crop_edge(
    boxes: Tensor, crop_box: Sequence[int], orig_box: Sequence[int], atol: float = 20.0
) -> Tensor:
    """Which boxes (N, 4) within a crop are probably cut off by it -> (N,).

    A side counts that is within `atol` of the crop's side and not of the picture's.
    """
    sides = uncrop_boxes_xyxy(boxes, crop_box).float()
    crop, picture = (torch.tensor(b, device=boxes.device).float() for b in (crop_box, orig_box))
    near_crop, near_picture = (sides - crop).abs() <= atol, (sides - picture).abs() <= atol
    return (near_crop & ~near_picture).any(dim=1)


# ---- masks and boxes


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """First and last pixel of masks (..., H, W) -> xyxy (..., 4); all 0 for an empty mask."""
    return boxes_around(masks)


def box_xyxy_to_xywh(box_xyxy: BoxT) -> BoxT:
    """One box with its width and height, in whatever kind of sequence it came."""
    box = deepcopy(box_xyxy)
    box[2] = box_xyxy[2] - box_xyxy[0]
    box[3] = box_xyxy[3] - box_xyxy[1]
    return box


def calculate_stability_score(
    masks: Tensor, mask_threshold: float, threshold_offset: float
) -> Tensor:
    """How little masks change when their threshold moves: logits (..., H, W) -> (...), 0..1.

    Not a number where a mask is empty even at the lower threshold.
    """
    inner = (masks > mask_threshold + threshold_offset).sum(dim=(-2, -1))
    outer = (masks > mask_threshold - threshold_offset).sum(dim=(-2, -1))
    return inner / outer


def remove_small_regions(
    mask: NDArray[Any], area_thresh: float, mode: str
) -> tuple[NDArray[np.bool_], bool]:
    """A mask (H, W) with regions of less than `area_thresh` pixels gone, and whether any were.

    Mode `holes` fills them, `islands` drops them; of nothing but small islands the largest stays.
    """
    if mode not in ("holes", "islands"):
        raise ValueError(f"The mode is 'holes' or 'islands', not {mode!r}.")
    mask = np.asarray(mask, dtype=bool)
    regions = ~mask if mode == "holes" else mask
    labels, areas = (
        t[0, 0].numpy() for t in get_connected_components(torch.tensor(regions)[None, None])
    )
    small = regions & (areas < area_thresh)
    if not small.any():
        return mask, False
    if mode == "holes":
        return mask | small, True
    if np.array_equal(small, mask):
        small = small & (labels != labels[np.unravel_index(areas.argmax(), areas.shape)])
    return mask & ~small, True


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy choice among boxes (N, 4): the best of each heap of overlapping ones -> indices.

    Best first; equal scores in their order.
    """
    boxes = boxes.float().cpu()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    waiting = scores.cpu().argsort(descending=True, stable=True)
    chosen = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        chosen.append(best)
        near, far = (torch.maximum, torch.minimum)
        corners = (
            near(boxes[best, :2], boxes[waiting, :2]),
            far(boxes[best, 2:], boxes[waiting, 2:]),
        )
        shared = (corners[1] - corners[0]).clamp(min=0).prod(dim=1)
        overlap = shared / (areas[best] + areas[waiting] - shared)
        waiting = waiting[~(overlap > iou_threshold)]  # two boxes without area do not overlap
    return torch.stack(chosen) if chosen else waiting


# ---- bulk


def batch_iterator(batch_size: int, *args: Any) -> Iterator[list[Any]]:
    """Slices of equally long sequences, `batch_size` at a time."""
    if not args or any(len(a) != len(args[0]) for a in args):
        raise ValueError("batch_iterator takes sequences of one length.")
    for start in range(0, len(args[0]), batch_size):
        yield [a[start : start + batch_size] for a in args]


class MaskData:
    """Columns of one table: lists, arrays and tensors whose rows are filtered and joined at once.

    Our own generator has no need of it; scripts that were written round the published one do.
    """

    def __init__(self, **columns: Column) -> None:
        self._columns: dict[str, Column] = {}
        for name, column in columns.items():
            self[name] = column

    def __setitem__(self, name: str, column: Column) -> None:
        if not isinstance(column, list | np.ndarray | Tensor):
            raise TypeError(f"'{name}' is a {type(column).__name__}: use a list, array or tensor.")
        self._columns[name] = column

    def __getitem__(self, name: str) -> Column:
        return self._columns[name]

    def __delitem__(self, name: str) -> None:
        del self._columns[name]

    def items(self) -> ItemsView[str, Column]:
        """Names and columns."""
        return self._columns.items()

    def filter(self, keep: Tensor) -> None:
        """Keeps the rows that `keep` names, by bools (N,) or by indices."""
        rows = keep.nonzero()[:, 0] if keep.dtype == torch.bool else keep
        for name, column in self._columns.items():
            if isinstance(column, Tensor):
                self._columns[name] = column[rows.to(column.device)]
            elif isinstance(column, np.ndarray):
                self._columns[name] = column[rows.cpu().numpy()]
            else:
                self._columns[name] = [column[row] for row in rows.tolist()]

    def cat(self, new_stats: "MaskData") -> None:
        """Adds the rows of another table below these."""
        for name, column in new_stats.items():
            mine: Any = self._columns.get(name)
            if mine is None:
                self._columns[name] = deepcopy(column)
            elif isinstance(mine, Tensor):
                self._columns[name] = torch.cat((mine, torch.as_tensor(column)))
            elif isinstance(mine, np.ndarray):
                self._columns[name] = np.concatenate((mine, np.asarray(column)))
            else:
                self._columns[name] = mine + deepcopy(column)

    def to_numpy(self) -> None:
        """Turns tensors into arrays, where they stand."""
        for name, column in self._columns.items():
            if isinstance(column, Tensor):
                column = column.detach()
                if column.dtype == torch.bfloat16:  # unknown to NumPy
                    column = column.float()
                self._columns[name] = column.cpu().numpy()
