"""What the scheduling of a run costs, with a stand-in for the model that only sleeps.

python -m bench.scheduling --tasks 5000 --actors 16   # on three simulated nodes
"""

import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import ray
import typer
from ray.cluster_utils import Cluster

from bench.machine import machine
from pipeline.config import load_config
from pipeline.manifest import ObjectPrompts, Prompt, VideoEntry
from pipeline.masklets import Masklet, read_masklets
from pipeline.plan import Task
from pipeline.run import run

RESULTS = Path(__file__).parent / "results"
SLEEP_S = 0.25  # for each task
NODES = 3


class Sleeper:
    """Stands for the segmenter."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def segment(self, tasks: Sequence[Task], report: Callable[[int], None]) -> Iterator[Masklet]:
        """A row for each task, a nap later."""
        for task in tasks:
            time.sleep(SLEEP_S)
            report(1)
            yield self.row(task)

    def row(self, task: Task) -> Masklet:
        """A row that says when it was made."""
        return Masklet(
            task_id=task.task_id,
            video_id=task.video_id,
            uri=task.uri,
            object_id=task.object_id,
            status="ok",
            gpu_s=time.time(),
        )


def stand_in() -> None:
    """Puts the sleeper in place of the model; Ray calls this in each worker."""
    from pipeline import spine

    spine.Segmenter = Sleeper  # type: ignore[assignment,misc]


def main(
    tasks: int = 5000,
    actors: int = 16,
    name: Annotated[str | None, typer.Option(help="Keep the figures under this name.")] = None,
) -> None:
    """Run so many tasks on so many actors and tell how much of the time they slept."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    share = -(-actors // NODES)
    for _ in range(NODES):
        cluster.add_node(num_cpus=share + 2, num_gpus=share)
    root = str(Path(__file__).parents[1])
    hook: dict[str, Any] = {"worker_process_setup_hook": stand_in, "env_vars": {"PYTHONPATH": root}}
    ray.init(address=cluster.address, runtime_env=hook, log_to_driver=False)
    figures = measured(tasks, actors)
    print(json.dumps(figures, indent=2))
    if name:
        (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    ray.shutdown()
    cluster.shutdown()


def measured(tasks: int, actors: int) -> dict[str, object]:
    """The figures of one run."""
    click = Prompt(frame=0, points=((1.0, 1.0),), point_labels=(1,))
    wanted = (ObjectPrompts(object_id=1, prompts=(click,)),)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "no.mp4"
        entries = [
            VideoEntry(video_id=f"v{i}", uri=f"{clip}-{i}", objects=wanted) for i in range(tasks)
        ]
        out = Path(folder) / "out"
        settings = [f"cluster.actors={actors}", "cluster.threads=1"]
        began = time.time()
        run(entries, str(out), load_config(settings=settings))
        ended = time.time()
        shards = len(list((out / "tasks").iterdir()))
        times = sorted(row.gpu_s for row in read_masklets(str(out)))
    working_s = times[-1] - times[0] + SLEEP_S
    ideal_s = tasks * SLEEP_S / actors
    return {
        "tasks": tasks,
        "shards": shards,
        "actors": actors,
        "ideal_s": round(ideal_s, 1),
        "first_to_last_row_s": round(working_s, 1),
        "of_ideal": round(ideal_s / working_s, 3),
        "whole_run_s": round(ended - began, 1),
        "driver_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "driver_before_mib": before_kib // 1024,
        "overhead_ms_per_task": round(1000 * (working_s - ideal_s) * actors / tasks, 2),
        "machine": machine(),
    }


if __name__ == "__main__":
    typer.run(main)
