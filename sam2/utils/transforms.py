"""Between a picture and the model's square: pixels and prompts in, masks out."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sam2.components import without_holes, without_specks
from sam2.images import MEAN, STD, from_still, normalise

Picture = Image.Image | NDArray[np.uint8] | NDArray[np.floating]
Size = tuple[int, int]  # height, width


class PictureError(ValueError, NotImplementedError):
    """Something that is not a picture; the message says what to pass instead."""


class SAM2Transforms:
    """Scales pictures and prompts to `resolution` pixels square, and masks back again."""

    def __init__(
        self,
        resolution: int,
        mask_threshold: float,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
    ) -> None:
        self.resolution = resolution
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area
        self.mean = list(MEAN)
        self.std = list(STD)

    def __call__(self, image: Picture) -> Tensor:
        """A picture H x W -> normalised (3, S, S)."""
        return self.forward_batch([image])[0]

    def forward_batch(self, images: Sequence[Picture]) -> Tensor:
        """N pictures of any sizes -> normalised (N, 3, S, S)."""
        return normalise(torch.stack([from_still(_pixels(i), self.resolution) for i in images]))

    def transform_coords(
        self, coords: Tensor, normalize: bool = False, orig_hw: Size | None = None
    ) -> Tensor:
        """Places (..., 2) in 0..1, or in pixels of a picture with `normalize`, -> model pixels."""
        if normalize:
            if orig_hw is None:
                raise ValueError("normalize=True needs orig_hw, the picture's (height, width).")
            height, width = orig_hw
            coords = coords / torch.tensor([width, height], device=coords.device)
        return coords * self.resolution

    def transform_boxes(
        self, boxes: Tensor, normalize: bool = False, orig_hw: Size | None = None
    ) -> Tensor:
        """Boxes (B, 4) xyxy, measured as in `transform_coords`, -> corners (B, 2, 2)."""
        return self.transform_coords(boxes.reshape(-1, 2, 2), normalize, orig_hw)

    def postprocess_masks(self, masks: Tensor, orig_hw: Size) -> Tensor:
        """Low-resolution logits (B, C, S/4, S/4) -> logits at the picture's size (B, C, H, W).

        Small holes and specks, if any are to go, are put 10 beyond the threshold before.
        """
        masks = masks.float()
        threshold, shape = self.mask_threshold, masks.shape
        flat = masks.reshape(-1, 1, *shape[-2:])
        if self.max_hole_area > 0:
            flat = without_holes(flat, self.max_hole_area, threshold, threshold + 10)
        if self.max_sprinkle_area > 0:
            flat = without_specks(flat, self.max_sprinkle_area, threshold, threshold - 10)
        return F.interpolate(flat.view(shape), orig_hw, mode="bilinear", align_corners=False)


def picture_size(image: Picture) -> Size:
    """Height and width of a picture; raises PictureError for anything else."""
    if isinstance(image, Image.Image):
        return image.height, image.width
    if not isinstance(image, np.ndarray):
        raise PictureError(
            f"A {type(image).__name__} is not a picture: pass an RGB array of H x W x 3 or a PIL "
            "picture."
        )
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise PictureError(
            f"A picture array has the shape (H, W, 3) in RGB order, not {image.shape}. For other "
            "kinds pass a PIL picture, such as Image.fromarray(array)."
        )
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise PictureError(
            f"A picture array is uint8 (0 to 255) or float (0 to 1), not {image.dtype}: use "
            "array.astype(np.uint8)."
        )
    return image.shape[0], image.shape[1]


def _pixels(image: Picture) -> Tensor:
    """A picture -> (3, H, W), uint8 or float."""
    picture_size(image)
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    pixels = torch.from_numpy(
        np.array(image, order="C")
    )  # a copy: the array may be a mirrored view
    if pixels.is_floating_point():
        if not pixels.isfinite().all():
            raise PictureError("The picture has pixels that are not finite numbers.")
        if pixels.max() > 2:
            warnings.warn(
                f"A float picture counts from 0 to 1 and is taken as it is, but this one goes up "
                f"to {pixels.max().item():g}. Pass it as uint8, or divide it by 255.",
                stacklevel=4,
            )
    return pixels.permute(2, 0, 1)
