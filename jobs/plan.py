"""Shows what a run would do and cost, without doing it.

python -m jobs.plan --manifest videos.jsonl --model sam2.1-base-plus --set device=cuda --price 2.5
"""

import sys
from typing import Annotated

import rich
import typer
from rich.markup import escape
from rich.table import Table

from jobs import options
from pipeline.config import RunConfig
from pipeline.cost import Cost
from pipeline.manifest import read_manifest
from pipeline.plan import Task
from pipeline.run import plan_run

_SHOWN = 20


def plan(
    manifest: options.Manifest,
    model: options.Model = None,
    config: options.ConfigFile = None,
    setting: options.Settings = None,
    price: Annotated[float | None, typer.Option(help="Of one device for an hour.")] = None,
) -> None:
    """Probe the videos of a manifest; show its tasks in the order of work, and what they cost."""
    with options.told():
        settings = options.configured(config, setting, model=model)
        tasks = plan_run(read_manifest(manifest), settings)
    rich.print(_table(tasks))
    frames = sum(task.n_frames for task in tasks)
    shards = len({task.shard for task in tasks})
    videos = {task.video_id for task in tasks}
    unread = {task.video_id for task in tasks if not task.n_frames}
    print(f"{len(tasks)} objects in {len(videos)} videos and {shards} shards, ", end="")
    print(f"at most {frames} object-frames")
    _tell_cost(tasks, settings, price)
    if unread:
        print(f"{len(unread)} videos cannot be read and will fail: {', '.join(sorted(unread))}")


def _tell_cost(tasks: list[Task], settings: RunConfig, price: float | None) -> None:
    device = settings.planned_device
    cost = Cost.known(settings.model, device)
    if cost is None:
        print(f"hours: {settings.model} on {device} was not measured; bench.calibrate does it")
        return
    hours = sum(task.cost_s for task in tasks) / 3600
    megabytes = sum(task.n_frames for task in tasks) * cost.mask_bytes / 1e6
    money = "" if price is None else f", {hours * price:,.2f} at {price:g} an hour"
    print(f"about {hours:,.2f} hours of one {device} device, {megabytes:,.1f} MB of rows{money}")


def _table(tasks: list[Task]) -> Table:
    table = Table("task", "shard", "video", "object", "label", "direction", "frames", "seconds")
    for task in tasks[:_SHOWN]:
        label, frames = escape(task.label or ""), str(task.n_frames or "?")
        cells = (escape(task.video_id), str(task.object_id), label, task.direction, frames)
        table.add_row(str(task.task_id), str(task.shard), *cells, f"{task.cost_s:.1f}")
    if len(tasks) > _SHOWN:
        table.add_row("…", *[""] * 7)
    return table


if __name__ == "__main__":
    sys.exit(options.main(plan))
