"""Shows what a run would do, without doing it.

python -m jobs.plan --manifest videos.jsonl
"""

import rich
import typer
from rich.table import Table

from jobs import options
from pipeline.plan import Task, make_plan

_SHOWN = 20


def plan(manifest: options.Manifest = None) -> None:
    """Probe the videos of a manifest and show its tasks in the order of work."""
    with options.told():
        tasks = make_plan(options.wanted(manifest, None, None, None, "forward", None))
    rich.print(_table(tasks))
    frames = sum(task.n_frames for task in tasks)
    shards = len({task.shard for task in tasks})
    unread = {task.video_id for task in tasks if not task.n_frames}
    print(f"{len(tasks)} objects in {shards} shards, at most {frames} object-frames")
    if unread:
        print(f"{len(unread)} videos cannot be read and will fail: {', '.join(sorted(unread))}")


def _table(tasks: list[Task]) -> Table:
    table = Table("task", "shard", "video", "object", "label", "direction", "frames")
    for task in tasks[:_SHOWN]:
        label, frames = task.label or "", str(task.n_frames or "?")
        numbers = (str(task.task_id), str(task.shard))
        table.add_row(*numbers, task.video_id, str(task.object_id), label, task.direction, frames)
    if len(tasks) > _SHOWN:
        table.add_row("…", *[""] * 6)
    return table


if __name__ == "__main__":
    typer.run(plan)
