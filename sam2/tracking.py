"""One step of SAM 2 for many objects: answer a prompt, or follow an object to the next frame.

Plain functions of (model, frame features, memory, prompt). Nothing is kept here; the callers (the
engine and the interactive session) commit what comes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2.config import ModelConfig
from sam2.devices import batches_pay, filled
from sam2.mask_decoder import Decoded
from sam2.memory import FrameMemory, Recollection
from sam2.model import FrameFeatures, Sam2
from sam2.prompt_encoder import NOT_A_POINT
from sam2.prompts import MaskPrompt, PointPrompt

ABSENT = -1024.0  # the logit of every pixel of an object that is not there


@dataclass(frozen=True, slots=True, eq=False)
class FrameMask:
    """What SAM 2 says of one object on one frame. A batch of them has a leading B everywhere."""

    mask: Tensor  # (S/4, S/4) logits; ABSENT everywhere when the object is not there
    iou: Tensor  # () predicted IoU of the mask, 0..1
    score: Tensor  # () logit that the object is there
    pointer: Tensor  # (C,) object pointer

    @property
    def present(self) -> Tensor:
        """Whether the object is there: () bool."""
        return self.score > 0

    def to(self, device: torch.device) -> "FrameMask":
        """The same with its tensors on this device."""
        fields = (self.mask, self.iou, self.score, self.pointer)
        return FrameMask(*(field.to(device) for field in fields))

    def unbind(self) -> list["FrameMask"]:
        """A batch as single objects."""
        fields = (self.mask, self.iou, self.score, self.pointer)
        return [FrameMask(*row) for row in zip(*(f.unbind() for f in fields), strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One object to be followed to one frame."""

    row: int  # of that frame in the batch of frame features
    memory: Recollection
    pointer_span: int = 16


def track(
    model: Sam2, features: FrameFeatures, steps: Sequence[Step], max_batch: int = 16
) -> list[tuple[FrameMask, Tensor]]:
    """Follows each object to its frame -> its mask and its new memory (M, h, w), in the same order.

    Objects whose memories have the same shape go through the model together, in batches of a few
    sizes that copies of the last object fill up; on a CPU, which gains nothing by it, each goes
    alone and is rounded in the same way whoever else is there.
    """
    results: dict[int, tuple[FrameMask, Tensor]] = {}
    features = model.look(features)
    for batch in _batches(steps, max_batch if batches_pay(model.device) else 1):
        full = filled(batch)
        rows = features.rows([steps[i].row for i in full])
        span = steps[batch[0]].pointer_span
        image = model.recall(rows, [steps[i].memory for i in full], span)
        found = decode_unprompted(model, rows, image)
        memories = model.memorize(rows, found.mask, found.present, prompted=False)
        results |= zip(full, zip(found.unbind(), memories.unbind(), strict=True), strict=True)
    return [results[i] for i in range(len(steps))]


def _batches(steps: Sequence[Step], max_batch: int) -> list[list[int]]:
    """Indices of steps that can share a batch: equal memory shapes, at most `max_batch` of them."""
    alike: dict[tuple[tuple[int, int], int], list[int]] = {}
    for index, step in enumerate(steps):
        alike.setdefault((step.memory.shape, step.pointer_span), []).append(index)
    return [
        indices[start : start + max_batch]
        for indices in alike.values()
        for start in range(0, len(indices), max_batch)
    ]


def decode_unprompted(model: Sam2, features: FrameFeatures, image: Tensor) -> FrameMask:
    """Decodes B objects of which nothing is said on their frames."""
    batch = image.shape[0]
    tokens = _no_points(model, batch)
    decoded = model.decode(image, features, tokens, model.sam_prompt_encoder.no_mask(batch))
    return _gate(model, choose(model.config, decoded, ambiguous=True), decoded.score)


def answer_points(
    model: Sam2,
    features: FrameFeatures,
    prompt: PointPrompt,
    frame_size: tuple[int, int],
    memory: Step | None = None,
    previous: Tensor | None = None,
) -> FrameMask:
    """Answers clicks and boxes on one frame (of `features`' one row) of a (height, width) picture.

    `memory` is read when the object was tracked to this frame before; `previous` (S/4, S/4) are the
    logits which the prompt corrects.
    """
    if memory is None:
        image = model.without_memory(features)
    else:
        image = model.recall(features, [memory.memory], memory.pointer_span)
    points, labels = prompt.to_model(*frame_size, model.config.image_size, model.device)
    tokens = model.sam_prompt_encoder.encode_points(points, labels)
    decoded = model.decode(image, features, tokens, _dense(model, previous))
    # One click may mean several things; more than that, or a box, is clear.
    chosen = choose(model.config, decoded, ambiguous=prompt.count <= 1)
    return _single(_gate(model, chosen, decoded.score))


