"""All figures of a GPU in one command: is it right, how fast is it, and does it stay busy.

python -m bench.gpu [--model sam2.1-tiny --objects 16 --videos 1 …] [--json FILE]
python -m bench.gpu --device cpu --model nano --objects 1 --videos 1 --rounds 1

Needs torch, and neither Ray nor PyAV. Three parts:

* parity: where the golden cases are (MASKLET_SHARED, or `shared` beside the repository), their
  videos on this device; how far each array is from the figures published for a CPU.
* steps: `sam2.speed` for each model, precision, objects and videos; the first step compiles.
* walks: whole videos through the engine, frames fed from memory and masks taken off the device as
  runs; how much of the rate of the bare steps is left, and whether memory grows.
"""

import json
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import rich
import torch
import typer
from numpy.typing import NDArray
from rich.table import Table

from bench.machine import machine
from sam2.checkpoint import load_model
from sam2.config import Precision
from sam2.engine import Engine
from sam2.model import Sam2
from sam2.prompts import PointPrompt
from sam2.runs import mask_runs
from sam2.session import upscale
from sam2.speed import Speed, device_rates, held_bytes, measure
from sam2.task import TrackTask, VideoTask
from sam2.walk import FrameResult

_ROOT = Path(__file__).parents[1]
_SIZE = (480, 854)  # of the masks that leave the device
_MODELS = ("sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large")
_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_MOST_UNCODED = 16  # frames whose masks wait to be coded, as in the pipeline
_CASES = ("video_clicks_21t", "video_long_21t")


def main(
    model: Annotated[list[str] | None, typer.Option(help="Default: tiny to large.")] = None,
    objects: Annotated[list[int] | None, typer.Option(help="Of each video; 1, 4, 16, 64.")] = None,
    videos: Annotated[list[int] | None, typer.Option(help="At once; 1, 16.")] = None,
    precision: Annotated[list[str] | None, typer.Option(help="float32, bfloat16.")] = None,
    device: str = "cuda",
    rounds: int = 5,
    frames: Annotated[int, typer.Option(min=40, help="Of each video walked through.")] = 40,
    json_file: Annotated[Path, typer.Option("--json")] = _ROOT / "bench" / "results" / "gpu.json",
) -> None:
    """Measure this device, and keep the figures as far as they have come."""
    result: dict[str, Any] = {"device": device, "machine": machine(), "parity": parity(device)}
    for name in model or _MODELS:
        for kind in cast("list[Precision]", precision) or _PRECISIONS:
            sam2 = load_model(name, device=device, precision=kind)
            rows: dict[str, Any] = {}
            result.setdefault("rows", {})[f"{name} {kind}"] = rows
            rows["rates"] = device_rates(sam2, rounds)
            sizes = [(v, o) for v in videos or (1, 16) for o in objects or (1, 4, 16, 64)]
            steps = [measure(sam2, v, o, 16, rounds) for v, o in sizes]
            walks = [walk(sam2, v, o, frames) for v, o in sizes]
            rows["steps"], rows["walks"] = [asdict(s) for s in steps], [asdict(w) for w in walks]
            show(f"{name}, {kind}", steps, walks, rows["rates"]["matmul"])
            json_file.write_text(json.dumps(result, indent=2) + "\n")
            torch._dynamo.reset()


# ---- parity


def parity(device: str) -> dict[str, dict[str, float]]:
    """The largest difference of each array of the golden videos, by precision and case."""
    shared = Path(os.environ.get("MASKLET_SHARED", _ROOT.parent / "shared"))
    if not (shared / "golden" / "cases").is_dir():
        print(f"No parity: there are no golden cases in {shared}.")
        return {}
    from tests.golden_cases import run_case

    off = {}
    for precision in ("exact", *_PRECISIONS):  # exact is not compiled: what differs is the device
        for case in _CASES:
            found = run_case(shared, case, device=device, precision=precision)
            off[f"{case} {precision}"] = {d.array: d.largest for d in found}
            beyond = [f"{d.array} {d.largest:.1e}" for d in found if not d.within]
            print(f"{case}, {precision}: beyond what rounding allows a CPU: {beyond or 'nothing'}")
    return off


# ---- walks


