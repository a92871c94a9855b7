"""What devices differ in: whether batches pay, of what sizes, and how values get there and back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
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
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def given_so_far(device: torch.device) -> torch.cuda.Event | None:
    """Stands behind all work that this thread has given to a GPU; None for other devices."""
    if device.type != "cuda":
        return None
    given = torch.cuda.Event()  # type: ignore[no-untyped-call]
    given.record(torch.cuda.current_stream(device))
    return given


@contextmanager
def beside(device: torch.device, given: torch.cuda.Event | None) -> Iterator[None]:
    """What is done in here waits for what was given, and not for what the device got since then.

    Whoever takes values off a GPU in another thread than the one that keeps it busy would else wait
    for all that is queued there. Values from before must be held until those made of them are off.
    """
    if given is None:
        yield
        return
    stream = _stream(device)
    stream.wait_event(given)
    with torch.cuda.stream(stream):
        yield


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    # With priority: it is little work, and others wait for it.
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
