"""Segments a shard in spite of tasks that kill their actor or do not fit into its memory.

Nobody can tell in advance which task will. So what was in hand when an actor died is tried again
with ever less beside it: first each video alone, then each object alone, and then it is struck out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Protocol

import torch

from pipeline.masklets import Masklet
from pipeline.plan import Task
from pipeline.segmenter import Report, Segmenter
from sam2.engine import DeviceMemoryError

MOST_DEATHS = 3  # of actors over one task
# What plain RuntimeErrors say of memory: of a CPU, and of a GPU's driver, compiler and libraries.
_NO_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine",  # cuDNN, where none has the room that it needs
)


class Book(Protocol):
    """The ledger as one actor sees it: whose hands tasks are in, and how often that ended badly.

    `deaths` has a count for each task asked for, in their order. `tell` hears of each object found
    on a frame, and `finish` of rows: how many frames their tasks have masks on by then.
    """

    def claim(self, tasks: Sequence[int]) -> None: ...

    def release(self, tasks: Sequence[int]) -> None: ...

    def deaths(self, tasks: Sequence[int]) -> list[int]: ...

    def tell(self, frames: Mapping[int, int]) -> None: ...

    def finish(self, frames: Mapping[int, int]) -> None: ...


def segment_carefully(tasks: Sequence[Task], segmenter: Segmenter, book: Book) -> list[Masklet]:
    """One masklet for each task, in their order, whatever happened when they were tried before."""
    ids = [task.task_id for task in tasks]
    deaths = dict(zip(ids, book.deaths(ids), strict=True))
    rows = {
        task.task_id: _struck_out(segmenter.row(task), deaths[task.task_id])
        for task in tasks
        if deaths[task.task_id] >= MOST_DEATHS
    }
    for group in groups(tasks, deaths):
        members = [task.task_id for task in group]
        book.claim(members)
        for row in _within_memory(group, segmenter, book.tell):
            rows[row.task_id] = replace(row, attempts=deaths[row.task_id] + 1)
        book.release(members)
    book.finish({task_id: len(rows[task_id].frame_index) for task_id in ids})
    return [rows[task_id] for task_id in ids]


def groups(tasks: Sequence[Task], deaths: Mapping[int, int]) -> Iterator[list[Task]]:
    """What may be tried together: the likeliest killers first and alone, struck out ones never.

    First, so that a shard whose actor dies again has lost no work but theirs.
    """

    def with_deaths(number: int) -> list[Task]:
        return [task for task in tasks if deaths[task.task_id] == number]

    for number in range(MOST_DEATHS - 1, 1, -1):
        yield from ([task] for task in with_deaths(number))
    for _, same in groupby(with_deaths(1), key=lambda task: (task.video_id, task.uri)):
        yield list(same)
    if fresh := with_deaths(0):
        yield fresh


def _within_memory(tasks: Sequence[Task], segmenter: Segmenter, report: Report) -> list[Masklet]:
    """The masklets of the tasks, by halves where they do not fit into memory together."""
    try:
        rows = list(segmenter.segment(tasks, report))
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        if len(tasks) == 1:
            return [_too_large(segmenter.row(tasks[0]), str(error))]
        rows, again = [], tasks
    else:
        full = {row.task_id for row in rows if row.error_type == DeviceMemoryError.__name__}
        if not full or len(tasks) == 1:
            return rows
        rows = [row for row in rows if row.task_id not in full]
        again = [task for task in tasks if task.task_id in full]
    # Only here is what filled the memory let go, with the error that held on to it.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(again) // 2
    for half in (again[:middle], again[middle:]):
        rows += _within_memory(half, segmenter, report) if half else []
    return rows


def _is_of_memory(error: Exception) -> bool:
    """Whether memory ran out: torch says so in several ways."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        text in str(error) for text in _NO_MEMORY
    )


def _too_large(row: Masklet, error: str) -> Masklet:
    text = f"{row.uri}: does not fit into memory, even alone: {error}"
    return replace(row, status="failed", error_type="OutOfMemory", error=text)


def _struck_out(row: Masklet, deaths: int) -> Masklet:
    text = (
        f"{row.uri}: {deaths} actors died while working on it (a lost node counts half), the last "
        "time on this object alone; "
        "look for a file that crashes the decoder, or more memory than the machine has"
    )
    return replace(row, status="crashed", error_type="ActorDied", error=text, attempts=deaths)
