"""The prompt encoder: clicks and boxes as tokens, masks as maps (paper: "Prompt encoder")."""

import math

import torch
from torch import Tensor, nn

from sam2.config import ModelConfig
from sam2.layers import LayerNorm2d

# What a point says of the place it marks. A box is its two corners.
NOT_A_POINT, NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3


class FourierCode(nn.Module):
    """Codes places of the unit square by random frequencies, which belong to the weights."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))

    def forward(self, places: Tensor) -> Tensor:
        """x and y in 0..1, (..., 2) -> (..., C)."""
        angle = (2 * places - 1) @ self.positional_encoding_gaussian_matrix * (2 * math.pi)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)


class PromptEncoder(nn.Module):
    """Encodes sparse prompts (points, boxes) and dense ones (mask logits)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.channels
        self.image_size = config.image_size
        self.grid = config.grid
        self.pe_layer = FourierCode(channels)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.no_mask_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, kernel_size=2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, channels, kernel_size=1),
        )

    def encode_points(self, points: Tensor, labels: Tensor) -> Tensor:
        """Points (B, P, 2) in model pixels with labels (B, P), numbers of any type -> (B, P, C)."""
        points = points.to(self.pe_layer.positional_encoding_gaussian_matrix.dtype)
        labels = labels.long()
        code = self.pe_layer((points + 0.5) / self.image_size)  # + 0.5: the middle of the pixel
        meanings = torch.cat([*self.point_embeddings.parameters()])  # (4, C)
        tokens = code + meanings[labels.clamp(min=0)]
        unmarked = (labels == NOT_A_POINT)[..., None]
        return torch.where(unmarked, self.not_a_point_embed.weight, tokens)

    def encode_masks(self, logits: Tensor) -> Tensor:
        """Low-resolution logits (B, 1, S/4, S/4) -> dense prompt (B, C, S/16, S/16)."""
        return self.mask_downscaling(logits)  # type: ignore[no-any-return]

    def no_mask(self, batch: int) -> Tensor:
        """The dense prompt where there is no mask -> (B, C, S/16, S/16)."""
        return self.no_mask_embed.weight[:, :, None, None].expand(batch, -1, self.grid, self.grid)

    def image_positions(self) -> Tensor:
        """Code of each cell of the image map -> (1, C, S/16, S/16)."""
        middle = (
            torch.arange(self.grid, device=self.no_mask_embed.weight.device) + 0.5
        ) / self.grid
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        return self.pe_layer(torch.stack((x, y), dim=-1)).permute(2, 0, 1)[None]  # type: ignore[no-any-return]
