"""J and F of one mask against the true one: how well the region agrees, and its outline.

Region similarity J is intersection over union; contour accuracy F is the harmonic mean of boundary
precision and recall (Perazzi et al., CVPR 2016). The details are those of the official tools.
"""

from dataclasses import dataclass
from math import ceil, hypot, isqrt

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True, slots=True)
class Score:
    """J and F, as fractions."""

    j: float
    f: float

    @property
    def jf(self) -> float:
        """Their mean, the figure that papers report."""
        return (self.j + self.f) / 2

    def to_json(self) -> dict[str, float]:
        """Under the names that papers use."""
        return {"J": self.j, "F": self.f, "J&F": self.jf}


def compare(truth: Mask, predicted: Mask) -> Score:
    """J and F of a predicted mask (H, W); two empty masks agree wholly."""
    reach = ceil(0.008 * hypot(*truth.shape))
    box = _box(truth | predicted)
    truth, predicted = truth[box], predicted[box]
    return Score(_region(truth, predicted), _contour(truth, predicted, reach))


def _box(mask: Mask) -> tuple[slice, slice]:
    """What a mask spans, one pixel wider: there its outline lies, and outside it nothing does."""
    return _span(mask, axis=0), _span(mask, axis=1)


def _span(mask: Mask, axis: int) -> slice:
    inside = np.flatnonzero(mask.any(axis=1 - axis))
    return slice(max(inside[0] - 1, 0), inside[-1] + 2) if len(inside) else slice(0)


def _region(truth: Mask, predicted: Mask) -> float:
    union = np.count_nonzero(truth | predicted)
    return np.count_nonzero(truth & predicted) / union if union else 1.0


def _contour(truth: Mask, predicted: Mask, reach: int) -> float:
    """F: a pixel of one outline is right if the other's comes within `reach` of it."""
    outline, guess = _outline(truth), _outline(predicted)
    wanted, given = np.count_nonzero(outline), np.count_nonzero(guess)
    if not wanted or not given:
        return float(wanted == given)
    precision = np.count_nonzero(guess & _dilated(outline, reach)) / given
    recall = np.count_nonzero(outline & _dilated(guess, reach)) / wanted
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _outline(mask: Mask) -> Mask:
    """Pixels unlike the one to the right, below, or below to the right, as far as there are such.

    So the outline sits half a pixel to the top left, and the picture's edge is no part of it.
    """
    outline = np.zeros_like(mask)
    outline[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    outline[:-1, :] |= mask[:-1, :] != mask[1:, :]
    outline[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return outline


def _dilated(mask: Mask, reach: int) -> Mask:
    """Grown by the disk x² + y² <= reach², which is laid row by row, its narrow ends first."""
    grown = np.zeros_like(mask)
    row, width = mask.copy(), 0  # the mask grown by `width` to the left and to the right
    for dy in range(min(reach, len(mask) - 1), -1, -1):
        while width < isqrt(reach**2 - dy**2):
            width += 1
            row[:, width:] |= mask[:, :-width]
            row[:, :-width] |= mask[:, width:]
        grown[dy:] |= row[: len(row) - dy]
        grown[: len(row) - dy] |= row[dy:]
    return grown
