"""Says how a run is doing, from the files under its output alone.

python -m jobs.status s3://bucket/out
"""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import rich
import typer
from rich.markup import escape
from rich.table import Table

from jobs import options
from pipeline.status import Status, read_status


def status(
    out: options.Out,
    as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False,
    setting: options.Settings = None,
) -> None:
    """Say what is done, under way and failed, how fast, and how long it takes yet."""
    with options.told():
        options.configured(None, setting)
        found = read_status(out)
    if as_json:
        print(json.dumps(asdict(found) | {"rows": found.rows}, indent=2, ensure_ascii=False))
    else:
        _tell(found, out)
    raise typer.Exit(options.SOME_FAILED if found.failed else options.DONE)


def _tell(found: Status, out: str) -> None:
    print(f"run {found.run_id} ({found.model}): {_doing(found)}")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(found.done.items()))
    waiting = max(found.tasks - found.rows - found.running, 0)
    print(f"{found.rows} of {found.tasks} objects done{f' ({counts})' if counts else ''}", end="")
    print(f", {found.running} under way, {waiting} waiting" if waiting or found.running else "")
    rate = f", {found.rate:.1f}/s" if found.rate is not None else ""
    left = f", about {_duration(found.left_s)} left" if found.left_s is not None else ""
    print(f"{found.object_frames} object-frames{rate}{left}")
    if found.reasons:
        rich.print(_table(found))
    if found.failed and found.state == "finished":
        print(f"try what failed again: masklet retry {out}")


def _doing(found: Status) -> str:
    if found.state == "finished":
        return f"finished at {found.finished}"
    if found.heard_s is None:
        return "nobody works on it; the same command goes on with it"
    heard = _duration(found.heard_s)
    if found.state == "running":
        return f"running on {found.host}, heard {heard} ago"
    return f"stopped, last heard {heard} ago; the same command goes on with it"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"


def _table(found: Status) -> Table:
    table = Table("status", "reason", "objects", "for example")
    for reason in found.reasons:
        objects, example = str(reason.objects), escape(reason.example)
        table.add_row(reason.status, reason.error_type, objects, example)
    return table


if __name__ == "__main__":
    sys.exit(options.main(status))
