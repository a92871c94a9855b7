"""Fits the prompts of a task to its video: times become frames, shares of it become pixels."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.any_video import AnyVideo
from pipeline.manifest import Prompt
from pipeline.plan import Task
from pipeline.rle import decode_counts
from sam2.prompts import MaskPrompt, PointPrompt
from sam2.prompts import Prompt as ModelPrompt


class TaskError(ValueError):
    """A task that does not fit its video; the message says what does not."""


def window_of(task: Task, n_frames: int) -> range:
    """The frames of the video that the task looks at."""
    window = range(n_frames)[task.first_frame : task.stop_frame]
    if not window:
        raise TaskError(
            f"frames [{task.first_frame}, {task.stop_frame}) lie past the end: the video has "
            f"{n_frames} frames"
        )
    return window


def settle_prompts(task: Task, video: AnyVideo) -> tuple[Prompt, ...]:
    """The task's prompts by number of frame and in pixels of the video; raises TaskError."""
    window = window_of(task, video.info.n_frames)
    settled: dict[int, Prompt] = {}
    for prompt in task.prompts:
        frame = _frame_of(prompt, video.timestamps)
        if frame not in window:
            raise TaskError(
                f"its prompt on frame {frame} is outside the frames that the video has here: "
                f"{window.start} to {window.stop - 1}"
            )
        if frame in settled:
            raise TaskError(f"two of its prompts are on frame {frame}: put them into one")
        named = prompt.model_copy(update={"frame": frame, "time_s": None})
        settled[frame] = _in_pixels(named, task.coords, video.info.width, video.info.height)
    return tuple(settled.values())


def place_prompts(prompts: Iterable[Prompt], video: AnyVideo) -> Mapping[int, ModelPrompt]:
    """Settled prompts by frame, as the model takes them; raises TaskError."""
    info = video.info
    return {int(p.frame or 0): _for_model(p, info.width, info.height) for p in prompts}


def _frame_of(prompt: Prompt, timestamps: NDArray[np.float64]) -> int:
    """The frame that a prompt names, or the one on display at its time.

    Where frames follow one another evenly that is the nearest: whoever gives frame / fps means this
    frame, whichever way the division was rounded. In a gap it is the one before.
    """
    if prompt.frame is not None:
        return prompt.frame
    if prompt.time_s is None:
        raise TaskError("a prompt has neither a frame nor a time")
    times = timestamps - timestamps[0]  # what a player shows: a video starts at 0
    if prompt.time_s > times[-1] + (times[-1] - times[-2] if len(times) > 1 else 0):
        raise TaskError(
            f"its prompt at {prompt.time_s} s is past the end: the last frame is at "
            f"{times[-1]:.3f} s"
        )
    tolerance = float(np.median(np.diff(times))) / 2 if len(times) > 1 else 0.0
    return int(np.searchsorted(times, prompt.time_s + tolerance, side="right")) - 1


def _in_pixels(prompt: Prompt, coords: str, width: int, height: int) -> Prompt:
    if coords != "norm":
        return prompt
    points = tuple((x * width, y * height) for x, y in prompt.points)
    box = prompt.box and tuple(c * (width, height)[i % 2] for i, c in enumerate(prompt.box))
    return prompt.model_copy(update={"points": points, "box": box})


def _for_model(prompt: Prompt, width: int, height: int) -> ModelPrompt:
    if prompt.mask:
        return _mask(prompt, width, height)
    box = prompt.box
    for x, y in (*prompt.points, *((box[:2], box[2:]) if box else ())):
        if x > width or y > height:
            raise TaskError(
                f"its prompt at x {x:g}, y {y:g} is outside the picture, which is {width} wide and "
                f"{height} high"
            )
    return PointPrompt(prompt.points, prompt.point_labels, box)


def _mask(prompt: Prompt, width: int, height: int) -> MaskPrompt:
    assert prompt.mask is not None
    if tuple(prompt.mask.size) != (height, width):
        raise TaskError(
            f"its mask is of a picture {prompt.mask.size[1]} wide and {prompt.mask.size[0]} high, "
            f"but the video is {width} wide and {height} high"
        )
    return MaskPrompt(torch.from_numpy(decode_counts(prompt.mask.counts, height, width)))
