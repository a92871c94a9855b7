"""Progress of a run: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@dataclass(frozen=True, slots=True)
class Tally:
    """How much is done."""

    tasks: int = 0
    object_frames: int = 0
    tracked: int = 0  # object-frames worked on, all but the last second of actors that died
    running: int = 0  # tasks in the hands of an actor

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.tasks + other.tasks,
            self.object_frames + other.object_frames,
            self.tracked + other.tracked,
            self.running + other.running,
        )


@contextmanager
def shown(read: Callable[[], Tally], total: Tally) -> Iterator[None]:
    """Shows how far `read` has got towards `total` for as long as the block runs."""
    done = threading.Event()
    show = show_bar if sys.stderr.isatty() else print_lines
    thread = threading.Thread(target=show, args=(read, total, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def show_bar(read: Callable[[], Tally], total: Tally, done: threading.Event) -> None:
    """Keeps a bar on the terminal up to date until `done`."""
    columns = (
        TextColumn("{task.fields[tasks]} of {task.fields[all]} objects"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total} object-frames, {task.fields[rate]:.1f}/s"),
        TimeRemainingColumn(),
    )
    started, before = time.monotonic(), read().tracked
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=total.object_frames, tasks=0, all=total.tasks, rate=0.0)
        waiting = True
        while waiting:
            waiting = not done.wait(0.5)
            now = read()
            rate = (now.tracked - before) / (time.monotonic() - started)
            progress.update(bar, completed=now.object_frames, tasks=now.tasks, rate=rate)


def print_lines(
    read: Callable[[], Tally], total: Tally, done: threading.Event, every_s: float = 5.0
) -> None:
    """Prints a line every few seconds until `done`."""
    started, before = time.monotonic(), read().tracked  # what earlier drivers did
    while not done.wait(every_s):
        now = read()
        rate = (now.tracked - before) / (time.monotonic() - started)
        print(
            f"{now.tasks} of {total.tasks} objects done, {now.object_frames} of about "
            f"{total.object_frames} object-frames, {rate:.1f}/s",
            file=sys.stderr,
            flush=True,
        )
