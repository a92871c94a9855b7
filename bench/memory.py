"""Peak memory of tracking against the length of the video: it must not grow.

python -m bench.memory [--frames 50 --frames 200 --frames 800] [--objects 2] [--model nano]

Each length runs in a process of its own, from an H.264 file (854x480, made for the purpose) to
masklet rows, both ways from the middle frame, and reports the most memory it ever held. The result,
the masks' run-length codes, has to grow; it is shown apart, since untrained weights draw masks like
noise, whose codes are a hundred times longer than those of real objects.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import rich
import typer
from rich.table import Table

from bench.machine import machine

_RESULTS = Path(__file__).parent / "results" / "memory.json"
_WIDTH, _HEIGHT = 854, 480


def main(
    frames: Annotated[list[int] | None, typer.Option(help="Lengths to compare.")] = None,
    objects: int = 2,
    model: str = "nano",
) -> None:
    """Measure the peak memory of tracking videos of several lengths."""
    rows = [_measured(n, objects, model) for n in frames or (50, 200, 800)]
    table = Table("frames", "masks", "peak RSS, MiB", "of it result, MiB", "rest, to the shortest")
    rest = [row["peak_mib"] - row["result_mib"] for row in rows]
    for row, own in zip(rows, rest, strict=True):
        mib = (f"{row['peak_mib']:.0f}", f"{row['result_mib']:.1f}")
        table.add_row(str(row["frames"]), str(row["masks"]), *mib, f"{own / rest[0]:.3f}")
    rich.print(table)
    result = {"model": model, "objects": objects, "rows": rows, "machine": machine()}
    _RESULTS.write_text(json.dumps(result, indent=2) + "\n")


def _measured(n_frames: int, objects: int, model: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        _write_clip(clip, n_frames)
        command = [sys.executable, "-m", "bench.memory", "track", str(clip), str(objects), model]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
    peak_kib, masks, result = map(int, run.stdout.split())
    mib = {"peak_mib": peak_kib / 1024, "result_mib": result / 2**20}
    return {"frames": n_frames, "masks": masks, **mib}


def _write_clip(path: Path, n_frames: int) -> None:
    """A disc that goes round and round over noise."""
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    noise = np.random.default_rng(0).integers(60, 120, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        for t in range(n_frames):
            centre = 240 + 120 * np.sin(t / 12), 427 + 200 * np.cos(t / 12)
            inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 60**2
            pixels = np.where(inside[..., None], np.uint8(220), noise)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))


def track(clip: str, objects: int, model: str) -> None:
    """Tracks the clip in this process; prints its peak memory in KiB, its masks and their bytes."""
    from pipeline.clip import one_video
    from pipeline.plan import make_plan
    from pipeline.segmenter import Segmenter
    from pipeline.video import Video
    from sam2.checkpoint import load_model

    middle = Video(clip).info.n_frames // 2
    boxes = [f"{middle}:{100 + 40 * i},100,{300 + 40 * i},300" for i in range(objects)]
    tasks = make_plan([one_video(clip, boxes, direction="both")])
    codes = [code for m in Segmenter(load_model(model)).segment(tasks) for code in m.counts]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak, len(codes), sum(sys.getsizeof(code) for code in codes))


if __name__ == "__main__":
    if sys.argv[1:2] == ["track"]:
        track(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        typer.run(main)
