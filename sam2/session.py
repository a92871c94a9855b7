"""An interactive session: prompts at any time on any frame, corrections, and propagation between.

This is what a person at a screen needs, and it behaves as the published video predictor does: every
prompt is answered at once, and its memory is made when propagation starts.
"""

import warnings
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from copy import copy
from dataclasses import dataclass, replace
from itertools import count
from operator import index
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2.components import fill_holes_in_mask_scores
from sam2.memory import FrameMemory, reach_of
from sam2.model import FrameFeatures, Sam2
from sam2.object_track import PendingAnswer, Track
from sam2.prompts import MaskPrompt, Prompt
from sam2.tracking import (
    ABSENT,
    FrameMask,
    Step,
    answer_mask,
    answer_points,
    memorize_prompted,
    track,
)


class SessionError(ValueError):
    """A call that cannot be answered; the session stays as it was."""


class NoSuchFrameError(SessionError, IndexError):
    """A frame that the video does not have."""


class NoPromptError(SessionError, RuntimeError):
    """Nothing is known of an object, so it cannot be followed."""


class EndOfVideoError(NoSuchFrameError):
    """A frame after the last one of a stream, whose length nobody knew before."""


class ForgottenWarning(UserWarning):
    """A walk starts where memories were dropped: it differs from one that forgot nothing."""


class Frames(Protocol):
    """The frames of a video, ready for the model. They have a length too, except for a stream."""

    def __getitem__(self, index: int, /) -> Tensor:
        """Frame `index`, normalised: (3, S, S)."""
        ...


