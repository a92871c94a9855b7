"""How fast a model tracks on its device: the time of each stage, and the share of its rate.

Everything is made here (noise for pictures, noise for memories), so that a machine needs nothing
but torch to be measured.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sam2.attention import attend_fast
from sam2.config import ModelConfig, model_config
from sam2.devices import batches_pay, filled
from sam2.images import normalise
from sam2.memory import Recollection
from sam2.model import FrameFeatures, Sam2
from sam2.precision import set_precision
from sam2.products import multiply
from sam2.tracking import Step, decode_unprompted, track

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Speed:
    """One step of full memories: every object of every video goes one frame further."""

    videos: int
    objects: int  # of each video
    seconds: float  # of the whole step
    stage_ms: dict[str, float]  # of a frame (encode, look) and of an object (the others)
    filled: float  # how much of the places in the batches objects take
    tflops: float  # what the step computes each second
    peak_gib: float  # of the device's memory; 0 on a CPU
    growth_mib: float  # of what is held of it, from the first round to the last

    @property
    def object_frames_per_second(self) -> float:
        """Masks made in a second."""
        return self.videos * self.objects / self.seconds


@torch.inference_mode()
def measure(model: Sam2, videos: int, objects: int, max_batch: int, rounds: int = 3) -> Speed:
    """Times steps of `videos` with `objects` each, all with full memories; medians of `rounds`."""
    device, steps = model.device, videos * objects
    pixels = torch.randint(0, 256, (videos, 3, *[model.config.image_size] * 2), dtype=torch.uint8)
    pixels = pixels.to(device)
    features = model.look(model.encode(normalise(pixels)))
    read = recollection(model.config, device)
    rows = [row for row in range(videos) for _ in range(objects)]

    def step() -> None:
        seen = model.encode(normalise(pixels))
        track(model, seen, [Step(row, read) for row in rows], max_batch)

    step()
    held = held_bytes(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = _seconds(step, device, rounds)
    growth = held_bytes(device) - held
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    most = min(max_batch, steps) if batches_pay(device) else 1
    places = sum(len(filled(range(i, min(i + most, steps)))) for i in range(0, steps, most))
    return Speed(
        videos=videos,
        objects=objects,
        seconds=seconds,
        stage_ms=_stages(model, pixels, features, read, len(filled(range(most))), rounds),
        filled=steps / places,
        tflops=step_flops(model.config.name, videos, objects) / seconds / 1e12,
        peak_gib=peak / 2**30,
        growth_mib=growth / 2**20,
    )


def _stages(
    model: Sam2,
    pixels: Tensor,
    features: FrameFeatures,
    read: Recollection,
    batch: int,
    rounds: int,
) -> dict[str, float]:
    rows = features.rows([0] * batch)
    image = model.recall(rows, [read] * batch, model.config.pointer_span)
    found = decode_unprompted(model, rows, image)
    bare = FrameFeatures(features.image, features.middle, features.fine)
    stages: dict[str, tuple[Run, int]] = {
        "encode": (lambda: model.encode(normalise(pixels)), len(pixels)),
        "look": (lambda: model.look(bare), len(pixels)),
        "recall": (lambda: model.recall(rows, [read] * batch, model.config.pointer_span), batch),
        "decode": (lambda: decode_unprompted(model, rows, image), batch),
        "memorize": (lambda: model.memorize(rows, found.mask, found.present, False), batch),
    }
    return {
        name: 1e3 * _seconds(run, model.device, rounds) / count
        for name, (run, count) in stages.items()
    }


def recollection(config: ModelConfig, device: torch.device) -> Recollection:
    """A full memory bank as a frame reads it, of noise."""
    maps, pointers = config.memory_span + 1, config.pointer_span
    shape = (config.memory_channels, config.grid, config.grid)
    return Recollection(
        maps=tuple(torch.randn(shape).to(device, torch.bfloat16) for _ in range(maps)),
        ages=(0, *range(config.memory_span, 0, -1)),
        pointers=tuple(torch.randn(config.channels).to(device) for _ in range(pointers)),
        distances=tuple(range(pointers)),
    )


def step_flops(name: str, videos: int = 1, objects: int = 1) -> int:
    """Floating-point operations of one step: counted in products, values of memory absorbed."""
    config, device = model_config(name), torch.device("meta")
    with device:
        model = set_precision(Sam2(config).eval(), "float32")
        pictures = torch.zeros(1, 3, config.image_size, config.image_size)
    read = recollection(config, device)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as of_frame:
            features = model.look(model.encode(pictures))
        with FlopCounterMode(display=False) as of_object:
            track(model, features, [Step(0, read)])
    return int(videos * (of_frame.get_total_flops() + objects * of_object.get_total_flops()))


def device_rates(model: Sam2, rounds: int = 5) -> dict[str, float]:
    """TFLOP/s that this device reaches in one large product, and in attention to a full memory."""
    config, device = model.config, model.device
    dtype = next(model.memory_attention.parameters()).dtype
    width = 8192 if batches_pay(device) else 1024  # enough to reach the rate
    x, weight = (torch.randn(4096, width, device=device, dtype=dtype) for _ in range(2))
    queries = config.grid**2
    pointers = config.pointer_span * config.channels // config.memory_channels
    keys = (config.memory_span + 1) * queries + pointers
    q, k = (
        torch.randn(1, 1, n, config.channels, device=device, dtype=dtype) for n in (queries, keys)
    )
    v = torch.randn(1, 1, keys, config.memory_channels, device=device, dtype=dtype)
    matmul = _seconds(lambda: multiply(x, weight), device, rounds)
    read = attend_fast
    if device.type == "cuda":  # as the model has it: compiled, for any number of keys
        read = torch.compile(attend_fast, dynamic=False)
        for each in (k, v):
            torch._dynamo.mark_dynamic(each, 2)
    attention = _seconds(lambda: read(q, k, v), device, rounds)
    scores = 2 * queries * keys * (config.channels + config.memory_channels)
    return {
        "matmul": 2 * 4096 * 4096 * width / matmul / 1e12,
        "attention": scores / attention / 1e12,
    }


def held_bytes(device: torch.device) -> int:
    """The memory of a GPU that tensors hold; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    return torch.cuda.memory_allocated(device)


def _seconds(run: Run, device: torch.device, rounds: int) -> float:
    """The median time of `run`, warm."""
    times = []
    for _ in range(rounds + 1):
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - start)
    return median(times[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
