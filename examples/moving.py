"""What the three video scripts beside this file share: their options, and their predictor."""

import argparse
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam2.build_sam import build_sam2_video_predictor
from sam2.sam2_video_predictor import SAM2VideoPredictor

DEMO = Path(__file__).parent / "demo" / "demo.mp4"
BALL, BALLOON = 1, 2
ON_THE_BALL = [[78, 322]]  # a click in the demo clip's first frame, x and y
AROUND_THE_BALLOON = [61, 57, 147, 175]  # a box there: left, top, right, bottom


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of the scripts; more can be added."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--config", default="nano", help="such as configs/sam2.1/sam2.1_hiera_t")
    options.add_argument(
        "--checkpoint", type=Path, help="its weights: nano has its own, others are random"
    )
    options.add_argument("--device", default="cpu", help="cpu or cuda")
    options.add_argument("--video", default=str(DEMO), help="a file, a folder of JPEGs, or a URI")
    options.add_argument("--frames", type=int, default=48, help="stop after so many")
    return options


def predictor_for(args: argparse.Namespace) -> SAM2VideoPredictor:
    """The predictor that the options ask for."""
    return build_sam2_video_predictor(args.config, args.checkpoint, device=args.device)


def masks_of(objects: Sequence[Hashable], logits: Tensor) -> dict[Hashable, NDArray[np.bool_]]:
    """Logits (objects, 1, H, W) as one mask (H, W) for each object."""
    return dict(zip(objects, (logits[:, 0] > 0).cpu().numpy(), strict=True))
