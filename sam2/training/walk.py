"""A walk through clips as tracking walks, all objects of a batch at once, with the truth at hand.

Every answer on the way is scored, its mask before it is blanked, for nothing flows back through a
blank. Whether an object is hidden, and so what is remembered of a frame, is taken from the truth
while the score is still being learnt; a model that runs free goes by its own score, as tracking
does, and learns what to make of memories that are wrong.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2.images import normalise
from sam2.mask_decoder import Decoded
from sam2.memory import FrameMemory, MemoryBank
from sam2.model import FrameFeatures, Sam2
from sam2.prompt_encoder import NOT_A_POINT
from sam2.tracking import ABSENT, choose
from sam2.training.embedding import embedding_losses
from sam2.training.losses import Losses, balance, losses, mean, scale_loss
from sam2.training.simulation import Clicks, box, click, correction

Kind = Literal["pixels", "click", "box", "mask"]
FIRST = {"click": click, "box": box}
FINENESS = 2  # the loss sees masks at this fraction of the picture's side
# How much a score counts: objects that always show would teach it to say nothing else.
HIDDEN, SHOWN, NEVER_HIDDEN = 3.0, 2.0, 1.0
ANSWER, READINGS = slice(1), slice(1, None)  # of the decoder's four masks


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """N clips of T frames with B objects in all."""

    frames: Tensor  # (N, T, 3, S, S) uint8
    truth: Tensor  # (B, T, S, S) bool
    clips: tuple[int, ...]  # which clip each object is in
    names: tuple[str, ...] = ()  # of the clips

    def to(self, device: torch.device) -> Self:
        """The same on this device."""
        return replace(self, frames=self.frames.to(device), truth=self.truth.to(device))


@dataclass(frozen=True, slots=True)
class Lesson:
    """How the objects of a batch are prompted, and what counts."""

    first: Kind  # on the first frame; "pixels": no prompts, the lesson of embedding.py
    corrected: tuple[int, ...] = ()  # frames on which a click corrects the mask; one may repeat
    balanced: bool = False  # an object, its neighbours and the ground count alike; see `balance`
    pixels: float = 0.0  # how much the lesson of embedding.py counts beside the others
    free_running: bool = False  # memories go by the model's own score, not by the truth


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What is gone on with after a frame, for B objects."""

    mask: Tensor  # (B, S/4, S/4) logits
    pointer: Tensor  # (B, C)
    present: Tensor  # (B,) bool, whether the object is taken to be there


def teach(model: Sam2, batch: Batch, lesson: Lesson, generator: torch.Generator) -> Losses:
    """Follows every object of a batch through its clip -> the mean losses of all answers."""
    walk = _Walk(model, batch, lesson, generator)
    scale = scale_loss(walk.features.image)
    embedded = Losses.none(batch.truth.device)
    if lesson.first == "pixels" or lesson.pixels:
        rows = [clip * walk.length for clip in batch.clips]
        embedded = embedding_losses(model, walk.features, rows, batch.truth[:, 0], generator)
    if lesson.first == "pixels":
        return replace(embedded, scale=scale)
    for frame in range(batch.frames.shape[1]):
        walk.visit(frame)
    found = mean(walk.scored)
    return replace(
        found,
        mask=found.mask + lesson.pixels * embedded.mask,
        dice=found.dice + lesson.pixels * embedded.dice,
        scale=scale,
    )


