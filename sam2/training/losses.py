"""What training minimises: masks by focal and dice loss, predicted IoU, and the object score.

The scheme and the weights are the SAM 2 paper's (appendix D.2.1): of several masks only the best is
supervised, all predicted IoUs are, and the score is. Where the object is hidden, only the score is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

MASK, DICE, IOU, SCORE = 20.0, 1.0, 1.0, 1.0  # the weights of the four terms of the paper
FEATURE_SCALE = 0.35  # root mean square of image features; position codes have 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """The terms before they are weighted, each a mean: () tensors."""

    mask: Tensor
    dice: Tensor
    iou: Tensor
    score: Tensor
    scale: Tensor | float = 0.0  # of image features, see `scale_loss`; no part of the total

    @classmethod
    def none(cls, device: torch.device) -> Self:
        """Nothing to learn from."""
        nought = torch.zeros((), device=device)
        return cls(nought, nought, nought, nought)

    @property
    def total(self) -> Tensor:
        """The weighted sum of the paper's terms."""
        return MASK * self.mask + DICE * self.dice + IOU * self.iou + SCORE * self.score


def focal(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Focal loss of masks (Lin et al. 2017): logits and truth (0..1) (..., H, W) -> (...).

    `weight` (..., H, W) is what each pixel counts, and sums to one over a mask.
    """
    plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid()
    wrong = probability + truth - 2 * probability * truth
    return (weight * wrong.square() * plain).sum(dim=(-2, -1))


def balance(masks: Tensor, rows: Tensor) -> Tensor:
    """What each pixel counts of B masks (B, P) bool: object, neighbours and ground alike.

    `rows` (B,) says who is on whose frame. Were pixels weighed alike, it would be enough to tell
    objects from the ground, and a young model then never learns to listen to prompts.
    """
    company = (rows[:, None] == rows).float()
    others = (company @ masks.float() > 0) & ~masks
    groups = torch.stack((masks, others, ~(masks | others))).float()
    return (groups / groups.sum(dim=2, keepdim=True).clamp(min=1)).mean(dim=0)


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """One less the Dice overlap of masks, smoothed by a pixel: (..., H, W) twice -> (...)."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * truth).sum(dim=(-2, -1)) + 1
    return 1 - overlap / (probability.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1)) + 1)


def true_iou(logits: Tensor, truth: Tensor) -> Tensor:
    """IoU of the masks above zero with the truth above a half: (..., H, W) twice -> (...)."""
    found, wanted = logits > 0, truth > 0.5
    overlap = (found & wanted).sum(dim=(-2, -1))
    union = (found | wanted).sum(dim=(-2, -1))
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0)


def losses(
    masks: Tensor,
    ious: Tensor,
    scores: Tensor,
    truth: Tensor,
    score_weight: Tensor,
    pixel_weight: Tensor | None = None,
) -> Losses:
    """The losses of B answers of M masks each.

    Logits (B, M, h, w), predicted IoUs (B, M), score logits (B,), and true masks (B, H, W) in 0..1,
    to whose size the logits are scaled. `score_weight` (B,) says how much each score counts, and
    `pixel_weight` (B, H, W) how much each pixel of a mask; None: all alike.
    """
    masks = F.interpolate(masks.float(), size=truth.shape[-2:], mode="bilinear")
    present = truth.flatten(1).any(dim=1)
    target = truth[:, None].expand_as(masks)
    if pixel_weight is None:
        pixel_weight = torch.full_like(truth, 1 / truth[0].numel())
    mask_loss, dice_loss = focal(masks, target, pixel_weight[:, None]), dice(masks, target)
    best = (MASK * mask_loss + DICE * dice_loss).argmin(dim=1, keepdim=True)
    shown = present / present.sum().clamp(min=1)
    wrong_iou = (ious.float() - true_iou(masks.detach(), target)).abs().mean(dim=1)
    wrong_score = F.binary_cross_entropy_with_logits(scores.float(), present.float(), score_weight)
    return Losses(
        mask=(mask_loss.gather(1, best)[:, 0] * shown).sum(),
        dice=(dice_loss.gather(1, best)[:, 0] * shown).sum(),
        iou=(wrong_iou * shown).sum(),
        score=wrong_score,
    )


def mean(many: Sequence[Losses]) -> Losses:
    """The mean of each term."""
    return Losses(
        mask=torch.stack([one.mask for one in many]).mean(),
        dice=torch.stack([one.dice for one in many]).mean(),
        iou=torch.stack([one.iou for one in many]).mean(),
        score=torch.stack([one.score for one in many]).mean(),
    )


def scale_loss(image: Tensor) -> Tensor:
    """Holds image features (N, h*w, C) below the scale of the position codes that join them.

    A young model finds it easier to tell objects from the ground than to listen to a prompt: it
    drowns the codes in ever larger features, and then no click finds its place any more.
    """
    return (image.float().square().mean().sqrt() / FEATURE_SCALE).log().square()
