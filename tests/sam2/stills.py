"""One still picture: masks for prompts, without any memory."""

import torch
from torch import Tensor

from sam2.model import FrameFeatures, Sam2
from sam2.prompts import PointPrompt
from sam2.tracking import choose


def segment_still(
    model: Sam2,
    features: FrameFeatures,
    points: tuple[Tensor, Tensor] | None,
    previous: Tensor | None = None,
    multimask: bool = True,
) -> tuple[Tensor, Tensor]:
    """Masks of B prompts on one picture (`features`' one row): logits (B, K, S/4, S/4), IoU (B, K).

    `points` are places (B, P, 2) in model pixels with labels (B, P), as `PointPrompt.to_model`
    makes them; `previous` (B, 1, S/4, S/4) are logits to start from. K is 3 with `multimask`, else
    1. The object score plays no part: a still is asked about because something is there.
    """
    encoder = model.sam_prompt_encoder
    batch = len(points[0]) if points else len(previous) if previous is not None else 1
    features = features.rows([0] * batch)
    if points is None:
        tokens = encoder.not_a_point_embed.weight.new_zeros(batch, 0, model.config.channels)
    else:
        tokens = encoder.encode_points(*points)
    dense = encoder.no_mask(batch) if previous is None else encoder.encode_masks(previous)
    decoded = model.decode(model.without_memory(features), features, tokens, dense)
    if multimask:
        return decoded.masks[:, 1:], decoded.ious[:, 1:]
    masks, ious, _ = choose(model.config, decoded, ambiguous=False)
    return masks[:, None], ious[:, None]


def stack_prompts(
    prompts: list[PointPrompt], height: int, width: int, model: Sam2
) -> tuple[Tensor, Tensor]:
    """Prompts with equally many points as one batch: places (B, P, 2) and labels (B, P)."""
    size, device = model.config.image_size, model.device
    places, labels = zip(*(p.to_model(height, width, size, device) for p in prompts), strict=True)
    return torch.cat(places), torch.cat(labels)
