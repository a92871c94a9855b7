"""Softmax attention: the plain form, and those that are fast where heads are long or unequal."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from sam2.devices import AVX512
from sam2.products import multiply

# Queries (B, H, N, D), keys (B, H, M, D) and values (B, H, M, E) -> (B, H, N, E).
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

_WINDOW = 256  # queries and keys that torch's own kernel does well with on a CPU
_SCORES = 2**22  # of one block of queries: they stay in a processor's cache between two products
_KEYS = 2**10  # of one block, where keys too go in blocks; the best of 2**9 to 2**12
_QUERIES = 2**11  # read together with it


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """torch's own attention, whose rounding the published figures share."""
    return F.scaled_dot_product_attention(q, k, v)


def attend_fast(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same to rounding; values may be narrower than keys."""
    equal = q.shape[-1] == v.shape[-1]
    if q.device.type != "cpu":
        if q.dtype == torch.bfloat16 and not equal:
            return attend_narrow(q, k, v)
        return F.scaled_dot_product_attention(q, k, v)
    # torch's kernel makes its products by MKL, which without AVX-512 is as fast as any.
    mkl_is_fast = q.dtype == torch.float32 and not AVX512
    if equal and (mkl_is_fast or q.shape[2] <= _WINDOW):
        return _by_torch(q, k, v)
    read = _in_tiles if mkl_is_fast else _in_blocks
    heads = [
        read(*head) for head in zip(*(x.flatten(0, 1).unbind() for x in (q, k, v)), strict=True)
    ]
    return torch.stack(heads).view(*q.shape[:3], -1)


def attend_narrow(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same for values narrower than keys, as one kernel wherever this is compiled.

    torch's own fast kernels take none or lose by it: docs/decisions/narrow-values-need-a-kernel.md.
    """
    return flex_attention(q, k, v)


def _by_torch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """All heads at once; torch's kernel knows no fast bfloat16, and short heads need none."""
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


def _in_tiles(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head, some queries with some keys at a time: (N, D), (M, D), (M, E) -> (N, E)."""
    queries = torch.split((q * q.shape[-1] ** -0.5).contiguous(), _QUERIES)
    keys = torch.split(k.contiguous(), _KEYS)
    columns = [block.T.contiguous() for block in torch.split(v, _KEYS)]
    return torch.cat([_read(block, keys, columns) for block in queries])


def _read(q: Tensor, keys: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
    """Queries (N, D) through keys (m, D) and columns of values (E, m), block by block -> (N, E).

    What was read so far fades whenever a score beats all before it (FlashAttention, algorithm 1).
    """
    highest = torch.full_like(q[:, :1], -torch.inf)
    total, read = torch.zeros_like(highest), q.new_zeros(len(q), len(columns[0]))
    for block, values in zip(keys, columns, strict=True):
        scores = multiply(q, block)
        before, highest = highest, torch.maximum(highest, scores.amax(dim=-1, keepdim=True))
        fade, weights = (before - highest).exp_(), scores.sub_(highest).exp_()
        total = total * fade + weights.sum(dim=-1, keepdim=True)
        read = read * fade + multiply(weights, values)
    return read / total
