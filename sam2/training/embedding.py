"""Pixels as places in a space where those of one object lie together: a first, quick lesson.

The decoder makes a mask by comparing what a token says with every pixel. While neither means
anything, both learn slowly. Here every cell of the coarse map stands for a token that looked at it
alone, and is to say in which direction the pixels of its object lie.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2.model import FrameFeatures, Sam2
from sam2.training.losses import Losses, balance, dice

ANCHORS = 8  # pixels of each object whose cells are asked
SURE = 8.0  # the logit of a pixel that lies exactly in the direction
SHARE = 0.05  # of the loss of pixels among masks, which weigh twenty times as much


def embedding_losses(
    model: Sam2,
    features: FrameFeatures,
    rows: Sequence[int],
    truth: Tensor,
    generator: torch.Generator,
) -> Losses:
    """How badly the directions that cells of an object say tell its mask: truth (B, S, S) bool.

    `features` has a row for each frame, `rows` says which is each object's. The predicted IoU and
    the score are no part of this.
    """
    decoder = model.sam_mask_decoder
    pixels, cells = decoder.unprompted(features.image, features.fine, features.middle)
    grid, side = model.config.grid, pixels.shape[-1]
    step = truth.shape[-1] // side
    mask = truth[:, step // 2 :: step, step // 2 :: step].flatten(1)  # (B, P)
    weight = balance(mask, torch.tensor(rows, device=mask.device))
    shown = mask.any(dim=1)
    mask, weight, chosen = mask[shown], weight[shown], torch.tensor(rows)[shown.cpu()]
    anchors = torch.multinomial(mask.float().cpu(), ANCHORS, True, generator=generator)
    cell = (anchors // side * grid // side) * grid + anchors % side * grid // side
    asked = cells[chosen[:, None], cell]  # (B, anchors, C)
    places = F.normalize(pixels[chosen].float().flatten(2), dim=1)  # (B, C/8, P)
    reading = int(torch.randint(len(decoder.output_hypernetworks_mlps), (), generator=generator))
    said = decoder.output_hypernetworks_mlps[reading](asked).float()
    said = F.normalize(said, dim=2)  # (B, anchors, C/8)
    shape = (len(mask), ANCHORS, side, side)
    logits = SURE * (said @ places).view(shape)
    target = mask[:, None].expand(-1, ANCHORS, -1).reshape(shape).float()
    wrong = F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(2)
    return Losses(
        mask=SHARE * (wrong * weight[:, None]).sum(dim=2).mean(),
        dice=dice(logits, target).mean(),
        iou=logits.new_zeros(()),
        score=logits.new_zeros(()),
    )
