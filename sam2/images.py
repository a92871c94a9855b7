"""Pictures as the model wants them: square, and normalised as its weights were trained."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """RGB (N, 3, S, S), uint8 or float in 0..1 -> float32 of about zero mean and unit deviation."""
    if images.dtype == torch.uint8:
        images = images.to(torch.float32) / 255
    mean = torch.tensor(_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(_STD, device=images.device).view(3, 1, 1)
    return (images - mean) / std


def from_video_picture(picture: Image.Image, size: int) -> Tensor:
    """One picture of a folder of video frames -> uint8 (3, S, S): bicubic, rounded."""
    resized = picture.convert("RGB").resize((size, size))
    return (
        torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
        .view(size, size, 3)
        .permute(2, 0, 1)
    )


def from_still(image: Tensor, size: int) -> Tensor:
    """One still picture, uint8 (3, H, W) -> float (3, S, S) in 0..1: bilinear, antialiased."""
    image = image.to(torch.float32)[None] / 255
    return F.interpolate(image, size=(size, size), mode="bilinear", antialias=True)[0]
