"""What devices differ in: whether batches pay, of what sizes, and how values get there."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

# Batches have one of these sizes, or a multiple of the last one. A device picks its kernels by the
# shape, and compiles its own for each: here it meets few of them.
_SIZES = (1, 2, 4, 8, 12, 16)

_Member = TypeVar("_Member")

# Whether this machine's CPU has it: products are twice as fast then, so all else weighs more.
AVX512 = "AVX512" in torch.backends.cpu.get_cpu_capability()


def resolve_device(device: str) -> str:
    """The device that a setting means: `auto` is a GPU where there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def batches_pay(device: torch.device) -> bool:
    """Whether a device gains by batches. A CPU does not, and it rounds by their size."""
    return device.type != "cpu"


def together(x: Tensor) -> tuple[Tensor, ...]:
    """What of a batch (B, ...) is computed together: all of it, filled up to one of a few sizes.

    On a CPU one at a time: it sums in an order that depends on the shape, so on the size of the
    batch. This gives a frame and an object the same numbers alone and in a batch, and is no slower.
    Training has no use for either.
    """
    if torch.is_grad_enabled():
        return (x,)
    if not batches_pay(x.device):
        return torch.split(x, 1)
    rest = _size(len(x)) - len(x)
    return (torch.cat((x, x[-1:].expand(rest, *x.shape[1:]))) if rest else x,)


def filled(batch: Sequence[_Member]) -> list[_Member]:
    """A batch filled up to one of the sizes with its last member."""
    return [*batch, *[batch[-1]] * (_size(len(batch)) - len(batch))]


def _size(count: int) -> int:
    largest = _SIZES[-1]
    return next((size for size in _SIZES if size >= count), -(-count // largest) * largest)


def upload(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host on a device; the host does not wait for work that is under way there."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
