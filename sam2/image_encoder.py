"""The image encoder: Hiera trunk and feature pyramid neck (paper: "Image encoder")."""

import torch.nn.functional as F
from torch import Tensor, nn

from sam2.config import ModelConfig
from sam2.hiera import Hiera
from sam2.layers import Conv2d


class Lateral(nn.Module):
    """The 1x1 convolution that brings one trunk map to the common width."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels_in, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C', H, W) -> (B, C, H, W)."""
        return self.conv(x)  # type: ignore[no-any-return]


class FpnNeck(nn.Module):
    """Brings the trunk's maps to one width; the stride-16 map also hears from stride 32."""

    def __init__(self, trunk_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        # The published checkpoints count these from the deepest map.
        self.convs = nn.ModuleList(Lateral(c, channels) for c in reversed(trunk_channels))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Four trunk maps, finest first -> three maps (B, C, ...) at strides 4, 8 and 16."""
        fine, middle, coarse, coarsest = (
            lateral(x) for lateral, x in zip(reversed(self.convs), maps, strict=True)
        )
        return [fine, middle, coarse + F.interpolate(coarsest, scale_factor=2.0, mode="nearest")]


class ImageEncoder(nn.Module):
    """A picture as three feature maps."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trunk = Hiera(config.trunk)
        self.neck = FpnNeck(config.trunk.channels, config.channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised (B, 3, S, S) -> maps of C channels at strides 4, 8 and 16."""
        return self.neck(self.trunk(image))  # type: ignore[no-any-return]