def answer_mask(model: Sam2, features: FrameFeatures, prompt: MaskPrompt) -> FrameMask:
    """Takes the given mask as it is; the decoder only makes the object pointer."""
    mask = prompt.to_model(model.config.image_size, model.device)
    dense = model.sam_prompt_encoder.encode_masks(model.mask_downsample(mask))
    decoded = model.decode(features.image, features, _no_points(model, 1), dense)
    present = mask.flatten(1).any(dim=1)
    size = (model.config.mask_size, model.config.mask_size)
    low = F.interpolate(mask * 20 - 10, size=size, mode="bilinear", antialias=True)
    return _single(
        FrameMask(
            mask=low[:, 0],
            iou=torch.ones_like(decoded.score[:, 0]),  # of the given mask, not of the decoder's own
            score=torch.where(present, 10.0, -10.0),
            pointer=model.point_at(decoded.tokens[:, 0], present & (decoded.score[:, 0] > 0)),
        )
    )


def memorize_prompted(
    model: Sam2, features: FrameFeatures, frame: int, found: FrameMask
) -> FrameMemory:
    """The memory of a prompted frame (of `features`' one row)."""
    memory = model.memorize(features, found.mask[None], found.present[None], prompted=True)
    return FrameMemory(frame, memory[0], found.pointer)


def _no_points(model: Sam2, batch: int) -> Tensor:
    """Prompt tokens that say nothing: (B, 2, C); two, as the weights expect."""
    points = torch.zeros(batch, 2, 2, device=model.device)
    labels = torch.full((batch, 2), NOT_A_POINT, device=model.device)
    return model.sam_prompt_encoder.encode_points(points, labels)


def _dense(model: Sam2, logits: Tensor | None) -> Tensor:
    if logits is None:
        return model.sam_prompt_encoder.no_mask(1)
    return model.sam_prompt_encoder.encode_masks(logits.clamp(-32, 32)[None, None])


def choose(config: ModelConfig, decoded: Decoded, ambiguous: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The mask, predicted IoU and mask token to go on with: (B, S/4, S/4), (B,), (B, C).

    An ambiguous prompt takes the most promising of readings 1 to 3. A clear one takes mask 0, but
    the most promising reading replaces a mask 0 that hangs on its threshold; its token stays. A
    model without readings takes mask 0 for all.
    """
    if not config.readings:
        return decoded.masks[:, 0], decoded.ious[:, 0], decoded.tokens[:, 0]
    rows = torch.arange(decoded.ious.shape[0], device=decoded.ious.device)
    best = decoded.ious[:, 1:].argmax(dim=1) + 1
    if ambiguous:
        return decoded.masks[rows, best], decoded.ious[rows, best], decoded.tokens[rows, best]
    stable = stability(decoded.masks[:, 0], config.stability_offset) >= config.stability_threshold
    best = torch.where(stable, 0, best)
    return decoded.masks[rows, best], decoded.ious[rows, best], decoded.tokens[:, 0]


def stability(masks: Tensor, offset: float) -> Tensor:
    """How little a mask depends on its threshold: (B, H, W) logits -> (B,), 1 if not at all."""
    inner = (masks > offset).flatten(1).sum(dim=1)
    outer = (masks > -offset).flatten(1).sum(dim=1)
    return torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)


def _gate(model: Sam2, chosen: tuple[Tensor, Tensor, Tensor], score: Tensor) -> FrameMask:
    """Blanks mask and pointer of the objects that are not there; `score` (B, 1)."""
    mask, iou, token = chosen
    present = score[:, 0] > 0
    return FrameMask(
        mask=torch.where(present[:, None, None], mask.float(), ABSENT),
        iou=iou,
        score=score[:, 0],
        pointer=model.point_at(token, present),
    )


def _single(batch: FrameMask) -> FrameMask:
    (found,) = batch.unbind()
    return found
