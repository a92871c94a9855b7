"""Memory of tracking against the length of the video: it must not grow.

python -m bench.memory [--frames 50 --frames 200 --frames 800] [--objects 2] [--model nano]
python -m bench.memory --along --frames 800 --objects 8 [--direction forward|reverse|both]

Each length runs in a process of its own, from an H.264 file (854x480, made for the purpose) to
masklet rows, both ways from the middle frame, and reports the most memory it ever held. The result,
the masks' run-length codes, has to grow; it is shown apart, since untrained weights draw masks like
noise, whose codes are a hundred times longer than those of real objects.

`--along` looks at the engine alone, without results, while it walks through one video: the most
that the process ever held after the first 50 frames (of a shorter video, the first half), and at
the end. Walked both ways, from the middle, it turns round after half of them, and reading back
takes some MiB that reading on does not.
"""

import json
import os
import re
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

from bench.machine import machine, where
from sam2.task import Direction

_RESULTS = Path(__file__).parent / "results"
_WIDTH, _HEIGHT = 854, 480


def main(
    frames: Annotated[list[int] | None, typer.Option(help="Lengths to compare.")] = None,
    objects: int = 2,
    model: str = "nano",
    along: Annotated[bool, typer.Option("--along", help="While the engine walks.")] = False,
    direction: Annotated[Direction, typer.Option(help="Of the walk.")] = "both",
) -> None:
    """Measure the memory of tracking videos of several lengths."""
    lengths = frames or [50, 200, 800]
    if along:
        rows = [_measured_along(n, objects, model, direction) for n in lengths]
        table = Table("frames", "after", "most until then, MiB", "most at the end, MiB", "ratio")
        for row in rows:
            first, most = row["first_mib"], row["most_mib"]
            mib = (f"{first:.1f}", f"{most:.1f}", f"{most / first:.3f}")
            table.add_row(f"{row['frames']}", f"{row['after']}", *mib)
    else:
        rows, table = _by_length(lengths, objects, model)
    rich.print(table)
    result = {"model": model, "objects": objects, "rows": rows, "machine": machine()}
    name = f"memory-along-{model}-{direction}" if along else "memory"
    (_RESULTS / f"{name}{where()}.json").write_text(json.dumps(result, indent=2) + "\n")


def _by_length(
    lengths: list[int], objects: int, model: str
) -> tuple[list[dict[str, float]], Table]:
    rows = [_measured(n, objects, model) for n in lengths]
    table = Table("frames", "masks", "peak RSS, MiB", "of it result, MiB", "rest, to the shortest")
    rest = [row["peak_mib"] - row["result_mib"] for row in rows]
    for row, own in zip(rows, rest, strict=True):
        mib = (f"{row['peak_mib']:.0f}", f"{row['result_mib']:.1f}")
        table.add_row(str(row["frames"]), str(row["masks"]), *mib, f"{own / rest[0]:.3f}")
    return rows, table


def _measured(n_frames: int, objects: int, model: str) -> dict[str, float]:
    peak, masks, result = _in_a_process("track", n_frames, objects, model)
    mib = {"peak_mib": peak / 2**20, "result_mib": result / 2**20}
    return {"frames": n_frames, "masks": masks, **mib}


def _measured_along(n_frames: int, objects: int, model: str, direction: str) -> dict[str, float]:
    after, first, most = _in_a_process("walk", n_frames, objects, model, direction)
    mib = {"first_mib": first / 2**20, "most_mib": most / 2**20}
    return {"frames": n_frames, "after": after, **mib}


def _in_a_process(what: str, n_frames: int, *settings: str | int) -> list[int]:
    """The figures that `track` or `walk` prints of a clip made for it."""
    from pipeline.cluster import ONE_HEAP  # not above: the measured process should hold no Ray

    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, n_frames)
        command = [sys.executable, "-m", "bench.memory", what, str(clip), *map(str, settings)]
        environment = os.environ | ONE_HEAP  # as a run's workers have it
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return [int(figure) for figure in run.stdout.split()]


def write_clip(path: Path, n_frames: int) -> None:
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


def track(clip: str, objects: str, model: str) -> None:
    """Tracks the clip in this process; prints its peak memory, its masks and their bytes."""
    from pipeline.command_line import one_video
    from pipeline.plan import make_plan
    from pipeline.segmenter import Segmenter
    from pipeline.video import Video
    from sam2.checkpoint import load_model

    middle = Video(clip).info.n_frames // 2
    boxes = [f"{middle}:{','.join(map(str, box))}" for box in _boxes(int(objects))]
    tasks = make_plan([one_video(clip, boxes, direction="both")])
    codes = [code for m in Segmenter(load_model(model)).segment(tasks) for code in m.counts]
    print(_most_held(), len(codes), sum(sys.getsizeof(code) for code in codes))


def walk(clip: str, objects: str, model: str, direction: Direction) -> None:
    """Walks an engine through the clip; prints the most the process held early on, and later."""
    from pipeline.video import Video
    from sam2.checkpoint import load_model
    from sam2.engine import Engine
    from sam2.prompts import PointPrompt
    from sam2.task import TrackTask

    video = Video(clip)
    last = video.info.n_frames - 1
    start = {"forward": 0, "reverse": last, "both": (last + 1) // 2}[direction]
    prompts = [{start: PointPrompt(box=box)} for box in _boxes(int(objects))]
    tasks = [TrackTask(key, prompt, direction) for key, prompt in enumerate(prompts)]
    engine = Engine(load_model(model, precision="auto"))
    walked = engine.run(video, (_HEIGHT, _WIDTH), tasks, (0, video.info.n_frames))
    most = [_most_held() for _ in walked]
    settled = min(50, len(most) // 2)
    print(settled, most[settled - 1], most[-1])


def _boxes(objects: int) -> list[tuple[float, float, float, float]]:
    return [(100 + 40 * i, 100, 300 + 40 * i, 300) for i in range(objects)]


def _most_held() -> int:
    """The most bytes of memory that this process has had in use until now."""
    (line,) = re.findall(
        r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE
    )
    return int(line) * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["track"]:
        track(*sys.argv[2:])
    elif sys.argv[1:2] == ["walk"]:
        walk(*sys.argv[2:])  # type: ignore[arg-type]  # a direction as text
    else:
        typer.run(main)
