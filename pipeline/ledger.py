"""The ledger: what all actors of a run tell of their work. It knows progress, and deaths."""

from collections.abc import Collection, Sequence

from pipeline.progress import Tally


class Ledger:
    """Counts what is done, and the deaths of actors by the tasks they were working on.

    An actor claims the tasks it takes up and releases them when it has their rows. A claim that is
    still open when its task comes round again is a death.
    """

    def __init__(self, done: Tally) -> None:
        self.done = done  # by earlier runs too
        self.claims: dict[int, list[str]] = {}  # task -> the node of each claim that is open

    def add(self, done: Tally) -> None:
        """Counts what an actor has done."""
        self.done = self.done + done

    def read(self) -> Tally:
        """What has been done so far, and how much is being worked on."""
        return self.done + Tally(running=len(self.claims))

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
