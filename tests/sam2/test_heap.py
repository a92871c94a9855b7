"""The heap: what is free under something that is still in use goes back to the system, in time."""

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sam2.heap import Heap

if not hasattr(ctypes.CDLL(None), "malloc_trim"):
    pytest.skip("the C library is not glibc: it has no malloc_trim", allow_module_level=True)

BLOCK, BLOCKS = 2**16, 1600  # 100 MiB, in blocks that glibc takes from its heap


def held_mib() -> float:
    (line,) = re.findall(
        r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE
    )
    return int(line) / 1024


def given_back(every: float) -> float:
    """MiB that tidying gives back when nearly all of a hundred are free."""
    blocks = [bytearray(BLOCK) for _ in range(BLOCKS)]
    last = blocks.pop()
    heap = Heap(every)
    blocks.clear()
    before = held_mib()
    heap.tidy()
    assert last  # it lies above the others, and keeps the heap from shrinking by itself
    return before - held_mib()


@pytest.mark.parametrize(("every", "least", "most"), [(0.0, 80, 120), (60.0, -1, 1)])
def test_free_memory_goes_back_when_its_time_has_come(
    every: float, least: float, most: float
) -> None:
    # In a process of its own: this one's heap has other holes.
    command = f"from tests.sam2.test_heap import given_back; print(given_back({every}))"
    run = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )

    assert least < float(run.stdout) < most
