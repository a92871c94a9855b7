"""Tasks that kill their actor or do not fit: alone in the end, and no neighbour is lost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.careful import MOST_DEATHS, segment_carefully
from pipeline.ledger import Ledger
from pipeline.manifest import Prompt
from pipeline.masklets import Masklet
from pipeline.plan import Task
from pipeline.progress import Tally
from pipeline.segmenter import Report


class Died(BaseException):
    """Stands for the end of a process: nothing in the product can catch it."""


@dataclass
class FakeBook:
    """A ledger in the same process."""

    ledger: Ledger = field(default_factory=lambda: Ledger(Tally()))

    def claim(self, tasks: Sequence[int]) -> None:
        self.ledger.claim(tasks, "here")

    def release(self, tasks: Sequence[int]) -> None:
        self.ledger.release(tasks)

    def deaths(self, tasks: Sequence[int]) -> list[int]:
        return self.ledger.deaths(tasks)

    def tell(self, frames: Mapping[int, int]) -> None:
        self.ledger.tell(frames, len(frames))

    def finish(self, frames: Mapping[int, int]) -> None:
        self.ledger.finish(frames)


@dataclass
class FakeSegmenter:
    """Finds one frame per task; dies of some tasks and has room for a few only."""

    deadly: frozenset[int] = frozenset()
    room: int = 1000
    full: Callable[[], Exception] | None = torch.OutOfMemoryError  # None: a row tells it
    tried: list[list[int]] = field(default_factory=list)

    def segment(self, tasks: Sequence[Task], report: Report) -> Iterator[Masklet]:
        ids = [task.task_id for task in tasks]
        self.tried.append(ids)
        if self.deadly & {*ids}:
            raise Died
        if len(ids) > self.room and self.full:
            raise self.full()
        report(dict.fromkeys(ids, 1))
        for place, task in enumerate(tasks):
            row = self.row(task)
            fits = place < self.room
            yield row if fits else replace(row, status="failed", error_type="DeviceMemoryError")

    def row(self, task: Task) -> Masklet:
        return Masklet(
            task_id=task.task_id,
            video_id=task.video_id,
            uri=task.uri,
            object_id=task.object_id,
            status="ok",
        )


def shard(*objects: int) -> list[Task]:
    """Videos a, b, … with so many objects each."""
    prompt = Prompt(frame=0, points=((1.0, 1.0),), point_labels=(1,))
    named = [("abcdefgh"[i], n) for i, count in enumerate(objects) for n in range(count)]
    return [
        Task(task_id=i, shard=0, video_id=v, uri=f"/{v}.mp4", object_id=n, prompts=(prompt,))
        for i, (v, n) in enumerate(named)
    ]


def segment(
    tasks: Sequence[Task], segmenter: FakeSegmenter, book: FakeBook | None = None
) -> list[Masklet]:
    """As Ray does it: the same shard again, until the actor lives to give it back."""
    book = book or FakeBook()
    while True:
        try:
            return segment_carefully(tasks, segmenter, book)  # type: ignore[arg-type]  # a fake
        except Died:
            assert len(segmenter.tried) < 200


def test_without_trouble_everything_is_tracked_together_once() -> None:
    segmenter = FakeSegmenter()

    rows = segment(shard(2, 1), segmenter)

    assert segmenter.tried == [[0, 1, 2]]
    assert [(row.task_id, row.status, row.attempts) for row in rows] == [
        (0, "ok", 1),
        (1, "ok", 1),
        (2, "ok", 1),
    ]


def test_a_killer_is_tried_with_its_shard_then_with_its_video_then_alone() -> None:
    segmenter = FakeSegmenter(deadly=frozenset({1}))

    rows = segment(shard(1, 2, 1), segmenter)

    assert segmenter.tried == [[0, 1, 2, 3], [0], [1, 2], [1], [2], [3], [0]]
    assert [row.status for row in rows] == ["ok", "crashed", "ok", "ok"]
    assert rows[1].attempts == MOST_DEATHS
    assert "/b.mp4" in str(rows[1].error)


@given(
    objects=st.lists(st.integers(1, 3), min_size=1, max_size=6),
    deadly=st.frozensets(st.integers(0, 17), max_size=4),
)
def test_whoever_kills_is_struck_out_and_nobody_else_is_lost(
    objects: list[int], deadly: frozenset[int]
) -> None:
    tasks = shard(*objects)
    book = FakeBook()

    rows = segment(tasks, FakeSegmenter(deadly), book)

    expected = ["crashed" if task.task_id in deadly else "ok" for task in tasks]
    assert [row.status for row in rows] == expected
    assert [row.task_id for row in rows] == [task.task_id for task in tasks]
    assert book.ledger.read().tasks == len(tasks)


def without_memory() -> RuntimeError:
    """As torch tells it of a CPU."""
    return RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


def without_memory_to_load_a_kernel() -> RuntimeError:
    """As a GPU's driver tells it."""
    return RuntimeError("CUDA driver error: out of memory")


@pytest.mark.parametrize(
    "full",
    [torch.OutOfMemoryError, MemoryError, without_memory, without_memory_to_load_a_kernel],
)
def test_what_does_not_fit_together_is_tracked_by_halves(full: Callable[[], Exception]) -> None:
    segmenter = FakeSegmenter(room=2, full=full)

    rows = segment(shard(3, 2), segmenter)

    assert [row.status for row in rows] == ["ok"] * 5
    assert max(map(len, segmenter.tried[1:])) <= 3


def test_what_does_not_fit_even_alone_fails_by_name() -> None:
    (row,) = segment(shard(1), FakeSegmenter(room=0))

    assert (row.status, row.error_type) == ("failed", "OutOfMemory")
    assert "/a.mp4" in str(row.error)


def test_what_finds_no_room_on_the_device_beside_others_is_tried_without_them() -> None:
    segmenter = FakeSegmenter(room=2, full=None)

    rows = segment(shard(3, 2), segmenter)

    assert [row.status for row in rows] == ["ok"] * 5
    assert segmenter.tried == [[0, 1, 2, 3, 4], [2], [3, 4]]


def test_what_finds_no_room_on_the_device_even_alone_fails() -> None:
    segmenter = FakeSegmenter(room=0, full=None)

    rows = segment(shard(2), segmenter)

    assert [row.error_type for row in rows] == ["DeviceMemoryError"] * 2
    assert segmenter.tried == [[0, 1], [0], [1]]
