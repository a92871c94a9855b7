"""All figures of a GPU in one command: is it right, how fast is it, and does it stay busy.

python -m bench.gpu [--model sam2.1-tiny --objects 16 --videos 1 …] [--json FILE]
python -m bench.gpu --device cpu --model nano --objects 1 --videos 1 --rounds 1

Needs torch, and neither Ray nor PyAV. Three parts:

* parity: where the golden cases are (MASKLET_SHARED, or `shared` beside the repository), their
  videos on this device; how far each array is from the figures published for a CPU.
* steps: `sam2.speed` for each model, precision, objects and videos, once all sizes of batches that
  they meet are compiled.
* walks: whole videos through the engine, frames fed from memory and masks taken off the device as
  runs; how much of the rate of the bare steps is left, and whether memory grows.
"""

import gc
import json
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Self, cast

import numpy as np
import rich
import torch
import typer
from numpy.typing import NDArray
from rich.table import Table

from bench.machine import machine
from sam2.checkpoint import load_model
from sam2.config import Precision
from sam2.devices import beside, filled, given_so_far
from sam2.engine import Engine
from sam2.images import normalise
from sam2.model import Sam2
from sam2.prompts import PointPrompt
from sam2.runs import mask_runs
from sam2.session import upscale
from sam2.speed import Speed, device_rates, held_bytes, measure, recollection
from sam2.task import TrackTask, VideoTask
from sam2.tracking import Step, track
from sam2.walk import FrameResult

_ROOT = Path(__file__).parents[1]
_SIZE = (480, 854)  # of the masks that leave the device
_MODELS = ("sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large")
_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_MAX_BATCH, _ENCODE_BATCH = 16, 4  # as an engine has them on a GPU
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
    result: dict[str, Any] = {"device": device, "machine": machine()}

    def keep(part: str, found: object) -> None:
        """With all that was found before: a lent machine may be gone before the end."""
        result[part] = found
        json_file.write_text(json.dumps(result, indent=2) + "\n")

    keep("parity", parity(device))
    sizes = [(v, o) for v in videos or (1, 16) for o in objects or (1, 4, 16, 64)]
    for name in model or _MODELS:
        for kind in cast("list[Precision]", precision) or _PRECISIONS:
            title = f"{name}, {kind}"
            sam2 = load_model(name, device=device, precision=kind)
            rates = device_rates(sam2, rounds)
            keep(f"{title}: rates", rates)
            began = time.perf_counter()
            warm(sam2, max(v * o for v, o in sizes))
            keep(f"{title}: seconds to warm up", time.perf_counter() - began)
            for v, o in sizes:
                step, whole = measure(sam2, v, o, _MAX_BATCH, rounds), walk(sam2, v, o, frames)
                keep(f"{title}: {v} x {o}", {"step": asdict(step), "walk": asdict(whole)})
                show(title, step, whole, rates["matmul"])
            # Compiled parts hold on to their model, and the next one's peak is to be its own.
            del sam2
            torch._dynamo.reset()
            gc.collect()


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


@torch.inference_mode()
def warm(model: Sam2, objects: int) -> None:
    """Meets all sizes of batches that up to so many objects can come in: a GPU compiles for each.

    Which of them come, and when, depends on how frames and objects happen to be ready together.
    """
    size, read = model.config.image_size, recollection(model.config, model.device)
    for frames in sorted({len(filled(range(n))) for n in range(1, _ENCODE_BATCH + 1)}):
        pixels = torch.zeros(frames, 3, size, size, dtype=torch.uint8, device=model.device)
        features = model.look(model.encode(normalise(pixels)))
    for batch in sorted({len(filled(range(n))) for n in range(1, min(objects, _MAX_BATCH) + 1)}):
        track(model, features, [Step(0, read)] * batch, batch)


