"""The ledger: what all actors of a run tell of their work. It knows progress, and deaths."""

from collections.abc import Collection, Mapping, Sequence

from pipeline.progress import Tally


class Ledger:
    """Counts what is done, and the deaths of actors by the tasks they were working on.

    An actor claims the tasks it takes up and releases them when it has their rows. A claim that is
    still open when its task comes round again is a death. What is told of a task replaces what was
    told before, so that a task that is begun anew, or finished twice, counts once.
    """

    def __init__(self, done: Tally) -> None:
        self.done = done  # by earlier drivers
        self.frames: dict[int, int] = {}  # found of each task that was begun
        self.found = 0  # their sum
        self.finished: set[int] = set()
        self.tracked = 0
        self.claims: dict[int, list[str]] = {}  # task -> the node of each claim that is open

    def tell(self, frames: Mapping[int, int], tracked: int = 0) -> None:
        """An actor has found objects on so many frames, by task, after so much work."""
        self.found += sum(n - self.frames.get(task, 0) for task, n in frames.items())
        self.frames.update(frames)
        self.tracked += tracked

    def finish(self, frames: Mapping[int, int]) -> None:
        """These tasks have their rows, with masks on so many frames."""
        self.tell(frames)
        self.finished.update(frames)

    def read(self) -> Tally:
        """What has been done so far, and how much is being worked on."""
        running = sum(task not in self.finished for task in self.claims)
        return self.done + Tally(len(self.finished), self.found, self.tracked, running)

    def claim(self, tasks: Sequence[int], node: str) -> None:
        """An actor on this node is about to work on all these tasks."""
        for task in tasks:
            self.claims.setdefault(task, []).append(node)

    def release(self, tasks: Sequence[int]) -> None:
        """These tasks did not kill their actor."""
        for task in tasks:
            self.claims.pop(task, None)

    def forgive(self, task: int) -> None:
        """This task has got further than ever: earlier deaths did not come of where it was."""
        if task in self.claims:
            self.claims[task] = self.claims[task][-1:]

    def deaths(self, tasks: Sequence[int], lost_nodes: Collection[str] = ()) -> list[int]:
        """How many actors died over each task.

        A node that was lost took its actors with it, so it counts half, and one alone not at all:
        but nodes may be lost over a task that takes more memory than they have.
        """
        return [self._deaths(task, lost_nodes) for task in tasks]

    def _deaths(self, task: int, lost_nodes: Collection[str]) -> int:
        claims = self.claims.get(task, ())
        lost = sum(node in lost_nodes for node in claims)
        return len(claims) - lost + lost // 2
