"""COCO's run-length code: how a mask travels as one short ASCII string.

A code lists the lengths of runs, column by column, zeros first. Each length is kept as its
difference to the one two places earlier, in base 32, five bits a character. Codes that come from
files are checked before use: a short one would make the C decoder return memory it never wrote.
"""

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

_LONGEST = 7  # characters in one number: 35 bits, more than any picture has pixels


def encode_mask(mask: NDArray[np.bool_]) -> str:
    """Boolean mask (H, W) -> COCO counts; an empty mask is one run of zeros, never ""."""
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts.decode("ascii")


def decode_counts(counts: str, height: int, width: int) -> NDArray[np.bool_]:
    """COCO counts -> boolean mask (H, W); a ValueError where they do not describe such a mask."""
    runs = run_lengths(counts, height, width)
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T  # the runs go down the columns


def run_lengths(counts: str, height: int, width: int) -> NDArray[np.int64]:
    """COCO counts -> the lengths of the runs, zeros first; they fill height x width exactly."""
    if not counts or not counts.isascii():
        raise ValueError("mask counts are not a COCO run-length code")
    digits = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    is_last = digits < 32  # bit 5 says that the number goes on
    if digits.min() < 0 or digits.max() > 63 or not is_last[-1]:
        raise ValueError("mask counts are not a COCO run-length code")
    runs = _differences(digits, np.flatnonzero(is_last))
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])  # not from 0: the third number is still a plain length
    if runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"mask counts do not fill a mask of {height} x {width} pixels")
    return runs


def _differences(digits: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Base-32 digits, the lowest first, and where each number ends -> the signed numbers."""
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST:
        raise ValueError("mask counts hold a number too large for any picture")
    places = np.arange(len(digits)) - np.repeat(starts, lengths)
    numbers: NDArray[np.int64] = np.add.reduceat((digits & 31) << 5 * places, starts)
    is_negative = (digits[ends] & 16) >> 4  # two's complement: the top bit is the sign
    numbers -= is_negative << 5 * lengths
    return numbers
