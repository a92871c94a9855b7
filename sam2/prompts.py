"""Prompts: what a person says of one object on one frame."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2.devices import upload
from sam2.prompt_encoder import BOTTOM_RIGHT, NOT_A_POINT, TOP_LEFT


@dataclass(frozen=True, slots=True)
class PointPrompt:
    """Clicks and perhaps a box, x then y in pixels of the picture, measured from its corner."""

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()  # 1: on the object, 0: not on it
    box: tuple[float, float, float, float] | None = None  # left, top, right, bottom

    @property
    def count(self) -> int:
        """Points in all; a box counts as its two corners."""
        return len(self.points) + (2 if self.box else 0)

    def extended(self, other: "PointPrompt") -> "PointPrompt":
        """Both prompts as one; a box is the first one's."""
        return PointPrompt(self.points + other.points, self.labels + other.labels, self.box)

    def to_model(
        self, height: int, width: int, image_size: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Points (1, P, 2) in model pixels and their labels (1, P).

        The corners of the box come first and one padding point last, as the weights expect.
        """
        corners = [self.box[:2], self.box[2:]] if self.box else []
        labels = [TOP_LEFT, BOTTOM_RIGHT] if self.box else []
        places = torch.tensor([*corners, *self.points], dtype=torch.float32).reshape(-1, 2)
        places = places / torch.tensor([width, height]) * image_size
        places = F.pad(places, (0, 0, 0, 1))
        marks = torch.tensor([*labels, *self.labels, NOT_A_POINT])
        return upload(places[None], device), upload(marks[None], device)


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrompt:
    """The object's mask, drawn by a person or given by an annotation."""

    mask: Tensor  # (H, W) bool, of any size

    def to_model(self, image_size: int, device: torch.device) -> Tensor:
        """The mask as 0 and 1 at the model's size -> (1, 1, S, S) float."""
        mask = upload(self.mask, device).to(torch.float32)[None, None]
        if mask.shape[-2:] == (image_size, image_size):
            return mask
        size = (image_size, image_size)
        mask = F.interpolate(mask, size=size, mode="bilinear", antialias=True)
        return (mask >= 0.5).to(torch.float32)


Prompt = PointPrompt | MaskPrompt
