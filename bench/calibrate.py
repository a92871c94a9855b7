"""Measures what work costs a device, and keeps it for `masklet plan` and for the order of work.

python -m bench.calibrate --model nano            # the figures go into pipeline/calibration.json
"""

import json
import tempfile
import time
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated

import av
import numpy as np
import torch
import typer

from bench.machine import machine
from examples.moving import DEMO
from pipeline.cost import CALIBRATION, Cost
from pipeline.manifest import Prompt
from pipeline.plan import Task
from pipeline.segmenter import Segmenter
from pipeline.weights import open_model

SIZES = ((640, 360), (1280, 720))
FRAMES = (4, 16)
OBJECTS = (1, 4)
MASK_BYTES = 300.0  # believed of real objects and not measured: it depends on their outlines


def main(
    model: str = "nano",
    checkpoint: Annotated[
        str | None, typer.Option(help="Its weights, if they do not ship.")
    ] = None,
    device: str = "cpu",
    threads: int = 1,
    rounds: int = 5,
) -> None:
    """Track the demo clip in several sizes, lengths and numbers of objects; fit what each costs.

    Each is the median of its rounds, which take turns.
    """
    torch.set_num_threads(threads)
    segmenter = Segmenter(*open_model(model, checkpoint, device, "auto"), threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        clips = {size: scaled(DEMO, size, Path(folder)) for size in SIZES}
        runs = list(product(SIZES, FRAMES, OBJECTS))
        track(segmenter, clips[SIZES[0]], *runs[-1][1:])  # to be warm
        times = [
            [track(segmenter, clips[size], *more) for size, *more in runs] for _ in range(rounds)
        ]
    seconds = [median(each) for each in zip(*times, strict=True)]
    cost = fit(runs, seconds)
    keep(f"{model} on {device}", cost, threads)
    for (size, n_frames, objects), measured in zip(runs, seconds, strict=True):
        fitted = cost.seconds(n_frames, objects, size[0] * size[1])
        print(
            f"{size[0]}x{size[1]}, {n_frames} frames, {objects} objects: {measured:.2f} s, ", end=""
        )
        print(f"fitted {fitted:.2f} s")


def scaled(clip: Path, size: tuple[int, int], folder: Path) -> Path:
    """The first frames of a clip in another size."""
    path = folder / f"{size[0]}.mp4"
    with av.open(clip) as source, av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _, frame in zip(range(max(FRAMES)), source.decode(video=0), strict=False):
            container.mux(stream.encode(frame.reformat(*size).to_rgb()))
        container.mux(stream.encode(None))
    return path


def track(segmenter: Segmenter, clip: Path, n_frames: int, objects: int) -> float:
    """Seconds from a file to rows."""
    click = Prompt(frame=0, points=((100.0, 100.0),), point_labels=(1,))
    tasks = [
        Task(
            task_id=i,
            shard=0,
            video_id=clip.stem,
            uri=str(clip),
            object_id=i,
            stop_frame=n_frames,
            prompts=(click,),
        )
        for i in range(objects)
    ]
    # On a CPU the time that the work took of its cores, whatever else went on on them.
    on_cpu = segmenter.engine.model.device.type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    started = clock()
    assert all(row.status == "ok" for row in segmenter.segment(tasks))
    return clock() - started


def fit(runs: list[tuple[tuple[int, int], int, int]], seconds: list[float]) -> Cost:
    """The cost that comes nearest to what was measured, by shares of it, and is nowhere below 0."""
    rows = [
        (1.0, n, n * objects, n * pixels, n * objects * pixels)
        for (width, height), n, objects in runs
        for pixels in [width * height / 1e6]
    ]
    shares = np.array(rows) / np.array(seconds)[:, None]
    used, figures = np.arange(5), np.zeros(5)
    while (found := np.linalg.lstsq(shares[:, used], np.ones(len(runs)), rcond=None)[0]).min() < 0:
        used = used[found > 0]  # what seems to cost less than nothing costs nothing
    figures[used] = found
    video_s, frame_s, object_s, megapixel_s, object_megapixel_s = figures.tolist()
    return Cost(
        video_s=video_s,
        frame_s=frame_s,
        object_s=object_s,
        megapixel_s=megapixel_s,
        object_megapixel_s=object_megapixel_s,
        mask_bytes=MASK_BYTES,
    )


def keep(name: str, cost: Cost, threads: int) -> None:
    """Writes the figures beside those of other models and devices."""
    known = json.loads(CALIBRATION.read_text())
    figures = {key: float(f"{value:.3g}") for key, value in asdict(cost).items()}
    known[name] = {"cost": figures, "machine": {**machine(), "threads": threads}}
    CALIBRATION.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    typer.run(main)