class _Walk:
    """One pass through a batch: what the objects remember so far, and the losses of each answer."""

    def __init__(
        self, model: Sam2, batch: Batch, lesson: Lesson, generator: torch.Generator
    ) -> None:
        self.model, self.batch, self.lesson, self.generator = model, batch, lesson, generator
        self.length = batch.frames.shape[1]
        self.features = model.encode(normalise(batch.frames.flatten(0, 1)))
        self.banks = [MemoryBank()] * len(batch.clips)
        self.hides = ~batch.truth.flatten(2).any(dim=2).all(dim=1)  # (B,), at some time
        self.scored: list[Losses] = []

    def visit(self, frame: int) -> None:
        """Answers one frame for all objects, corrects the answer if asked to, and remembers it."""
        features = self.features.rows([clip * self.length + frame for clip in self.batch.clips])
        truth = self.batch.truth[:, frame]
        image = self._image(features, frame)
        if frame == 0 and self.lesson.first == "mask":
            answer = self._given(features, truth)
        else:
            answer = self._found(image, features, truth, frame)
        if frame + 1 < self.length:
            self._remember(features, frame, answer)

    def _image(self, features: FrameFeatures, frame: int) -> Tensor:
        """What the objects see of a frame: tokens (B, h*w, C)."""
        if frame == 0:
            return self.model.without_memory(features)
        config = self.model.config
        memories = [b.recall(frame, config.memory_span, config.pointer_span) for b in self.banks]
        return self.model.recall(features, memories, min(config.pointer_span, self.length))

    def _given(self, features: FrameFeatures, truth: Tensor) -> Answer:
        """Takes the true mask as the prompt; only the object pointer is the model's."""
        mask = truth[:, None].float()
        dense = self.model.sam_prompt_encoder.encode_masks(self.model.mask_downsample(mask))
        decoded = self.model.decode(features.image, features, self._tokens(None), dense)
        size = (self.model.config.mask_size, self.model.config.mask_size)
        low = F.interpolate(mask * 20 - 10, size=size, mode="bilinear", antialias=True)
        pointer = self.model.point_at(decoded.tokens[:, 0], self._present(decoded, truth))
        return Answer(low[:, 0], pointer, _shown(truth))

    def _found(self, image: Tensor, features: FrameFeatures, truth: Tensor, frame: int) -> Answer:
        """Answers the first prompt, or none; then the clicks that correct the answer."""
        clicks = FIRST[self.lesson.first](truth, self.generator) if frame == 0 else None
        dense = self.model.sam_prompt_encoder.no_mask(len(truth))
        answer = self._decode(image, features, truth, clicks, dense)
        for _ in range(self.lesson.corrected.count(frame)):
            found = F.interpolate(answer.mask.detach()[:, None], size=truth.shape[-2:])[:, 0] > 0
            more = correction(found, truth, self.generator)
            clicks = clicks.followed_by(more) if clicks else more
            previous = answer.mask.detach().clamp(-32, 32)[:, None]
            dense = self.model.sam_prompt_encoder.encode_masks(previous)
            answer = self._decode(image, features, truth, clicks, dense)
        return answer

    def _decode(
        self,
        image: Tensor,
        features: FrameFeatures,
        truth: Tensor,
        clicks: Clicks | None,
        dense: Tensor,
    ) -> Answer:
        """One call of the decoder, scored; the answer is chosen as tracking chooses it."""
        decoded = self.model.decode(image, features, self._tokens(clicks), dense)
        ambiguous = clicks is None or clicks.labels.shape[1] == 1
        rows = torch.tensor(self.batch.clips, device=truth.device)
        balanced = rows if self.lesson.balanced else None
        if ambiguous:
            self.scored.append(_score(decoded, READINGS, truth, self.hides, balanced))
        if not ambiguous or not self.model.config.readings:
            self.scored.append(_score(decoded, ANSWER, truth, self.hides, balanced))
        mask, _, token = choose(self.model.config, decoded, ambiguous)
        present = self._present(decoded, truth)
        return Answer(mask.float(), self.model.point_at(token, present), present)

    def _present(self, decoded: Decoded, truth: Tensor) -> Tensor:
        """Which objects are taken to be there: (B,) bool."""
        return decoded.score[:, 0] > 0 if self.lesson.free_running else _shown(truth)

    def _tokens(self, clicks: Clicks | None) -> Tensor:
        """The prompt as tokens (B, P, C); no prompt is two padding points, as in tracking."""
        batch, device = len(self.batch.clips), self.model.device
        if clicks is None:
            clicks = Clicks(
                torch.zeros(batch, 1, 2, device=device),
                torch.full((batch, 1), NOT_A_POINT, device=device),
            )
        clicks = clicks.padded()
        return self.model.sam_prompt_encoder.encode_points(clicks.points, clicks.labels)

    def _remember(self, features: FrameFeatures, frame: int, answer: Answer) -> None:
        """Adds the frame to each object's bank."""
        mask = torch.where(answer.present[:, None, None], answer.mask, ABSENT)
        prompted = frame == 0 or frame in self.lesson.corrected
        memories = self.model.memorize(features, mask, answer.present, prompted)
        for i, (memory, pointer) in enumerate(zip(memories, answer.pointer, strict=True)):
            new, bank = FrameMemory(frame, memory, pointer), self.banks[i]
            self.banks[i] = bank.remember_prompted(new) if prompted else bank.remember(new)


def _shown(truth: Tensor) -> Tensor:
    """Which objects show on a frame: masks (B, S, S) -> (B,) bool."""
    return truth.flatten(1).any(dim=1)


def _score(
    decoded: Decoded, which: slice, truth: Tensor, hides: Tensor, balanced: Tensor | None
) -> Losses:
    """The losses of some of the four masks, of which the best is supervised."""
    target = F.avg_pool2d(truth[:, None].float(), FINENESS)[:, 0]
    shown = _shown(truth)
    weight = torch.where(shown, torch.where(hides, SHOWN, NEVER_HIDDEN), HIDDEN)
    masks, ious = decoded.masks[:, which], decoded.ious[:, which]
    pixels = None
    if balanced is not None:
        pixels = balance((target > 0.5).flatten(1), balanced).view_as(target)
    return losses(masks, ious, decoded.score[:, 0], target, weight, pixels)
