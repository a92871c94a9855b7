"""What each way to be faster is worth by itself, on one object with full memories.

python -m bench.ablation [--model sam2.1-tiny] [--threads 1]

Each row changes the exact model in one way and tracks the same frame once: CPU seconds for the
whole step, how many times faster than exact, and the largest difference in the mask's logits.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import rich
import torch
import typer
from rich.table import Table
from torch import Tensor

from bench.machine import machine
from sam2.attention import attend_fast
from sam2.checkpoint import load_model
from sam2.hiera import Attention
from sam2.layers import Linear
from sam2.memory_attention import RotaryAttention
from sam2.model import Sam2
from sam2.precision import band_blocks, fuse_gelu, join_narrowing, set_precision
from sam2.products import multiply
from sam2.speed import recollection
from sam2.tracking import Step, track

_RESULTS = Path(__file__).parent / "results" / "ablation.json"


def main(model: str = "sam2.1-tiny", threads: int = 1) -> None:
    """Measure each optimisation alone, then all together."""
    torch.set_num_threads(threads)
    rows: dict[str, dict[str, float]] = {}
    expected: Tensor | None = None
    for name, change in CHANGES.items():
        seconds, mask = step(model, change)
        expected = mask if expected is None else expected
        rows[name] = {"seconds": seconds, "difference": float((mask - expected).abs().max())}
        print(name, rows[name], flush=True)
    table = Table("", "cpu s", "times as fast", "largest difference")
    for name, row in rows.items():
        ratio = rows["exact"]["seconds"] / row["seconds"]
        table.add_row(name, f"{row['seconds']:.2f}", f"{ratio:.2f}", f"{row['difference']:.1e}")
    rich.print(table)
    result = {"model": model, "threads": threads, "rows": rows, "machine": machine()}
    _RESULTS.write_text(json.dumps(result, indent=2) + "\n")


@torch.inference_mode()
def step(name: str, change: Callable[[Sam2], object]) -> tuple[float, Tensor]:
    """CPU seconds of one frame of one object, and its logits; the second of two, as warm."""
    model = load_model(name)
    change(model)
    torch.manual_seed(0)
    size = model.config.image_size
    picture, read = torch.randn(1, 3, size, size), recollection(model.config, model.device)
    for _ in range(2):
        start = time.process_time()
        ((found, _),) = track(model, model.encode(picture), [Step(0, read)])
        seconds = time.process_time() - start
    return seconds, found.mask


def _absorb(model: Sam2) -> None:
    """One matrix of values and output; narrow values need the blocked form."""
    _block(model, RotaryAttention)
    for module in model.modules():
        if isinstance(module, RotaryAttention):
            module.absorb()


def _block(model: Sam2, *kinds: type) -> None:
    for module in model.modules():
        if isinstance(module, kinds):
            module.attend = attend_fast  # type: ignore[attr-defined]


def _products(model: Sam2) -> None:
    for module in model.modules():
        if isinstance(module, Linear):
            module.multiply = multiply


CHANGES: dict[str, Callable[[Sam2], object]] = {
    "exact": lambda model: None,
    "linear layers by oneDNN": _products,
    "GELU within its product": fuse_gelu,
    "trunk in bands of windows": band_blocks,
    "attention in blocks, by oneDNN": lambda model: _block(model, RotaryAttention, Attention),
    "memory attention in blocks, values absorbed": _absorb,
    "fine maps narrowed at once": join_narrowing,
    "all of these: float32": lambda model: set_precision(model, "float32"),
    "and bfloat16": lambda model: set_precision(model, "bfloat16"),
}


if __name__ == "__main__":
    typer.run(main)