@dataclass(eq=False)
class Session:
    """Objects of one video, prompted and tracked interactively. Settings may change at any time."""

    model: Sam2
    frames: Frames
    frame_size: tuple[int, int]  # height, width of the video
    corrections_condition: bool = False  # a prompt on a tracked frame conditions, as others do
    most_prompted: int = -1  # prompted frames read at once; -1: all
    hole_area: int = 0  # holes of at most so many low-resolution pixels are filled
    exclusive: bool = False  # at each pixel of the logits given back, one object at most is present
    history: int | None = None  # newest tracked frames kept of each object, at least; None: all
    storage: torch.device | None = None  # where memories and masks are kept; None: with the model

    def __post_init__(self) -> None:
        # How many frames there are; None for a stream.
        self.length = len(self.frames) if isinstance(self.frames, Sized) else None
        self.tracks: dict[Hashable, Track] = {}
        self.features: dict[int, FrameFeatures] = {}  # of the frame encoded last

    def __deepcopy__(self, memo: object) -> "Session":
        """A session that goes on by itself from here; both read the same model and frames."""
        other = copy(self)
        other.tracks, other.features = dict(self.tracks), dict(self.features)
        return other

    @torch.inference_mode()
    def prompt(
        self, object_id: Hashable, frame: int, prompt: Prompt, extend: bool = False
    ) -> Tensor:
        """Answers a prompt -> logits of all objects on `frame`, (objects, H, W).

        `extend` adds the points to those given for this frame before, instead of replacing them.
        """
        frame = self._existing(frame)
        if self.length is None:  # what a stream has shown cannot be looked at again later
            self._settle(before=frame)
        known = self.tracks.get(object_id, Track())
        prompt = known.joined(frame, prompt) if extend else prompt
        answer = PendingAnswer(
            found=self._answer(known, frame, prompt),
            conditioning=known.walked.at(frame) is None or self.corrections_condition,
        )
        self.tracks[object_id] = known.answered(frame, prompt, answer)
        return self.logits(frame)

    def clear_prompt(self, object_id: Hashable, frame: int) -> None:
        """Takes back what was said of an object on `frame`; a new object is then known by name."""
        known = self.tracks.get(object_id, Track())
        self.tracks[object_id] = known.without_prompt(index(frame))

    def remove(self, object_id: Hashable) -> None:
        """Forgets an object; the others do not notice."""
        del self.tracks[object_id]

    def reset(self) -> None:
        """Forgets all objects."""
        self.tracks.clear()

    @torch.inference_mode()
    def logits(self, frame: int) -> Tensor:
        """The newest logits of all objects on `frame`, ABSENT where there are none: (N, H, W)."""
        return self._logits([t.at(frame) for t in self.tracks.values()])

    def propagate(
        self, start: int | None = None, max_frames: int | None = None, reverse: bool = False
    ) -> Iterator[tuple[int, Tensor]]:
        """Follows all objects from `start` (default: the first prompted frame) to the video's end.

        Yields frames with the logits of all objects (objects, H, W), at most `max_frames` after the
        first. A conditioning frame gives back the answer to its prompt; others are tracked. The
        walk ends early once all of its objects are removed. A ForgottenWarning says that `history`
        was too short for this one.
        """
        self.remember_answers()
        objects = list(self.tracks)
        if start is None:
            start = min(min(t.prompted) for t in self.tracks.values())
        if forgotten := self._forgotten(start, reverse):
            warnings.warn(
                f"Object {forgotten[0]!r} was followed past frame {start} before, but what it "
                "remembered there is dropped: this walk may find it less well. Open the video with "
                "keep_history=True to drop nothing.",
                ForgottenWarning,
                stacklevel=3,  # from the predictor on, this is the line of the caller
            )
        for frame in self._walk(start, max_frames, reverse):
            if not any(i in self.tracks for i in objects):
                return  # nobody would read a stream any more, and so never see its end
            try:
                logits = self._visit(objects, frame, reverse)
            except EndOfVideoError:
                return
            yield frame, logits

    @torch.inference_mode()
    def remember_answers(self) -> None:
        """Makes the memories of all prompts answered since the last propagation."""
        if not self.tracks:
            raise NoPromptError("There is nothing to follow: prompt an object on a frame first.")
        if blank := [i for i, t in self.tracks.items() if not t.prompted]:
            raise NoPromptError(
                f"Object {blank[0]!r} has no prompt left: prompt it on a frame, or remove it."
            )
        self._settle()

    def _settle(self, before: int | None = None) -> None:
        """Makes the memories of answers that are pending, of all or of those on earlier frames."""
        for object_id, known in self.tracks.items():
            for frame, answer in sorted(known.answers.items()):
                if before is None or frame < before:
                    known = self._remember(known, frame, answer).without_answer(frame)
            self.tracks[object_id] = known

    def _existing(self, frame: int) -> int:
        """The number of a frame, which may be one of NumPy's; NoSuchFrameError if it has none."""
        frame = index(frame)
        if frame < 0 or (self.length is not None and frame >= self.length):
            last = "" if self.length is None else f" to {self.length - 1}"
            raise NoSuchFrameError(f"There is no frame {frame}: the video has frames 0{last}.")
        return frame

    def _answer(self, known: Track, frame: int, prompt: Prompt) -> FrameMask:
        features = self._encode(frame)
        if isinstance(prompt, MaskPrompt):
            found = answer_mask(self.model, features, prompt)
        else:
            walked, previous = known.walked.at(frame), known.at(frame)
            step = None if walked is None else self._step(known, frame, walked)
            found = answer_points(
                self.model,
                features,
                prompt,
                self.frame_size,
                memory=step if step and step.memory.maps else None,  # it may all be forgotten
                previous=previous.mask.to(self.model.device) if previous else None,
            )
        return self._kept([found])[0]

    def _remember(self, known: Track, frame: int, answer: PendingAnswer) -> Track:
        if frame in known.conditioning and not answer.conditioning:
            return known  # as published: a correction does not displace a conditioning memory
        mask = answer.found.mask.to(self.model.device)
        found = replace(answer.found, mask=mask)
        memory = memorize_prompted(self.model, self._encode(frame), frame, found)
        memory = replace(memory, features=memory.features.to(self.storage_device))
        return known.remembering(memory, answer.found, answer.conditioning)

    def _forgotten(self, start: int, reverse: bool) -> list[Hashable]:
        """The objects that were followed to frames which `start` reads, and dropped them since."""
        if self.history is None:
            return []
        reach = reach_of(self.model.config.memory_span, self._pointer_span)
        read = range(start + 1, start + reach + 1) if reverse else range(start - reach, start)
        # Who has fewer memories than are kept has lost none by itself: a program deleted them.
        kept = max(self.history, reach + 1)
        full = {i: t for i, t in self.tracks.items() if len(t.found) >= kept}
        return [i for i, t in full.items() if t.lacks(read)]

    def _walk(self, start: int, max_frames: int | None, reverse: bool) -> Iterable[int]:
        start = index(start)  # it may be one of NumPy's
        if reverse or start < 0:  # forwards from beyond the end there is just nothing to visit
            start = self._existing(start)
        if reverse:
            first = 0 if max_frames is None else max(start - max_frames, 0)
            return range(start, first - 1, -1) if start > 0 else range(0)
        ends = [self.length, None if max_frames is None else start + max_frames + 1]
        known = [end for end in ends if end is not None]
        return range(start, min(known)) if known else count(start)

    @torch.inference_mode()
    def _visit(self, objects: Sequence[Hashable], frame: int, reverse: bool) -> Tensor:
        """Follows these objects to `frame` -> their logits (objects, H, W)."""
        known = {i: self.tracks[i] for i in objects if i in self.tracks}
        unknown = {i: t for i, t in known.items() if frame not in t.conditioning}
        known |= self._follow(unknown, frame, reverse)
        span = self._pointer_span
        for object_id, followed in known.items():
            followed = replace(followed, walked=followed.walked.to(frame, reverse))
            if self.history is not None:
                reach = reach_of(self.model.config.memory_span, span)
                followed = followed.recent(max(self.history, reach + 1), reach)
            self.tracks[object_id] = followed
        return self._logits([t.found.get(frame) if (t := known.get(i)) else None for i in objects])

    def _follow(
        self, tracks: Mapping[Hashable, Track], frame: int, reverse: bool
    ) -> dict[Hashable, Track]:
        """The objects after one more tracked frame."""
        if not tracks:
            return {}
        steps = {i: self._step(t, frame, reverse) for i, t in tracks.items()}
        if blank := [i for i, step in steps.items() if not step.memory.maps]:
            raise NoPromptError(
                f"Object {blank[0]!r} has nothing left that frame {frame} could be found by: "
                "prompt it on a frame, or remove it."
            )
        followed = track(self.model, self._encode(frame), [*steps.values()])
        masks, memories = zip(*followed, strict=True)
        after = {}
        for (object_id, known), found, features in zip(
            tracks.items(), self._kept(masks), memories, strict=True
        ):
            memory = FrameMemory(frame, self._owned(features), found.pointer)
            after[object_id] = known.remembering(memory, found, conditioning=False)
        return after

    def _step(self, known: Track, frame: int, reverse: bool) -> Step:
        memory_span, span = self.model.config.memory_span, self._pointer_span
        recalled = known.bank.recall(frame, memory_span, span, reverse, self.most_prompted)
        return Step(0, recalled.to(self.model.device), span)

    def _encode(self, frame: int) -> FrameFeatures:
        if frame not in self.features:
            image = self.frames[frame].to(self.model.device)
            self.features.clear()
            self.features[frame] = self.model.encode(image[None])
        return self.features[frame]

    def _kept(self, found: Sequence[FrameMask]) -> list[FrameMask]:
        """The masks as they are stored."""
        masks = torch.stack([f.mask for f in found])[:, None]
        if self.hole_area > 0:
            masks = fill_holes_in_mask_scores(masks, self.hole_area)
        return [
            replace(f, mask=self._owned(mask)) for f, mask in zip(found, masks[:, 0], strict=True)
        ]

    def _owned(self, row: Tensor) -> Tensor:
        """One object's row of a batch by itself: it can be dropped before the others are."""
        return row.to(self.storage_device, copy=True)

    @property
    def storage_device(self) -> torch.device:
        """Where memories and masks are kept."""
        return self.storage or self.model.device

    @property
    def _pointer_span(self) -> int:
        span = self.model.config.pointer_span
        return span if self.length is None else min(span, self.length)

    def _logits(self, found: Sequence[FrameMask | None]) -> Tensor:
        """Logits at the video's size, ABSENT where an object has no mask: (objects, H, W)."""
        side, device = self.model.config.mask_size, self.model.device
        nothing = torch.full((side, side), ABSENT, device=device)
        masks = torch.stack([f.mask.to(device) if f else nothing for f in found])
        logits = upscale(masks, self.frame_size)
        return strongest_only(logits) if self.exclusive else logits


def upscale(masks: Tensor, frame_size: tuple[int, int]) -> Tensor:
    """Low-resolution logits (B, S/4, S/4) -> logits at the picture's size (B, H, W)."""
    return F.interpolate(masks[:, None], size=frame_size, mode="bilinear")[:, 0]


def strongest_only(logits: Tensor) -> Tensor:
    """Logits (objects, H, W), at most -10 at each pixel for all objects but the strongest there."""
    objects = torch.arange(len(logits), device=logits.device)[:, None, None]
    return torch.where(logits.argmax(dim=0) == objects, logits, logits.clamp(max=-10))
