"""Masks on any device as the rows keep them: COCO's run-length code, area and box."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from torch import Tensor

from sam2.runs import mask_runs


@dataclass(frozen=True, slots=True)
class MaskCode:
    """A mask as a row keeps it."""

    counts: str
    area: int  # pixels
    bbox: list[float]  # x, y, width, height


def encode_masks(masks: Tensor) -> list[MaskCode]:
    """Masks (B, H, W) bool, on any device -> their codes, made where the masks are."""
    if masks.device.type == "cpu":
        # On a CPU the C coder takes 0.9 ms for 854x480 pixels, scaling included; by runs 1.1 ms.
        pixels = masks.numpy().transpose(1, 2, 0)
        return _measured(coco.encode(np.asfortranarray(pixels, dtype=np.uint8)))
    return encode_runs(mask_runs(masks), *masks.shape[1:])


def encode_runs(runs: Sequence[NDArray[np.int64]], height: int, width: int) -> list[MaskCode]:
    """The codes of masks whose runs are known, zeros first."""
    plain = [{"size": [height, width], "counts": own} for own in runs]
    return _measured(coco.frPyObjects(plain, height, width))


def _measured(codes: list[dict[str, bytes]]) -> list[MaskCode]:
    return [
        MaskCode(code["counts"].decode("ascii"), int(area), [float(value) for value in bbox])
        for code, area, bbox in zip(codes, coco.area(codes), coco.toBbox(codes), strict=True)
    ]
