"""Matrix products by the fastest way on a CPU; on other devices they are torch's own."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2.devices import AVX512

_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_FUSED = {
    torch.float32: _ONEDNN,
    torch.bfloat16: _ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported(),
}
# Multiplications of a float32 product up to which MKL is as fast: oneDNN prepares each for some 45
# microseconds, MKL for 5, and only with AVX-512 do their sums differ much in speed.
_SMALL = 2**22 if AVX512 else 2**24


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The matrix product x @ weight.T + bias: (..., D), (E, D), (E,) -> (..., E)."""
    if x.dtype == torch.float32 and _by_onednn(x, weight):
        # torch takes MKL, half as fast as oneDNN where there is AVX-512 that is not Intel's.
        return _pointwise(x, weight, bias, "none")
    return F.linear(x, weight, bias)


def multiply_gelu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU of the matrix product: (..., D), (E, D), (E,) -> (..., E).

    In a pass of its own GELU takes as long as the product where there are many tokens: it is memory
    that both wait for.
    """
    if _by_onednn(x, weight):
        return _pointwise(x, weight, bias, "gelu")
    return F.gelu(F.linear(x, weight, bias))


def _by_onednn(x: Tensor, weight: Tensor) -> bool:
    small = x.dtype == torch.float32 and x.numel() * len(weight) <= _SMALL
    return x.device.type == "cpu" and _FUSED.get(x.dtype, False) and not small


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, then: str) -> Tensor:
    kind = "none"  # not the approximation by tanh
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], kind)  # type: ignore[no-any-return]