@dataclass(frozen=True)
class Walked:
    """Videos tracked from their first frames to their last."""

    videos: int
    objects: int
    object_frames_per_second: float  # from the middle of the walk until nine tenths of it
    occupancy: float  # objects in a batch, of max_batch
    wait_s: float  # in which the engine had nothing to do but wait for frames
    growth_mib: float  # of what is held of the device's memory, likewise


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
    """Tracks objects of several videos at once; the first half fills their memories.

    What is measured ends before the first video does: then there is less to fill batches with, and
    what its objects held is let go.
    """
    told: dict[str, list[float]] = {}
    engine = Engine(
        model,
        _MAX_BATCH,
        _ENCODE_BATCH,
        slots=videos * objects,
        bank_bytes=1 << 40,
        measure=lambda name, value: told.setdefault(name, []).append(value),
    )
    clip, prompt = Noise(model.config.image_size), PointPrompt(points=((427, 240),), labels=(1,))
    tasks = [TrackTask(key, {0: prompt}) for key in range(objects)]
    for _ in range(videos):
        engine.add(VideoTask(clip, _SIZE, tasks, (0, frames)))
    total = videos * objects * frames
    with Coder(model.device) as coder:
        coder.drive(engine, total // 2)
        told.clear()
        held, began = held_bytes(model.device), time.perf_counter()
        found = coder.drive(engine, total * 4 // 10)
        took, held = time.perf_counter() - began, held_bytes(model.device) - held
        occupancy, wait_s = told["batch_occupancy"], sum(told.get("decode_wait_s", []))
        coder.drive(engine, total)
    return Walked(
        videos=videos,
        objects=objects,
        object_frames_per_second=found / took,
        occupancy=sum(occupancy) / len(occupancy),
        wait_s=wait_s,
        growth_mib=held / 2**20,
    )


class Coder:
    """Drives an engine as the pipeline does, and codes masks in a thread beside it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._coding: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(1)

    def drive(self, engine: Engine, most: int) -> int:
        """Until so many objects more are found on frames and coded, or the engine has done all.

        How many they are in the end, which is a step's more at most.
        """
        found = 0
        while engine.busy and found < most:
            for event in engine.step():
                if isinstance(event, FrameResult):
                    found += len(event.found)
                    given = given_so_far(self.device)
                    self._coding.append(self._pool.submit(self._take_off, event, given))
                    self._wait(_MOST_UNCODED)
                elif event.error:
                    raise event.error
        self._wait(0)
        return found

    def _wait(self, most: int) -> None:
        while len(self._coding) > most:
            self._coding.popleft().result()

    @torch.inference_mode()
    def _take_off(self, result: FrameResult, given: torch.cuda.Event | None) -> None:
        """Brings the masks of a frame to the host, as runs."""
        with beside(self.device, given):
            logits = torch.stack([mask.mask for mask in result.found.values()])
            mask_runs(upscale(logits, _SIZE) > 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def show(title: str, step: Speed, walk: Walked, rate: float) -> None:
    """Prints both figures of one size, side by side."""
    bare, whole = step.object_frames_per_second, walk.object_frames_per_second
    table = Table("step, object-frames/s", "walk", "of the step")
    table.title = f"{title}: {step.videos} x {step.objects} (videos x objects)"
    for heading in ("of max_batch", "TFLOP/s", "of matmul rate", "GiB", "growth, MiB"):
        table.add_column(heading)
    table.add_row(
        *(f"{bare:.1f}", f"{whole:.1f}", f"{whole / bare:.0%}"),
        *(f"{walk.occupancy:.0%}", f"{step.tflops:.2f}", f"{step.tflops / rate:.0%}"),
        *(f"{step.peak_gib:.1f}", f"{step.growth_mib:.0f}, {walk.growth_mib:.0f}"),
    )
    rich.print(table)
    print("ms:", {name: round(ms, 3) for name, ms in step.stage_ms.items()})


if __name__ == "__main__":
    typer.run(main)
