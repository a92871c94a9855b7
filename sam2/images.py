"""Pictures as the model wants them: square, and normalised as its weights were trained."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sam2.devices import upload

Colour = tuple[float, float, float]  # red, green, blue

MEAN: Colour = (0.485, 0.456, 0.406)
STD: Colour = (0.229, 0.224, 0.225)


def normalise(images: Tensor, mean: Colour = MEAN, deviation: Colour = STD) -> Tensor:
    """RGB (N, 3, S, S), uint8 or float in 0..1 -> float32 of about zero mean and unit deviation."""
    if images.dtype == torch.uint8:
        images = images.to(torch.float32) / 255
    middle, spread = (
        upload(torch.tensor(colour), images.device).view(3, 1, 1) for colour in (mean, deviation)
    )
    return (images - middle) / spread


def from_video_picture(picture: Image.Image, size: int) -> Tensor:
    """One picture of a folder of video frames -> uint8 (3, S, S): bicubic, rounded."""
    resized = picture.convert("RGB").resize((size, size))
    return (
        torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
        .view(size, size, 3)
        .permute(2, 0, 1)
    )


def from_still(image: Tensor, size: int) -> Tensor:
    """One still picture (3, H, W), uint8 or float in 0..1 -> float (3, S, S) in 0..1.

    Bilinear and antialiased; nothing is rounded on the way.
    """
    scale = 255 if image.dtype == torch.uint8 else 1
    image = image.to(torch.float32)[None] / scale
    return F.interpolate(image, size=(size, size), mode="bilinear", antialias=True)[0]
