"""Labels the videos of a manifest, or one clip: one masklet row per object, as Parquet.

ray job submit --working-dir . -- python -m jobs.run --manifest videos.jsonl --out s3://bucket/out
"""

import sys
from typing import Annotated

import typer

from jobs import options
from pipeline.command_line import refuse_missing
from pipeline.run import Summary
from pipeline.run import run as run_pipeline

_SHOWN = 10


def run(
    out: Annotated[str, typer.Option(help="A folder or URI for the results.")],
    manifest: options.OptionalManifest = None,
    video: options.Clip = None,
    box: options.Boxes = None,
    point: options.Points = None,
    direction: options.Way = None,
    frames: options.Frames = None,
    model: options.Model = None,
    checkpoint: options.Checkpoint = None,
    config: options.ConfigFile = None,
    setting: options.Settings = None,
) -> None:
    """Track every object through its video; exit code 1 if some failed, 2 if the input is wrong."""
    with options.told(resumable=True):
        settings = options.configured(config, setting, model=model, checkpoint=checkpoint)
        entries = options.wanted(manifest, video, box, point, direction, frames)
        if video:  # of a manifest, what is missing becomes a failed row
            refuse_missing(video)
        summary = run_pipeline(entries, out, settings)
    tell(summary, out)
    raise typer.Exit(options.SOME_FAILED if summary.failed else options.DONE)


def tell(summary: Summary, out: str) -> None:
    """Says how a run has ended."""
    if summary.was_finished:
        print("nothing was left to do: this run was finished before")
    counts = dict(summary.counts)
    frames = counts.pop("object_frames", 0)
    parts = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    print(f"run {summary.run_id}: {parts}; {frames} object-frames")
    for problem in summary.problems[:_SHOWN]:
        print(f"  {problem}")
    if len(summary.problems) > _SHOWN:
        print(f"  … and {len(summary.problems) - _SHOWN} more, in the column 'error'")
    print(f"masklets: {out.rstrip('/')}/masklets")


if __name__ == "__main__":
    sys.exit(options.main(run))
