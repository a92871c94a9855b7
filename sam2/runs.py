"""Masks as runs: how many pixels lie outside and inside in turn, down one column after another."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def mask_runs(masks: Tensor) -> list[NDArray[np.int64]]:
    """Masks (B, H, W) bool -> the lengths of the runs of each, outside first, perhaps of length 0.

    The device of the masks finds where runs begin, and only these places are copied to the host.
    """
    pixels = masks[0].numel()
    down = masks.transpose(1, 2).flatten(1)  # (B, W*H)
    begins = torch.cat((down[:, :1], down[:, 1:] != down[:, :-1]), dim=1)
    places = begins.flatten().nonzero()[:, 0].cpu().numpy()
    starts = pixels * np.arange(len(masks))  # of the masks
    own = np.split(places, np.searchsorted(places, starts[1:]))
    return [np.diff(p - s, prepend=0, append=pixels) for p, s in zip(own, starts, strict=True)]
