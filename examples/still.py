"""What the two picture scripts beside this file share: their picture, and where it comes from."""

import argparse
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEMO = Path(__file__).parent / "demo" / "demo.mp4"
DEMO_FRAME = 30  # ball, balloon and boat are all in view


def parser(description: str | None, out: str) -> argparse.ArgumentParser:
    """The options of both scripts; more can be added."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--config", default="nano", help="such as configs/sam2.1/sam2.1_hiera_t")
    options.add_argument(
        "--checkpoint", type=Path, help="its weights: nano has its own, others are random"
    )
    options.add_argument("--device", default="cpu", help="cpu or cuda")
    options.add_argument("--picture", type=Path, help="default: a frame of the demo clip")
    options.add_argument("--out", type=Path, default=Path(out))
    return options


def load(picture: Path | None) -> NDArray[np.uint8]:
    """The picture, or the frame of the demo clip -> RGB (H, W, 3)."""
    if picture is not None:
        return np.array(Image.open(picture).convert("RGB"))
    with av.open(str(DEMO)) as clip:
        frames = clip.decode(video=0)
        return next(f.to_ndarray(format="rgb24") for i, f in enumerate(frames) if i == DEMO_FRAME)
