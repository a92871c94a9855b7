"""Prompts as callers of the predictors give them: arrays, tensors or lists, checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2.prompt_encoder import BOTTOM_RIGHT, NEGATIVE, NOT_A_POINT, POSITIVE

Numbers = NDArray[Any] | Tensor | Sequence[Any]
Size = tuple[float, float]  # height, width


class PromptError(ValueError, AssertionError):
    """A prompt that cannot be used; the message says what to pass instead."""


def read_points(points: Numbers, labels: Numbers | None, size: Size) -> tuple[Tensor, Tensor]:
    """Points (N, 2) of one object or (B, N, 2), labels alike -> (B, N, 2) and (B, N).

    They lie in a picture of this size; only padding (label -1) may lie anywhere.
    """
    if labels is None:
        raise PromptError(
            "point_coords came without point_labels: pass one label for each point, 1 on the "
            "object or 0 off it."
        )
    places = _numbers(points, "point_coords")
    marks = _numbers(labels, "point_labels")
    if places.ndim not in (2, 3) or places.shape[-1] != 2:
        raise PromptError(
            f"point_coords has the shape {_shape(places)}: pass (N, 2), x and y of N points on one "
            "object, or (B, N, 2) for B objects."
        )
    places = places[None] if places.ndim == 2 else places
    marks = marks[None] if marks.ndim == 1 else marks
    if marks.shape != places.shape[:2]:
        raise PromptError(
            f"point_labels has the shape {_shape(marks)}, but the points ask for "
            f"{_shape(places[..., 0])}: pass one label for each point."
        )
    _check_labels(marks)
    _check_places(places, marks, size)
    return places, marks.long()


def _check_labels(labels: Tensor) -> None:
    known = range(NOT_A_POINT, BOTTOM_RIGHT + 1)
    if wrong := sorted(set(labels.flatten().tolist()) - set(known)):
        raise PromptError(
            f"point_labels holds {wrong[0]:g}: a label is 1 (on the object) or 0 (off it); also 2 "
            "and 3 (corners of a box) and -1 (padding)."
        )


def _check_places(places: Tensor, labels: Tensor, size: Size) -> None:
    height, width = size
    clicks = places[(labels == POSITIVE) | (labels == NEGATIVE)]
    inside = (clicks >= 0).all(dim=-1) & (clicks[:, 0] <= width) & (clicks[:, 1] <= height)
    if not inside.all():
        x, y = clicks[~inside][0].tolist()
        raise PromptError(f"The point ({x:g}, {y:g}) is not in the picture, {_extent(size)}.")


def read_boxes(boxes: Numbers, size: Size) -> Tensor:
    """One box (4,) or boxes (B, 4), xyxy, which meet a picture of this size -> (B, 4)."""
    corners = _numbers(boxes, "box")
    if corners.shape[-1:] != (4,) or corners.ndim > 2 or not corners.numel():
        raise PromptError(
            f"box has the shape {_shape(corners)}: pass (4,), left, top, right and bottom of one "
            "box, or (B, 4) for B objects."
        )
    corners = corners.view(-1, 4)
    height, width = size
    left, top, right, bottom = corners.unbind(dim=1)
    reversed_ = (left > right) | (top > bottom)
    if reversed_.any():
        raise PromptError(
            f"The box {_list(corners[reversed_][0])} ends before it begins: pass left, top, right, "
            "bottom (not width and height)."
        )
    outside = (right < 0) | (bottom < 0) | (left > width) | (top > height)
    if outside.any():
        raise PromptError(
            f"The box {_list(corners[outside][0])} lies outside the picture, {_extent(size)}."
        )
    return corners


def read_mask(mask: Numbers, side: int) -> Tensor:
    """Logits (s, s), (1, s, s) or (B, 1, s, s) of an earlier call -> (B, 1, s, s)."""
    logits = _numbers(mask, "mask_input")
    shape = logits.shape
    if shape[-2:] != (side, side) or shape[-3:-2] not in ((), (1,)) or logits.ndim > 4:
        raise PromptError(
            f"mask_input has the shape {_shape(logits)}: pass low-resolution logits of an earlier "
            f"call, (1, {side}, {side}), such as logits[best][None]; or (B, 1, {side}, {side}). "
            "To segment by a full-size mask, use the video predictor's add_new_mask."
        )
    return logits.view(-1, 1, side, side)


def check_batch(points: Tensor | None, boxes: Tensor | None, mask: Tensor | None) -> None:
    """Prompts given together are about equally many objects; one mask may serve all of them."""
    given = {"point_coords": points, "box": boxes, "mask_input": mask}
    counts = {name: len(tensor) for name, tensor in given.items() if tensor is not None}
    objects = max((n for name, n in counts.items() if name != "mask_input"), default=0)
    if objects and counts.get("mask_input") == 1:
        del counts["mask_input"]
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise PromptError(f"The prompts are about different numbers of objects: {told}.")


def _numbers(values: Numbers, name: str) -> Tensor:
    """Any array of numbers, all finite -> float32 on the CPU."""
    try:
        if isinstance(values, Tensor):
            numbers = values.detach().to("cpu", torch.float32)
        else:
            numbers = torch.tensor(np.array(values, dtype=np.float32))
    except (TypeError, ValueError, RuntimeError) as error:
        raise PromptError(f"{name} is not an array of numbers: {values!r}"[:300]) from error
    if not numbers.isfinite().all():
        raise PromptError(f"{name} holds numbers that are not finite.")
    return numbers.contiguous()


def _extent(size: Size) -> str:
    height, width = size
    if (height, width) == (1, 1):
        return "whose coordinates go from 0 to 1 with normalize_coords=False"
    return f"which is {width:g} wide and {height:g} high (x comes before y)"


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _list(box: Tensor) -> list[float]:
    return [round(value, 3) for value in box.tolist()]
