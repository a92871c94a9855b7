"""The memory encoder: a frame and its mask become one memory (paper: "Memory encoder")."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2.config import ModelConfig
from sam2.layers import Conv2d, LayerNorm2d, Linear


class MaskDownsampler(nn.Module):
    """Brings a full-size mask down to the feature grid in four halvings."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (1, 4, 16, 64, 256)
        layers: list[nn.Module] = []
        for width_in, width in pairwise(widths):
            conv = Conv2d(width_in, width, kernel_size=3, stride=2, padding=1)
            layers += [conv, LayerNorm2d(width), nn.GELU()]
        layers.append(Conv2d(widths[-1], channels, kernel_size=1))
        self.encoder = nn.Sequential(*layers)

    def forward(self, mask: Tensor) -> Tensor:
        """(B, 1, S, S) -> (B, C, S/16, S/16)."""
        return self.encoder(mask)  # type: ignore[no-any-return]


class ConvNextBlock(nn.Module):
    """A wide depthwise convolution and a pointwise MLP, scaled per channel (ConvNeXt paper)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.pwconv1 = Linear(channels, 4 * channels)
        self.pwconv2 = Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)  # (B, H, W, C)
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class Fuser(nn.Module):
    """Two ConvNeXt blocks that mix picture and mask."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNextBlock(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Fuses a frame with the mask found in it into one memory."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.channels
        self.mask_downsampler = MaskDownsampler(channels)
        self.pix_feat_proj = Conv2d(channels, channels, kernel_size=1)
        self.fuser = Fuser(channels)
        self.out_proj = Conv2d(channels, config.memory_channels, kernel_size=1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Image (B, C, h, w) and mask probability (B, 1, 16h, 16w) -> memory (B, M, h, w)."""
        mask = mask * 20 - 10  # the scale and bias the published weights expect
        fused = self.pix_feat_proj(image) + self.mask_downsampler(mask)
        return self.out_proj(self.fuser(fused))  # type: ignore[no-any-return]
