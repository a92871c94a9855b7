"""The heap: what is free under something that is still in use goes back to the system, in time."""

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sam2.engine import Engine
from sam2.heap import Heap
from sam2.prompts import PointPrompt
from sam2.task import TrackTask
from tests.sam2.tiny import FakeClip, pictures, tiny_model

if not hasattr(ctypes.CDLL(None), "malloc_trim"):
    pytest.skip("the C library is not glibc: it has no malloc_trim", allow_module_level=True)

BLOCK, BLOCKS = 2**16, 1600  # 100 MiB, in blocks that glibc takes from its heap


def held_mib() -> float:
    (line,) = re.findall(
        r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE
    )
    return int(line) / 1024


def given_back(tidy: Callable[[], object]) -> float:
    """MiB that tidying gives back when nearly all of a hundred are free."""
    blocks = [bytearray(BLOCK) for _ in range(BLOCKS)]
    last = blocks.pop()
    blocks.clear()
    before = held_mib()
    tidy()
    assert last  # it lies above the others, and keeps the heap from shrinking by itself
    return before - held_mib()


def given_back_by_the_engine() -> float:
    """The same where nothing but an engine at work tidies."""
    engine = Engine(tiny_model())
    engine._heap = Heap(every=0.0)
    task = TrackTask(1, {0: PointPrompt(points=((30.0, 20.0),), labels=(1,))}, "forward")

    def work() -> None:
        assert len(list(engine.run(FakeClip(pictures(4)), (48, 64), [task], (0, 4)))) == 4

    work()
    return given_back(work)


def in_a_fresh_process(expression: str) -> float:
    """What it comes to where the heap has no holes of other tests."""
    command = f"from tests.sam2 import test_heap as t; print({expression})"
    run = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    return float(run.stdout)


@pytest.mark.parametrize(("every", "least", "most"), [(0.0, 80, 120), (60.0, -1, 1)])
def test_free_memory_goes_back_when_its_time_has_come(
    every: float, least: float, most: float
) -> None:
    assert least < in_a_fresh_process(f"t.given_back(t.Heap({every}).tidy)") < most


def test_an_engine_gives_free_memory_back_while_it_works() -> None:
    assert 60 < in_a_fresh_process("t.given_back_by_the_engine()") < 120
