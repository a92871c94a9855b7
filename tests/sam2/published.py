"""The tiny model under its published face, and a picture for it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from sam2.modeling.sam2_base import SAM2Base
from tests.sam2.tiny import TINY, pictures, weights

HEIGHT, WIDTH = 48, 80


@cache
def published_tiny() -> SAM2Base:
    """The tiny model as the builders would give it."""
    model = SAM2Base(TINY)
    model.load_state_dict(weights(TINY), strict=True)
    return model.eval()


def picture() -> NDArray[np.uint8]:
    """Two squares on a patchy ground, wider than high: (HEIGHT, WIDTH, 3)."""
    return pictures(1, size=WIDTH)[0][:HEIGHT].copy()
