"""What the scheduling of a run costs, with a stand-in for the model that only sleeps.

python -m bench.scheduling --tasks 5000 --actors 16   # on three simulated nodes

The actors begin together, once all are ready: on two cores sixteen processes that import torch need
most of a minute for that, which is told apart as `start_s`.
"""

import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import ray
import typer
from ray.cluster_utils import Cluster

import pipeline.run
from bench.machine import machine
from pipeline.config import load_config
from pipeline.manifest import ObjectPrompts, Prompt, VideoEntry
from pipeline.masklets import Masklet, read_masklets
from pipeline.plan import Task
from pipeline.run import run
from pipeline.segmenter import Report
from pipeline.video import VideoInfo

RESULTS = Path(__file__).parent / "results"
NODES = 3
_GATE, _ACTORS, _NAP = (f"MASKLET_BENCH_{name}" for name in ("GATE", "ACTORS", "NAP"))


class Sleeper:
    """Stands for the segmenter."""

    def __init__(self, *_: object, **__: object) -> None:
        gate = Path(os.environ[_GATE])
        (gate / str(os.getpid())).touch()
        self.gate, self.actors = gate, int(os.environ[_ACTORS])
        self.nap_s = float(os.environ[_NAP])

    def segment(self, tasks: Sequence[Task], report: Report) -> Iterator[Masklet]:
        """A row for each task, a nap later."""
        while len(list(self.gate.iterdir())) < self.actors:
            time.sleep(0.05)
        for task in tasks:
            time.sleep(self.nap_s)
            report({task.task_id: 1})
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


def short_videos(uris: Sequence[str], settings: object = None) -> list[VideoInfo]:
    """Stands for the probe: videos that cost about a nap, so that shards are as in real runs."""
    info = VideoInfo(width=320, height=240, fps=25.0, n_frames=5, duration_s=0.2)
    return [info] * len(uris)


def main(
    tasks: int = 5000,
    actors: int = 16,
    nap_s: Annotated[float, typer.Option(help="How long a task takes.")] = 0.25,
    name: Annotated[str | None, typer.Option(help="Keep the figures under this name.")] = None,
) -> None:
    """Run so many tasks on so many actors and tell how much of the time they slept."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    share = -(-actors // NODES)
    for _ in range(NODES):
        cluster.add_node(num_cpus=share + 2, num_gpus=share)
    with tempfile.TemporaryDirectory() as gate:
        variables = {"PYTHONPATH": str(Path(__file__).parents[1])}
        variables |= {_GATE: gate, _ACTORS: str(actors), _NAP: str(nap_s)}
        hook: dict[str, Any] = {"worker_process_setup_hook": stand_in, "env_vars": variables}
        ray.init(address=cluster.address, runtime_env=hook, log_to_driver=False)
        figures = measured(tasks, actors, nap_s, Path(gate))
    print(json.dumps(figures, indent=2))
    if name:
        (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    ray.shutdown()
    cluster.shutdown()


def measured(tasks: int, actors: int, nap_s: float, gate: Path) -> dict[str, object]:
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
        pipeline.run.probe_in_threads = pipeline.run.probe_on_cluster = short_videos  # type: ignore
        began = time.time()
        run(entries, str(out), load_config(settings=settings))
        ended = time.time()
        shards = len(list((out / "tasks").iterdir()))
        last = max(row.gpu_s for row in read_masklets(str(out)))
        ready = max(path.stat().st_mtime for path in gate.iterdir())
    working_s, ideal_s = last - ready, tasks * nap_s / actors
    return {
        "tasks": tasks,
        "shards": shards,
        "actors": actors,
        "nap_s": nap_s,
        "start_s": round(ready - began, 1),
        "ideal_s": round(ideal_s, 1),
        "ready_to_last_row_s": round(working_s, 1),
        "of_ideal": round(ideal_s / working_s, 3),
        "overhead_ms_per_task": round(1000 * (working_s - ideal_s) * actors / tasks, 2),
        "after_last_row_s": round(ended - last, 1),
        "whole_run_s": round(ended - began, 1),
        "driver_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "driver_before_mib": before_kib // 1024,
        "machine": machine(),
    }


if __name__ == "__main__":
    typer.run(main)
