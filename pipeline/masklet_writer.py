"""Gathers what is found of one object, as run-length codes, until its row is complete."""

from dataclasses import dataclass, field, replace

import numpy as np
import pycocotools.mask as coco
import torch
from numpy.typing import NDArray

from pipeline.masklets import Masklet
from sam2.session import upscale
from sam2.tracking import FrameMask


@dataclass(slots=True)
class MaskletWriter:
    """The per-frame columns of a masklet: an entry for each frame, in the order of finding."""

    frame_index: list[int] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    object_score: list[float] = field(default_factory=list)
    area: list[int] = field(default_factory=list)
    bbox: list[list[float]] = field(default_factory=list)

    @torch.inference_mode()
    def add(self, frame: int, found: FrameMask, frame_size: tuple[int, int]) -> None:
        """Records one frame; the mask is scaled to the video's (height, width) and coded here."""
        mask = (upscale(found.mask[None], frame_size)[0] > 0).cpu().numpy()
        code = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
        self.frame_index.append(frame)
        self.counts.append(code["counts"].decode("ascii"))
        self.score.append(float(found.iou))
        self.object_score.append(float(found.score.sigmoid()))
        self.area.append(int(coco.area(code)))
        self.bbox.append([float(value) for value in coco.toBbox(code)])

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
