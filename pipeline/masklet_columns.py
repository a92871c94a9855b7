"""Gathers what is found of one object, as run-length codes, until its row is complete."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.mask_codes import MaskCode, encode_masks
from pipeline.masklets import Masklet
from sam2.session import upscale
from sam2.tracking import FrameMask

_PIXELS = 2**26  # of the masks that are scaled up together: 256 MiB of logits


@dataclass(slots=True)
class MaskletColumns:
    """The per-frame columns of a masklet: an entry for each frame, in the order of finding."""

    frame_index: list[int] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    object_score: list[float] = field(default_factory=list)
    area: list[int] = field(default_factory=list)
    bbox: list[list[float]] = field(default_factory=list)

    def add(self, frame: int, code: MaskCode, score: float, object_score: float) -> None:
        """Records one frame."""
        self.frame_index.append(frame)
        self.counts.append(code.counts)
        self.score.append(score)
        self.object_score.append(object_score)
        self.area.append(code.area)
        self.bbox.append(code.bbox)

    def copy(self) -> "MaskletColumns":
        """The same, to which nothing will be added."""
        return MaskletColumns(*([*getattr(self, column.name)] for column in fields(self)))

    def complete(self, row: Masklet, timestamps: NDArray[np.float64]) -> Masklet:
        """The row with what was gathered, in the order of the frames."""
        order = np.argsort(self.frame_index)
        return replace(
            row,
            frame_index=[self.frame_index[i] for i in order],
            timestamp_s=[float(timestamps[self.frame_index[i]]) for i in order],
            counts=[self.counts[i] for i in order],
            score=[self.score[i] for i in order],
            object_score=[self.object_score[i] for i in order],
            area=[self.area[i] for i in order],
            bbox=[self.bbox[i] for i in order],
        )


@torch.inference_mode()
def record_frame(
    frame: int, found: Sequence[tuple[MaskletColumns, FrameMask]], frame_size: tuple[int, int]
) -> None:
    """Records the objects found on a frame; their masks are scaled to (height, width) and coded."""
    masks = [mask for _, mask in found]
    codes: list[MaskCode] = []
    for logits in torch.split(torch.stack([m.mask for m in masks]), _at_once(frame_size)):
        codes += encode_masks(upscale(logits, frame_size) > 0)
    scores = torch.stack([torch.stack((m.iou, m.score)) for m in masks]).cpu()
    for (columns, _), code, (iou, score) in zip(found, codes, scores, strict=True):
        # One by one: many at a time the last bit would depend on how many.
        columns.add(frame, code, float(iou), float(score.sigmoid()))


def _at_once(frame_size: tuple[int, int]) -> int:
    """Masks of this size that are scaled up together."""
    return max(_PIXELS // (frame_size[0] * frame_size[1]), 1)
