"""What masks are made of: connected regions, their areas, and boxes round them.

Plain tensor operations, so that results are the same on every device and need no extension.
"""

import torch
from torch import Tensor


def get_connected_components(mask: Tensor) -> tuple[Tensor, Tensor]:
    """8-connected regions of masks (N, 1, H, W) -> label and area of each pixel's region, int32.

    Both have the shape of the masks and are 0 outside. Labels count from 1 through all N masks.
    """
    # Runs (unbroken stretches of a row) are joined instead of pixels: there are far fewer of them.
    inside = mask[:, 0].bool()
    starts = inside.clone()
    starts[..., 1:] &= ~inside[..., :-1]
    run = starts.flatten().cumsum(0).view_as(starts) - 1  # of each pixel inside
    pixels = run[inside]
    roots = _roots(int(starts.sum()), *_touching(inside, starts, run))
    names = (roots == torch.arange(len(roots), device=roots.device)).cumsum(0)[roots]
    sizes = torch.bincount(roots[pixels], minlength=len(roots))[roots]
    labels, areas = (torch.zeros_like(inside, dtype=torch.int32) for _ in range(2))
    labels[inside] = names[pixels].to(torch.int32)
    areas[inside] = sizes[pixels].to(torch.int32)
    return labels[:, None], areas[:, None]


def _touching(inside: Tensor, starts: Tensor, run: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of runs in neighbouring rows that touch, from maps (N, H, W): twice (pairs,)."""
    above, below = inside[:, :-1], inside[:, 1:]
    run_above, run_below = run[:, :-1], run[:, 1:]
    # Where two runs overlap, one of them starts at the first column that they share.
    overlap = above & below & (starts[:, :-1] | starts[:, 1:])
    corners = above ^ below  # two pixels touch by their corners only
    corners = corners[..., :-1] & corners[..., 1:]
    falling = corners & above[..., :-1] & below[..., 1:]
    rising = corners & above[..., 1:] & below[..., :-1]
    upper = (run_above[overlap], run_above[..., :-1][falling], run_above[..., 1:][rising])
    lower = (run_below[overlap], run_below[..., 1:][falling], run_below[..., :-1][rising])
    return torch.cat(upper), torch.cat(lower)


def _roots(count: int, one: Tensor, other: Tensor) -> Tensor:
    """The first member of the group of each of `count` things, of which pairs belong together."""
    roots = torch.arange(count, device=one.device)
    while True:
        a, b = roots[one], roots[other]
        if torch.equal(a, b):
            return roots
        roots = roots.scatter_reduce(0, torch.maximum(a, b), torch.minimum(a, b), "amin")
        while not torch.equal(roots, further := roots[roots]):
            roots = further


def without_holes(logits: Tensor, area: float, threshold: float, value: float) -> Tensor:
    """Logits (N, 1, H, W) with background regions of at most `area` pixels set to `value`."""
    _, areas = get_connected_components(logits <= threshold)
    return logits.masked_fill((areas > 0) & (areas <= area), value)


def without_specks(logits: Tensor, area: float, threshold: float, value: float) -> Tensor:
    """Logits (N, 1, H, W) with foreground regions of at most `area` pixels set to `value`."""
    _, areas = get_connected_components(logits > threshold)
    return logits.masked_fill((areas > 0) & (areas <= area), value)


def fill_holes_in_mask_scores(mask: Tensor, max_area: float) -> Tensor:
    """Logits (N, 1, H, W) whose holes of at most `max_area` pixels are just above zero."""
    return without_holes(mask, max_area, threshold=0.0, value=0.1)


def boxes_around(masks: Tensor) -> Tensor:
    """First and last pixel of masks (..., H, W) -> xyxy (..., 4); all 0 for an empty mask."""
    masks = masks.bool()
    left, right = _extent(masks.any(dim=-2))
    top, bottom = _extent(masks.any(dim=-1))
    return torch.stack((left, top, right, bottom), dim=-1)


def _extent(line: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the first and the last True of lines (..., N): twice (...), 0 if there is none."""
    if not line.numel():
        return (line.new_zeros(line.shape[:-1], dtype=torch.int64),) * 2
    first = line.to(torch.uint8).argmax(dim=-1)
    last = line.shape[-1] - 1 - line.flip(-1).to(torch.uint8).argmax(dim=-1)
    return first, torch.where(line.any(dim=-1), last, 0)


def mask_to_box(masks: Tensor) -> Tensor:
    """Masks (B, 1, H, W) -> boxes (B, 1, 4) xyxy; all 0 for an empty mask."""
    return boxes_around(masks)


def get_sdpa_settings() -> tuple[bool, bool, bool]:
    """Whether the GPU is old (before Volta), may use flash attention, and needs the math kernel."""
    if not torch.cuda.is_available():
        return True, False, True
    generation = torch.cuda.get_device_capability()[0]
    return generation < 7, generation >= 8, generation < 8
