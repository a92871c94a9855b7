"""Small data sets on disk for the tests of evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Labels = NDArray[np.uint8]


def write_mask(path: Path, labels: Labels) -> None:
    """An indexed PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels)
    picture.putpalette([i for i in range(256) for _ in "rgb"])
    picture.save(path, compress_level=1)


def write_masks(folder: Path, frames: Mapping[str, Labels]) -> Path:
    """One indexed PNG per frame, by the name of the file."""
    for name, labels in frames.items():
        write_mask(folder / name, labels)
    return folder


def write_objects(folder: Path, frames: Mapping[str, Labels], ids: Sequence[int]) -> Path:
    """A folder of binary PNGs per object: `000` is id 1."""
    for i in ids:
        for name, labels in frames.items():
            write_mask(folder / f"{i - 1:03d}" / name, (labels == i).astype(np.uint8))
    return folder


def squares(places: Mapping[int, tuple[int, int]], side: int = 8) -> Labels:
    """A label picture (48, 64) with a square per object, its top left corner at (y, x)."""
    labels = np.zeros((48, 64), np.uint8)
    for i, (y, x) in places.items():
        labels[y : y + side, x : x + side] = i
    return labels


def moving(ids: Sequence[int], n_frames: int) -> dict[str, Labels]:
    """Squares that go to the right, one below the other, by the names of their PNGs."""
    return {
        f"{k:05d}.png": squares({i: (12 * (i - 1), 3 * k) for i in ids}) for k in range(n_frames)
    }
