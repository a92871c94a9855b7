"""Position codes: sines for maps and distances, rotations for memory attention."""

import math

import torch
from torch import Tensor

from sam2.devices import upload

_BASE = 10_000.0


def _periods(pairs: int) -> Tensor:
    """From 1 up to almost 10,000, in equal ratios: (pairs,)."""
    return _BASE ** (torch.arange(pairs, dtype=torch.float32) / pairs)


def sine_map(channels: int, size: int) -> Tensor:
    """Code of every cell of a square map -> (channels, size, size).

    Half of the channels is for rows, half for columns. Within each, sines and cosines alternate
    ("Attention is all you need", section 3.5).
    """
    place = torch.arange(1, size + 1, dtype=torch.float32) / (size + 1e-6) * 2 * math.pi
    angle = place[:, None] / _periods(channels // 4)  # (size, channels / 4)
    code = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1).T  # (channels / 2, size)
    rows = code[:, :, None].expand(-1, -1, size)
    columns = code[:, None, :].expand(-1, size, -1)
    return torch.cat((rows, columns))


def sine_distance(distance: Tensor, channels: int) -> Tensor:
    """Code of each distance: (...) -> (..., channels), all sines first, then all cosines."""
    # The published weights expect each period twice in a row.
    periods = upload(_periods(channels // 4).repeat_interleave(2), distance.device)
    angle = distance[..., None] / periods
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


def rotary_turns(channels: int, size: int) -> Tensor:
    """How each channel pair turns at each cell of a square map -> (size*size, channels/2, 2).

    A turn is the cosine and sine of its angle. The first half of the pairs turns with the column,
    the second with the row (RoFormer, applied along two axes).
    """
    frequencies = 1 / _periods(channels // 4)
    cell = torch.arange(size * size)
    columns, rows = cell % size, cell // size
    angles = torch.cat((columns[:, None] * frequencies, rows[:, None] * frequencies), dim=1)
    return torch.view_as_real(torch.polar(torch.ones_like(angles), angles))


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turns neighbouring channel pairs: (B, N, D) by (N, D/2, 2) -> (B, N, D).

    A pair is a complex number, and float32: that product rounds as the published figures do.
    """
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    if torch.compiler.is_compiling():  # the same bits; only plain numbers are joined to one kernel
        real, imaginary, cosine, sine = *pairs.unbind(-1), *turns.unbind(-1)
        parts = (real * cosine - imaginary * sine, real * sine + imaginary * cosine)
        turned = torch.stack(parts, dim=-1)
    else:
        product = torch.view_as_complex(pairs) * torch.view_as_complex(turns)
        turned = torch.view_as_real(product)
    return turned.flatten(-2).to(x.dtype)
