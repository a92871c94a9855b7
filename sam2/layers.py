"""Small layers that several parts of SAM 2 share."""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of a (B, C, H, W) map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return apart(self._normalise, x)

    def _normalise(self, x: Tensor) -> Tensor:
        # Written out and not F.layer_norm of the permuted map: the last bits decide how memories
        # round to bfloat16, and this order of sums is the one the published figures come from.
        centred = x - x.mean(dim=1, keepdim=True)
        deviation = (centred.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
        return centred / deviation * self.weight[:, None, None] + self.bias[:, None, None]


class MLP(nn.Module):
    """Linear layers with an activation between them."""

    def __init__(self, *widths: int, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(..., first width) -> (..., last width)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)  # type: ignore[no-any-return]


def apart(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Applies a layer to each object of a batch by itself: (B, ...) -> (B, ...).

    A CPU sums in an order that depends on the shape, so on the size of the batch, where an object
    brings but few rows or the sum is over channels. This gives an object the same numbers alone and
    in a batch.
    """
    if x.device.type != "cpu":
        return layer(x)
    return torch.cat([layer(one) for one in torch.split(x, 1)])


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Softmax attention with heads side by side: (B, N, D), (B, M, D), (B, M, D) -> (B, N, D)."""
    q, k, v = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def as_tokens(x: Tensor) -> Tensor:
    """A map as a sequence: (B, C, H, W) -> (B, H*W, C)."""
    return x.flatten(2).transpose(1, 2)


def as_map(x: Tensor, height: int) -> Tensor:
    """A sequence as a map of `height` rows: (B, H*W, C) -> (B, C, H, W), laid out in that order.

    A view would look to convolutions like another memory format, alone and in a batch not the same.
    """
    batch, tokens, channels = x.shape
    return x.transpose(1, 2).reshape(batch, channels, height, tokens // height).contiguous()
