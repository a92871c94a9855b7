"""Softmax attention: the plain form, and those that are fast where heads are long or unequal."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from sam2.products import multiply

# Queries (B, H, N, D), keys (B, H, M, D) and values (B, H, M, E) -> (B, H, N, E).
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

_WINDOW = 256  # queries and keys that torch's own kernel does well with on a CPU
_SCORES = 2**22  # of one block of queries: they stay in a processor's cache between two products


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """torch's own attention, whose rounding the published figures share."""
    return F.scaled_dot_product_attention(q, k, v)


def attend_fast(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same to rounding; values may be narrower than keys."""
    if q.device.type != "cpu":
        if q.dtype == torch.bfloat16 and v.shape[-1] < k.shape[-1]:
            return attend_narrow(q, k, v)
        return F.scaled_dot_product_attention(q, k, v)
    if q.shape[2] <= _WINDOW and q.shape[-1] == v.shape[-1]:
        return _in_windows(q, k, v)
    heads = [
        _in_blocks(*head)
        for head in zip(*(x.flatten(0, 1).unbind() for x in (q, k, v)), strict=True)
    ]
    return torch.stack(heads).view(*q.shape[:3], -1)


def attend_narrow(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same for values narrower than keys, as one kernel wherever this is compiled.

    torch's own fast kernels take none or lose by it: docs/decisions/narrow-values-need-a-kernel.md.
    """
    return flex_attention(q, k, v)


def _in_windows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Many short heads; torch's kernel knows no fast bfloat16."""
    if q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v)
    weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(dim=-1)
    return torch.matmul(weights, v)


def _in_blocks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head, some queries at a time: (N, D), (M, D), (M, E) -> (N, E)."""
    # oneDNN is a hundred times slower with matrices whose rows do not touch each other.
    q, k, columns = (q * q.shape[-1] ** -0.5).contiguous(), k.contiguous(), v.T.contiguous()
    blocks = torch.split(q, max(_SCORES // len(k), 1))
    return torch.cat([multiply(multiply(b, k).softmax(dim=-1), columns) for b in blocks])