@dataclass(frozen=True)
class Walked:
    """Videos tracked from their first frames to their last."""

    videos: int
    objects: int
    object_frames_per_second: float  # from the middle of the walk to its end
    occupancy: float  # objects in a batch, of max_batch
    wait_s: float  # in which the engine had nothing to do but wait for frames
    growth_mib: float  # of the device's memory, from the middle of the walk to its end


@dataclass(frozen=True)
class Frame:
    """A frame in memory."""

    index: int
    pixels: NDArray[np.uint8]


class Noise:
    """A video of noise that takes no decoding."""

    def __init__(self, size: int) -> None:
        shape = (4, size, size, 3)
        self.pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def frames(self, start: int, stop: int, *, size: int) -> Iterator[Frame]:
        """As a reader asks for them."""
        yield from (Frame(index, self.pictures[index % 4]) for index in range(start, stop))

    def frames_reversed(self, start: int, stop: int, *, size: int) -> Iterator[Frame]:
        """The same from behind."""
        yield from reversed([*self.frames(start, stop, size=size)])


def walk(model: Sam2, videos: int, objects: int, frames: int) -> Walked:
    """Tracks objects of several videos at once; the first half fills memories and warms up."""
    told: dict[str, list[float]] = {}
    engine = Engine(
        model,
        slots=videos * objects,
        bank_bytes=1 << 40,
        measure=lambda name, value: told.setdefault(name, []).append(value),
    )
    clip, prompt = Noise(model.config.image_size), PointPrompt(points=((427, 240),), labels=(1,))
    tasks = [TrackTask(key, {0: prompt}) for key in range(objects)]
    for _ in range(videos):
        engine.add(VideoTask(clip, _SIZE, tasks, (0, frames)))
    half, done, counted, began, held = videos * objects * frames // 2, 0, 0, 0.0, 0
    for found in coded(engine):
        done += found
        if not began and done >= half:
            told.clear()
            held = held_bytes(model.device)  # once the device has done all it was given
            counted, began = done, time.perf_counter()
    took = time.perf_counter() - began
    occupancy = told["batch_occupancy"]
    return Walked(
        videos=videos,
        objects=objects,
        object_frames_per_second=(done - counted) / took,
        occupancy=sum(occupancy) / len(occupancy),
        wait_s=sum(told.get("decode_wait_s", [])),
        growth_mib=(held_bytes(model.device) - held) / 2**20,
    )


def coded(engine: Engine) -> Iterator[int]:
    """Runs an engine as the pipeline does, which codes masks in a thread; objects found, by frame.

    It is through when all are coded.
    """
    coding: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as coder:
        while engine.busy or coding:
            for event in engine.step() if engine.busy else ():
                if isinstance(event, FrameResult):
                    coding.append(coder.submit(take_off, event))
                    yield len(event.found)
                elif event.error:
                    raise event.error
            while len(coding) > (_MOST_UNCODED if engine.busy else 0):
                coding.popleft().result()


@torch.inference_mode()
def take_off(result: FrameResult) -> None:
    """Brings the masks of a frame to the host, as runs."""
    logits = torch.stack([mask.mask for mask in result.found.values()])
    mask_runs(upscale(logits, _SIZE) > 0)


def show(title: str, steps: Sequence[Speed], walks: Sequence[Walked], rate: float) -> None:
    """Prints a table of both parts, side by side."""
    table = Table("videos x objects", "step, object-frames/s", "walk", "of the step", title=title)
    for heading in ("of max_batch", "TFLOP/s", "of matmul rate", "GiB", "growth, MiB"):
        table.add_column(heading)
    for s, w in zip(steps, walks, strict=True):
        bare, whole = s.object_frames_per_second, w.object_frames_per_second
        table.add_row(
            *(f"{s.videos} x {s.objects}", f"{bare:.1f}", f"{whole:.1f}", f"{whole / bare:.0%}"),
            *(f"{w.occupancy:.0%}", f"{s.tflops:.2f}", f"{s.tflops / rate:.0%}"),
            *(f"{s.peak_gib:.1f}", f"{s.growth_mib:.0f}, {w.growth_mib:.0f}"),
        )
    rich.print(table)
    for s in steps:
        print(f"{s.videos} x {s.objects}, ms:", {n: round(ms, 3) for n, ms in s.stage_ms.items()})


if __name__ == "__main__":
    typer.run(main)
