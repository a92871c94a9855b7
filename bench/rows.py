"""From a video file to masklet rows: how fast, and what the parts that are not the model cost.

python -m bench.rows [--model nano] [--frames 200] [--checkpoint FILE] [--threads 1]

One object in an H.264 file (854x480, made for the purpose), a row of full length, for each
precision. A model as small as `nano` is slower on two threads than on one: decoding and coding have
threads of their own, and a machine with more cores does better with more actors.
"""

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import rich
import torch
import typer
from rich.table import Table

from bench.machine import machine, precisions, where
from bench.memory import write_clip
from pipeline.command_line import one_video
from pipeline.masklet_columns import MaskletColumns, record_frame
from pipeline.plan import make_plan
from pipeline.segmenter import Segmenter
from pipeline.video import Video
from sam2.checkpoint import load_model
from sam2.tracking import FrameMask

_RESULTS = Path(__file__).parent / "results"


def main(
    model: str = "nano", frames: int = 200, checkpoint: Path | None = None, threads: int = 1
) -> None:
    """Measure a video from its file to its row."""
    torch.set_num_threads(threads)
    table = Table("", "ms/frame", "cpu ms/frame", "frames/s")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, frames)
        size = load_model(model).config.image_size
        rows["decode and resize"] = timed(lambda: decode(clip, frames, size), frames)
        rows["upscale and code"] = timed(lambda: code(size // 4, frames), frames)
        for precision in ("exact", *precisions()):
            segmenter = Segmenter(load_model(model, checkpoint, precision=precision))
            rows[f"to rows, {precision}"] = timed(partial(track, segmenter, clip), frames)
    for name, took in rows.items():
        figures = (took["wall_ms"], took["cpu_ms"], 1e3 / took["wall_ms"])
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    rich.print(table)
    result = {"model": model, "frames": frames, "threads": torch.get_num_threads(), "rows": rows}
    name = f"rows{where()}.json"
    (_RESULTS / name).write_text(json.dumps(result | {"machine": machine()}, indent=2) + "\n")


def track(segmenter: Segmenter, clip: Path) -> None:
    """Tracks one object from the first frame to the last."""
    (row,) = segmenter.segment(make_plan([one_video(str(clip), ["0:300,140,500,340"])]))
    assert row.status == "ok", row.error


def decode(clip: Path, frames: int, size: int) -> None:
    """Reads all frames at the model's size."""
    with Video(clip) as video:
        assert sum(1 for _ in video.frames(0, frames, size=size)) == frames


def code(size: int, frames: int) -> None:
    """Brings a disc to the video's size and codes it, as often as there are frames."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    disc = torch.from_numpy(0.2 - np.hypot(x, y)).float()
    nothing = torch.zeros(())
    columns = MaskletColumns()
    for frame in range(frames):
        record_frame(frame, [(columns, FrameMask(disc, nothing, nothing, nothing))], (480, 854))


def timed(run: Callable[[], object], frames: int) -> dict[str, float]:
    """Milliseconds for each frame: of the clock, and of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    took = {"wall_ms": time.perf_counter() - wall, "cpu_ms": time.process_time() - cpu}
    return {name: 1e3 * seconds / frames for name, seconds in took.items()}


if __name__ == "__main__":
    typer.run(main)
