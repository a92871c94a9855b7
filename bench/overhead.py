"""What the Ray job adds to the engine's own time on one device.

python -m bench.overhead [--clips 20] [--frames 50] [--pairs 3] [--threads 1]

The same clips through a segmenter alone in its process and through a run with one actor, in turns.
Compared is the actor's time, from the first shard taken up to the last row, gaps included; and
the processor time it spent meanwhile, which other programs on the machine disturb less. What comes
before and after (Ray's start, the model, the plan, the files) is told apart: it does not grow with
the work.
"""

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich
import torch
import typer
from rich.table import Table

from bench.machine import machine
from bench.memory import write_clip
from pipeline.command_line import one_video
from pipeline.config import RunConfig, cores, load_config
from pipeline.manifest import VideoEntry

_RESULTS = Path(__file__).parent / "results" / "overhead.json"
_DIARY = "MASKLET_BENCH_DIARY"  # the file in which an actor notes when it worked
_BOXES = ("0:300,140,500,340", "0:100,100,300,300")


def main(clips: int = 20, frames: int = 50, pairs: int = 3, threads: int = 1) -> None:
    """Measure the job beside the engine alone."""
    rows: dict[str, list[dict[str, float]]] = {"alone": [], "job": []}
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip0.mp4"
        write_clip(clip, frames)
        for n in range(1, clips):
            clip.with_stem(f"clip{n}").hardlink_to(clip)
        for pair in range(pairs):
            for way in ("alone", "job") if pair % 2 else ("job", "alone"):
                rows[way].append(_in_a_process(way, folder, threads))
                print(way, rows[way][-1], flush=True)
    result = {"model": "nano", "clips": clips, "frames": frames, "objects": len(_BOXES)}
    result |= {"threads": threads, **_summary(rows), "runs": rows, "machine": machine()}
    _RESULTS.write_text(json.dumps(result, indent=2) + "\n")


def _summary(rows: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians, and what the job adds to them."""
    medians = {
        way: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for way, runs in rows.items()
    }
    table = Table("", "alone", "job", "job / alone")
    added = {}
    for name in ("work_s", "cpu_s"):
        alone, job = medians["alone"][name], medians["job"][name]
        added[name] = round(job / alone - 1, 4)
        table.add_row(name, f"{alone:.2f}", f"{job:.2f}", f"{job / alone:.3f}")
    rich.print(table)
    return {"medians": medians, "added": added}


def _in_a_process(way: str, folder: str, threads: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.overhead", way, folder, str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def alone(entries: list[VideoEntry], config: RunConfig) -> dict[str, float]:
    """A segmenter as an actor makes it, without Ray and without files."""
    from pipeline.run import plan_run
    from pipeline.segmenter import Segmenter
    from pipeline.weights import open_model

    torch.set_num_threads(config.threads)
    began = time.time()
    model, sha256 = open_model(config.model, config.checkpoint, "cpu", config.precision)
    share = (config.max_batch, config.threads, config.cluster.open_videos)
    segmenter = Segmenter(model, sha256, *share)
    tasks = plan_run(entries, config)
    work, cpu = time.time(), time.process_time()
    rows = list(segmenter.segment(tasks))
    now, spent = time.time(), time.process_time() - cpu
    assert all(row.status == "ok" for row in rows)
    return {"work_s": now - work, "cpu_s": spent, "whole_s": now - began}


def job(entries: list[VideoEntry], config: RunConfig) -> dict[str, float]:
    """A run with one actor."""
    import ray

    from pipeline.run import run

    with tempfile.TemporaryDirectory() as folder:
        diary = Path(folder) / "diary"
        root = str(Path(__file__).parents[1])
        hook: dict[str, Any] = {
            "worker_process_setup_hook": keep_a_diary,
            "env_vars": {"PYTHONPATH": root, _DIARY: str(diary)},
        }
        started = time.time()
        ray.init(  # as a run starts it
            "local",
            num_cpus=cores() + 2,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env=hook,
            _node_ip_address="127.0.0.1",
        )
        began = time.time()
        summary = run(entries, str(Path(folder) / "out"), config)
        ended = time.time()
        ray.shutdown()
        assert not summary.failed
        shards = [json.loads(line) for line in diary.read_text().splitlines()]
    return {
        "work_s": shards[-1]["ended"] - shards[0]["began"],
        "cpu_s": shards[-1]["cpu_ended"] - shards[0]["cpu_began"],
        "between_shards_s": shards[-1]["ended"]
        - shards[0]["began"]
        - sum(shard["ended"] - shard["began"] for shard in shards),
        "whole_s": ended - began,
        "ray_start_s": began - started,
        "shards": len(shards),
    }


def keep_a_diary() -> None:
    """Has an actor note when it worked on a shard; Ray calls this in each worker."""
    from pipeline.spine import SegmentShard

    segment: Callable[..., Any] = SegmentShard.__call__

    def noted(actor: SegmentShard, shard: Any) -> Any:
        note = {"began": time.time(), "cpu_began": time.process_time()}
        table = segment(actor, shard)
        note |= {"ended": time.time(), "cpu_ended": time.process_time()}
        with Path(os.environ[_DIARY]).open("a") as diary:
            diary.write(json.dumps(note) + "\n")
        return table

    SegmentShard.__call__ = noted  # type: ignore[assignment]


if __name__ == "__main__":
    if sys.argv[1:2] in (["alone"], ["job"]):
        videos = sorted(Path(sys.argv[2]).glob("*.mp4"))
        chosen = load_config(settings=["cluster.actors=1", f"cluster.threads={sys.argv[3]}"])
        measure = {"alone": alone, "job": job}[sys.argv[1]]
        print(json.dumps(measure([one_video(str(v), _BOXES) for v in videos], chosen)))
    else:
        typer.run(main)
