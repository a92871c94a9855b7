"""Reading videos, and small helpers, under their published names.

`load_video_frames` may be replaced by a program's own: the video predictor calls what is here.
"""

from functools import partial
from os import PathLike
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sam2.components import (
    fill_holes_in_mask_scores,
    get_connected_components,
    get_sdpa_settings,
    mask_to_box,
)
from sam2.devices import resolve_device
from sam2.frames import ReadAhead as AsyncVideoFrameLoader
from sam2.frames import SizedFrames, StreamFrames, VideoSource, open_frames
from sam2.images import MEAN, STD, Colour, from_video_picture, normalise

__all__ = [
    "AsyncVideoFrameLoader",
    "concat_points",
    "fill_holes_in_mask_scores",
    "get_connected_components",
    "get_sdpa_settings",
    "load_video_frames",
    "mask_to_box",
]


def load_video_frames(
    video_path: VideoSource,
    image_size: int,
    offload_video_to_cpu: bool,
    img_mean: Colour = MEAN,
    img_std: Colour = STD,
    async_loading_frames: bool = False,
    compute_device: torch.device | str | None = None,
) -> tuple[SizedFrames | StreamFrames, int, int]:
    """The frames of a video as normalised (3, S, S) tensors, its height and its width.

    Frames are read when they are asked for and never kept, so `offload_video_to_cpu` only says
    where they come out. `compute_device` is by default the GPU, where there is one.
    """
    if compute_device is None:
        compute_device = resolve_device("auto")
    device = torch.device("cpu" if offload_video_to_cpu else compute_device)
    ready = partial(_ready, mean=img_mean, deviation=img_std, device=device)
    frames, (height, width) = open_frames(video_path, image_size, ready)
    if async_loading_frames and not isinstance(frames, StreamFrames):
        frames = AsyncVideoFrameLoader(frames)
    return frames, height, width


OWN_LOADER = load_video_frames  # by which one can tell whether a program has put its own there


def _ready(picture: Tensor, mean: Colour, deviation: Colour, device: torch.device) -> Tensor:
    # Normalised on the CPU: a GPU divides a little differently, and a frame must be the same
    # wherever it is kept.
    return normalise(picture[None], mean, deviation)[0].to(device)


def _load_img_as_tensor(img_path: str | PathLike[str], image_size: int) -> tuple[Tensor, int, int]:
    """One picture of a folder of frames: (3, S, S) in 0..1, its height and its width."""
    with Image.open(Path(img_path)) as picture:
        square = from_video_picture(picture, image_size)
        return square.to(torch.float32) / 255, picture.height, picture.width


def concat_points(
    old_point_inputs: dict[str, Tensor] | None, new_points: Tensor, new_labels: Tensor
) -> dict[str, Tensor]:
    """Points (B, N, 2) with labels (B, N), after those given before."""
    if old_point_inputs is None:
        return {"point_coords": new_points, "point_labels": new_labels}
    return {
        "point_coords": torch.cat((old_point_inputs["point_coords"], new_points), dim=1),
        "point_labels": torch.cat((old_point_inputs["point_labels"], new_labels), dim=1),
    }
