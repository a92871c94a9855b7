"""Labels the demo clip with the defaults and draws what came out.

python -m jobs.demo
"""

import sys
from pathlib import Path

import rich
import typer
from rich.table import Table

from jobs import options
from pipeline.config import load_config
from pipeline.manifest import read_manifest
from pipeline.masklets import Masklet, read_masklets
from pipeline.overlay import render_overlay, render_sheet
from pipeline.run import run

_DEMO = Path(__file__).parent.parent / "examples" / "demo"


def demo(out: str = "out/demo") -> None:
    """Track the objects of the demo clip; write Parquet, an overlay video, a contact sheet."""
    with options.told():
        (entry,) = read_manifest(str(_DEMO / "manifest.jsonl"))
        summary = run([entry], out, load_config())
    masklets = sorted(read_masklets(out), key=lambda masklet: masklet.object_id)
    overlay, sheet = Path(out) / "overlay.mp4", Path(out) / "sheet.png"
    render_overlay(entry.uri, masklets, overlay)
    render_sheet(entry.uri, masklets, sheet)
    rich.print(_table(masklets))
    print(f"masklets: {out}/masklets\noverlay:  {overlay}\nsheet:    {sheet}")
    raise typer.Exit(options.SOME_FAILED if summary.failed else options.DONE)


def _table(masklets: list[Masklet]) -> Table:
    table = Table("object", "label", "status", "frames", "visible on", "mean score")
    for masklet in masklets:
        visible = sum(area > 0 for area in masklet.area)
        mean = sum(masklet.score) / max(len(masklet.score), 1)
        table.add_row(
            str(masklet.object_id),
            masklet.label or "",
            masklet.status,
            str(len(masklet.frame_index)),
            str(visible),
            f"{mean:.2f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(options.main(demo))
