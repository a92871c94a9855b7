"""Small layers that several parts of SAM 2 share."""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fitted(x: Tensor, weight: Tensor) -> Tensor:
    """`x` in the precision of the weights that it meets, unless autocast sees to both."""
    if not x.is_meta and torch.is_autocast_enabled(x.device.type):
        return x
    return x.to(weight.dtype)


class Linear(nn.Linear):
    """A matrix product in the precision of its weights."""

    multiply: Callable[[Tensor, Tensor, Tensor], Tensor] = staticmethod(F.linear)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., E)."""
        return self.multiply(fitted(x, self.weight), self.weight, self.bias)


class Conv2d(nn.Conv2d):
    """A convolution in the precision of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        return super().forward(fitted(x, self.weight))


class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution in the precision of its weights."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # no one asks for a size
        """(B, C, H, W) -> (B, C', H', W')."""
        return super().forward(fitted(x, self.weight))


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of a (B, C, H, W) map, in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        x = x.float()
        # Written out and not F.layer_norm of the permuted map: the last bits decide how memories
        # round to bfloat16, and this order of sums is the one the published figures come from.
        centred = x - x.mean(dim=1, keepdim=True)
        deviation = (centred.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
        return centred / deviation * self.weight[:, None, None] + self.bias[:, None, None]


class MLP(nn.Module):
    """Linear layers with an activation between them."""

    def __init__(self, *widths: int, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(..., first width) -> (..., last width)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)  # type: ignore[no-any-return]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Heads that lie side by side: (B, N, heads * D) -> (B, heads, N, D)."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, heads, N, D) -> (B, N, heads * D)."""
    return x.transpose(1, 2).flatten(2)


def as_tokens(x: Tensor) -> Tensor:
    """A map as a sequence: (B, C, H, W) -> (B, H*W, C)."""
    return x.flatten(2).transpose(1, 2)


def as_map(x: Tensor, height: int) -> Tensor:
    """A sequence as a map of `height` rows: (B, H*W, C) -> (B, C, H, W), laid out in that order.

    A view would look to convolutions like another memory format, alone and in a batch not the same.
    """
    batch, tokens, channels = x.shape
    return x.transpose(1, 2).reshape(batch, channels, height, tokens // height).contiguous()
