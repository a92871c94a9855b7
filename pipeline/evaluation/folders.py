"""Masks in folders of PNGs, as DAVIS and SA-V lay them out, and the sequences of a data set.

A sequence has either one indexed PNG per frame (its pixels hold object ids), or a folder per object
with one binary PNG per frame.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.frame_folder import PICTURES, numbered_files
from pipeline.video import VideoError

Labels = NDArray[np.uint8]  # (H, W), object ids; 0 is the background

VOID = 255  # in DAVIS: nobody can tell what is here
_MASKS = ("Annotations_6fps", "Annotations/480p", "Annotations", "480p")
_FRAMES = ("JPEGImages_24fps", "JPEGImages/480p", "JPEGImages", "480p")


class EvaluationError(ValueError):
    """Masks that cannot be scored; the message names the file or the sequence and says why."""


@dataclass(frozen=True)
class MaskFolder:
    """One folder of PNGs: a sequence's, or with `binary` one object's."""

    path: Path
    binary: bool = False

    @cached_property
    def files(self) -> Mapping[int, Path]:
        """The PNGs by the number of their frame, in that order."""
        try:
            return numbered_files(self.path, (".png",))
        except VideoError as error:
            raise EvaluationError(str(error)) from error

    def read(self, frame: int) -> Labels:
        """The object ids (H, W) on one frame; 1 in a binary PNG."""
        if frame not in self.files:
            raise EvaluationError(f"{self.path}: has no mask for frame {frame}")
        path = self.files[frame]
        labels = _read(path)
        if not self.binary:
            return labels
        if len(found := ids_in(labels)) > 1:
            raise EvaluationError(
                f"{path}: has the values {found}, but in a folder per object a mask has one"
            )
        return (labels > 0).astype(np.uint8)

    def read_like(self, other: Labels, frame: int) -> Labels:
        """The same of a prediction, which must be as large as the truth."""
        labels = self.read(frame)
        if labels.shape != other.shape:
            raise EvaluationError(
                f"{self.files[frame]}: is {labels.shape[1]} x {labels.shape[0]}, but the true mask "
                f"is {other.shape[1]} x {other.shape[0]}; nothing is resized here"
            )
        return labels


def ids_in(labels: Labels) -> list[int]:
    """The ids in a label picture, without the background."""
    return [int(i) for i in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)) if i]


def _read(path: Path) -> Labels:
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("P", "L", "1"):
                raise EvaluationError(
                    f"{path}: is a PNG of mode {picture.mode}; a mask is indexed (P), grey (L) "
                    "or black and white (1)"
                )
            return np.array(picture, dtype=np.uint8)
    except (OSError, SyntaxError) as error:
        raise EvaluationError(f"{path}: cannot be read as a PNG: {error}") from error


def find_masks(root: Path) -> dict[str, Path]:
    """The folder of masks of each sequence in a data set, or in a folder of sequences.

    Also known are a folder per sequence with Annotations in it, and DAVIS's 480p.
    Raises EvaluationError where there are none.
    """
    return _find(root, _MASKS, "masks (PNG)")


def find_frames(root: Path) -> dict[str, Path]:
    """The folder of pictures of each sequence, likewise."""
    return _find(root, _FRAMES, "pictures")


def _find(root: Path, homes: Iterable[str], what: str) -> dict[str, Path]:
    if not root.is_dir():
        raise EvaluationError(f"{root}: there is no such folder")
    homes = tuple(homes)
    home = next((root / name for name in homes if (root / name).is_dir()), root)
    found = {}
    for folder in _subfolders(home):
        inner = next((folder / name for name in homes if (folder / name).is_dir()), folder)
        if _holds_pictures(inner) or any(map(_holds_pictures, _subfolders(inner))):
            found[folder.name] = inner
    if not found:
        itself = ": give the folder that it is in" if _holds_pictures(home) else ""
        raise EvaluationError(
            f"{home}: has no folder with {what} in it, one for each sequence{itself}"
        )
    return found


def object_folders(sequence: Path) -> dict[str, MaskFolder]:
    """The folders of a sequence that has one per object; none if it has one PNG per frame."""
    if _holds_pictures(sequence):
        return {}
    return {
        folder.name: MaskFolder(folder, binary=True)
        for folder in _subfolders(sequence)
        if _holds_pictures(folder)
    }


def _subfolders(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith("."))


def _holds_pictures(folder: Path) -> bool:
    return any(p.suffix.lower() in PICTURES for p in folder.iterdir())
