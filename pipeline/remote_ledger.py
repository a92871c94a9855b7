"""The ledger in a Ray actor of its own, and how others speak to it."""

import time
from collections.abc import Callable, Mapping, Sequence
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
        self.frames: dict[int, int] = {}  # found of each task, where the ledger does not know it
        self.tracked, self.told_at = 0, 0.0

    def claim(self, tasks: Sequence[int]) -> None:
        ray.get(self.ledger.claim.remote(tasks, self.node))  # known before anything can go wrong

    def release(self, tasks: Sequence[int]) -> None:
        self.ledger.release.remote(tasks)

    def tell(self, frames: Mapping[int, int]) -> None:
        """Passes it on when a second has gone by."""
        self.measure("object_frames", len(frames))
        self.frames |= frames
        self.tracked += len(frames)
        if time.monotonic() - self.told_at > 1:
            self._pass_on()

    def finish(self, frames: Mapping[int, int]) -> None:
        self._pass_on()
        self.ledger.finish.remote(frames)

    def _pass_on(self) -> None:
        self.ledger.tell.remote(self.frames, self.tracked)
        self.frames, self.tracked, self.told_at = {}, 0, time.monotonic()

    def forgive(self, task: int) -> None:
        self.ledger.forgive.remote(task)

    def deaths(self, tasks: Sequence[int]) -> list[int]:
        deaths: list[int] = ray.get(self.ledger.deaths.remote(tasks))
        if any(deaths):
            nodes = ray.nodes()  # type: ignore[no-untyped-call]
            lost = [node["NodeID"] for node in nodes if not node["Alive"]]
            deaths = ray.get(self.ledger.deaths.remote(tasks, lost))
        return deaths
