"""The prompt encoder as published code calls it."""

import torch
from torch import Tensor

from sam2.prompt_encoder import BOTTOM_RIGHT, NOT_A_POINT, TOP_LEFT
from sam2.prompt_encoder import PromptEncoder as CorePromptEncoder


class PromptEncoder(CorePromptEncoder):
    """Our prompt encoder with the published call: points, boxes and masks at once."""

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Prompts in model pixels -> tokens (B, P, C) and dense prompt (B, C, S/16, S/16).

        `points` are places (B, N, 2) with labels (B, N); `boxes` (B, 4) xyxy; `masks`
        (B, 1, S/4, S/4) logits. Points without a box get one padding point, as the weights expect.
        """
        tokens = []
        if points is not None:
            places, labels = points
            if boxes is None:
                places = torch.cat((places, places.new_zeros(len(places), 1, 2)), dim=1)
                padding = labels.new_full((len(labels), 1), NOT_A_POINT)
                labels = torch.cat((labels, padding), dim=1)
            tokens.append(self.encode_points(places, labels))
        if boxes is not None:
            corners = boxes.reshape(-1, 2, 2)
            marks = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]], device=boxes.device)
            tokens.append(self.encode_points(corners, marks.expand(len(corners), -1)))
        batch = len(tokens[0]) if tokens else 1 if masks is None else len(masks)
        none = self.no_mask_embed.weight.new_zeros(batch, 0, self.no_mask_embed.embedding_dim)
        dense = self.no_mask(batch) if masks is None else self.encode_masks(masks)
        return torch.cat([none, *tokens], dim=1), dense

    def get_dense_pe(self) -> Tensor:
        """Code of each cell of the image map -> (1, C, S/16, S/16)."""
        return self.image_positions()
