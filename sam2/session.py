"""An interactive session: prompts at any time on any frame, corrections, and propagation between.

This is what a person at a screen needs, and it behaves as the published video predictor does: every
prompt is answered at once, and its memory is made when propagation starts.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2.memory import FrameMemory, MemoryBank
from sam2.model import FrameFeatures, Sam2
from sam2.prompts import MaskPrompt, PointPrompt, Prompt
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


class Frames(Protocol):
    """The frames of a video, ready for the model."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor:
        """Frame `index`, normalised: (3, S, S)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A prompt's answer whose memory is not made yet."""

    found: FrameMask
    conditioning: bool  # a frame to be remembered for good, not as one tracked frame of many


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """All that a session knows of one object."""

    prompts: Mapping[int, Prompt] = field(default_factory=dict)
    answers: Mapping[int, Answer] = field(default_factory=dict)
    found: Mapping[int, FrameMask] = field(default_factory=dict)
    walked: Mapping[int, bool] = field(default_factory=dict)  # frame -> whether in reverse
    bank: MemoryBank = field(default_factory=MemoryBank)

    def at(self, frame: int) -> FrameMask | None:
        """The newest mask on `frame`, if there is one."""
        answer = self.answers.get(frame)
        return answer.found if answer else self.found.get(frame)

    @property
    def prompted(self) -> set[int]:
        """The conditioning frames."""
        pending = {frame for frame, a in self.answers.items() if a.conditioning}
        return pending | {m.frame for m in self.bank.prompted}


class Session:
    """Objects of one video, prompted and tracked interactively."""

    def __init__(
        self,
        model: Sam2,
        frames: Frames,
        frame_size: tuple[int, int],
        corrections_condition: bool = False,
    ) -> None:
        self.model = model
        self.frames = frames
        self.frame_size = frame_size  # height, width of the video
        self.corrections_condition = corrections_condition
        self.tracks: dict[Hashable, Track] = {}
        self._encoded: tuple[int, FrameFeatures] | None = None

    @torch.inference_mode()
    def prompt(
        self, object_id: Hashable, frame: int, prompt: Prompt, extend: bool = False
    ) -> Tensor:
        """Answers a prompt -> logits of all objects on `frame`, (objects, H, W).

        `extend` adds the points to those given for this frame before, instead of replacing them.
        """
        if not 0 <= frame < len(self.frames):
            raise SessionError(
                f"Frame {frame} is not in the video: it has {len(self.frames)} frames."
            )
        known = self.tracks.get(object_id, Track())
        before = known.prompts.get(frame)
        if extend and isinstance(before, PointPrompt) and isinstance(prompt, PointPrompt):
            prompt = before.extended(prompt)
        answer = Answer(
            found=self._answer(known, frame, prompt),
            conditioning=frame not in known.walked or self.corrections_condition,
        )
        self.tracks[object_id] = replace(
            known,
            prompts={**known.prompts, frame: prompt},
            answers={**known.answers, frame: answer},
        )
        return self._logits({i: t.at(frame) for i, t in self.tracks.items()})

    def _answer(self, known: Track, frame: int, prompt: Prompt) -> FrameMask:
        features = self._encode(frame)
        if isinstance(prompt, MaskPrompt):
            return answer_mask(self.model, features, prompt)
        previous = known.at(frame)
        return answer_points(
            self.model,
            features,
            prompt,
            self.frame_size,
            memory=self._step(known, frame, known.walked[frame]) if frame in known.walked else None,
            previous=previous.mask if previous else None,
        )

    def propagate(
        self, start: int | None = None, max_frames: int | None = None, reverse: bool = False
    ) -> Iterator[tuple[int, Tensor]]:
        """Follows all objects from `start` (default: the first prompted frame) to the video's end.

        Yields frames with the logits of all objects (objects, H, W), at most `max_frames` after the
        first. A conditioning frame gives back the answer to its prompt; others are tracked.
        """
        self.remember_answers()
        for frame in self._walk(start, max_frames, reverse):
            yield frame, self._visit(frame, reverse)

    @torch.inference_mode()
    def remember_answers(self) -> None:
        """Makes the memories of all prompts answered since the last propagation."""
        if not any(t.prompted for t in self.tracks.values()):
            raise SessionError("There is nothing to propagate: prompt an object on a frame first.")
        for object_id, known in self.tracks.items():
            for frame, answer in sorted(known.answers.items()):
                known = self._remember(known, frame, answer)
            self.tracks[object_id] = replace(known, answers={})

    def _remember(self, known: Track, frame: int, answer: Answer) -> Track:
        prompted = any(m.frame == frame for m in known.bank.prompted)
        if prompted and not answer.conditioning:
            return known  # as published: a correction does not displace a conditioning memory
        memory = memorize_prompted(self.model, self._encode(frame), frame, answer.found)
        remember = known.bank.remember_prompted if answer.conditioning else known.bank.remember
        return replace(known, bank=remember(memory), found={**known.found, frame: answer.found})

    def _walk(self, start: int | None, max_frames: int | None, reverse: bool) -> Sequence[int]:
        if start is None:
            start = min(min(t.prompted) for t in self.tracks.values() if t.prompted)
        end = len(self.frames) - 1
        steps = end if max_frames is None else max_frames
        if not reverse:
            return range(start, min(start + steps, end) + 1)
        return range(start, max(start - steps, 0) - 1, -1) if start > 0 else range(0)

    @torch.inference_mode()
    def _visit(self, frame: int, reverse: bool) -> Tensor:
        unknown = {
            object_id: self._step(known, frame, reverse)
            for object_id, known in self.tracks.items()
            if all(m.frame != frame for m in known.bank.prompted)
        }
        tracked = track(self.model, self._encode(frame), list(unknown.values())) if unknown else []
        for object_id, (found, features) in zip(unknown, tracked, strict=True):
            known = self.tracks[object_id]
            memory = FrameMemory(frame, features, found.pointer)
            self.tracks[object_id] = replace(
                known, bank=known.bank.remember(memory), found={**known.found, frame: found}
            )
        for object_id, known in self.tracks.items():
            self.tracks[object_id] = replace(known, walked={**known.walked, frame: reverse})
        return self._logits({i: t.found.get(frame) for i, t in self.tracks.items()})

    def _step(self, known: Track, frame: int, reverse: bool) -> Step:
        config = self.model.config
        span = min(config.pointer_span, len(self.frames))
        return Step(0, known.bank.recall(frame, config.memory_span, span, reverse), span)

    def _encode(self, frame: int) -> FrameFeatures:
        if self._encoded is None or self._encoded[0] != frame:
            image = self.frames[frame].to(self.model.device)
            self._encoded = (frame, self.model.encode(image[None]))
        return self._encoded[1]

    def _logits(self, found: Mapping[Hashable, FrameMask | None]) -> Tensor:
        """Logits at the video's size, ABSENT where an object has no mask: (objects, H, W)."""
        side = self.model.config.mask_size
        nothing = torch.full((side, side), ABSENT, device=self.model.device)
        masks = torch.stack([f.mask if f else nothing for f in found.values()])
        return upscale(masks, self.frame_size)


def upscale(masks: Tensor, frame_size: tuple[int, int]) -> Tensor:
    """Low-resolution logits (B, S/4, S/4) -> logits at the picture's size (B, H, W)."""
    return F.interpolate(masks[:, None], size=frame_size, mode="bilinear")[:, 0]
