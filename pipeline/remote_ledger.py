"""The ledger in a Ray actor of its own, and how others speak to it."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.ledger import Ledger
from pipeline.progress import Tally

_ANSWER_S = 30.0  # the lease is renewed with what it says, and must not wait for ever


def start_ledger(done: Tally) -> Any:
    """The ledger in an actor of its own, which lives as long as somebody holds it.

    It lives where the driver does: other nodes may be taken away, and its figures with them.
    """
    actor: Any = ray.remote(Ledger)  # Ledger itself never heard of Ray
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    lasting = {"max_restarts": -1, "max_task_retries": -1}
    return actor.options(num_cpus=0, scheduling_strategy=here, **lasting).remote(done)


def tally(ledger: Any) -> Tally:
    """What the ledger knows to be done; Ray's GetTimeoutError where it does not answer."""
    done: Tally = ray.get(ledger.read.remote(), timeout=_ANSWER_S)
    return done


class RemoteBook:
    """The ledger as one actor sees it."""

    def __init__(self, ledger: Any, measure: Callable[[str, float], None]) -> None:
        self.ledger = ledger
        self.measure = measure
        self.node = ray.get_runtime_context().get_node_id()
        self.untold, self.told_at = Tally(), 0.0

    def claim(self, tasks: Sequence[int]) -> None:
        ray.get(self.ledger.claim.remote(tasks, self.node))  # known before anything can go wrong

    def release(self, tasks: Sequence[int]) -> None:
        self.ledger.release.remote(tasks)

    def add(self, done: Tally) -> None:
        """Tells of it when a second has passed, or a task is done."""
        self.measure("object_frames", done.object_frames)
        self.untold += done
        if done.tasks or time.monotonic() - self.told_at > 1:
            self.ledger.add.remote(self.untold)
            self.untold, self.told_at = Tally(), time.monotonic()

    def forgive(self, task: int) -> None:
        self.ledger.forgive.remote(task)

    def deaths(self, tasks: Sequence[int]) -> list[int]:
        deaths: list[int] = ray.get(self.ledger.deaths.remote(tasks))
        if any(deaths):
            nodes = ray.nodes()  # type: ignore[no-untyped-call]
            lost = [node["NodeID"] for node in nodes if not node["Alive"]]
            deaths = ray.get(self.ledger.deaths.remote(tasks, lost))
        return deaths
