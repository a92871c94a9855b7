"""Muon: momentum for matrices, whose every direction moves alike (Jordan et al. 2024).

It does what torch.optim.Muon does at one learning rate with AdamW (Liu et al. 2025). That one
always multiplies in bfloat16; on processors without instructions for it a step of `nano` took
seven seconds.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sam2.precision import fast_at_bfloat16

MOMENTUM = 0.95
RATIO = 0.2  # root mean square of a step over the learning rate, as AdamW has it
# Of the polynomial that draws all singular values towards 1, as published; they end near it.
ODD, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315
ROUNDS = 5


class Muon(Optimizer):
    """Moves matrices; `params` has two-dimensional weights only."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Takes a step along the gradients; `closure` is not called."""
        for group in self.param_groups:
            rate, decay = group["lr"], group["weight_decay"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - MOMENTUM)
                ahead = weight.grad.lerp(momentum, MOMENTUM)  # Nesterov's
                length = RATIO * math.sqrt(max(weight.shape))
                weight.mul_(1 - rate * decay)
                weight.add_(even_out(ahead), alpha=-rate * length)


def even_out(matrix: Tensor) -> Tensor:
    """A matrix (M, N) with the same singular vectors and all singular values near 1."""
    x = matrix.bfloat16() if fast_at_bfloat16(matrix.device) else matrix
    if tall := len(x) > x.shape[1]:
        x = x.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        square = x @ x.T
        square = torch.addmm(square, square, square, beta=CUBIC, alpha=QUINTIC)
        x = torch.addmm(x, square, x, beta=ODD)
    return (x.T if tall else x).to(matrix.dtype)
