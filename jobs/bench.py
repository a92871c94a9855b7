"""Measures how fast a model tracks on this device, without any video or checkpoint.

python -m jobs.bench --model sam2.1-base-plus --objects 1 --objects 16 --videos 1 --json bench.json
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast, get_args

import rich
import typer
from rich.table import Table

from jobs import options
from pipeline.config import ConfigError
from sam2.checkpoint import load_model
from sam2.config import Precision
from sam2.devices import resolve_device
from sam2.speed import Speed, device_rates, measure

_STAGES = ("encode", "look", "recall", "decode", "memorize")


def bench(
    model: str = "nano",
    precision: Annotated[str, typer.Option(help="auto, bfloat16, float32 or exact.")] = "auto",
    objects: Annotated[list[int] | None, typer.Option(help="Objects of each video.")] = None,
    videos: Annotated[list[int] | None, typer.Option(help="Videos at once.")] = None,
    max_batch: int = 16,
    device: str = "auto",
    rounds: int = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keeps the figures.")] = None,
) -> None:
    """Measure object-frames per second with full memories, stage by stage."""
    with options.told():
        if precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise ConfigError(f"--precision is one of {known}, not '{precision}'")
        device = resolve_device(device)
        sam2 = load_model(model, device=device, precision=cast(Precision, precision))
    rates = device_rates(sam2, rounds)
    table = Table("videos x objects", "object-frames/s", *(f"{s}, ms" for s in _STAGES))
    for heading in ("places used", "TFLOP/s", "of matmul rate", "GiB", "growth, MiB"):
        table.add_column(heading)
    rows = []
    for count in videos or (1,):
        for each in objects or (1, 4, 16):
            rows.append(measure(sam2, count, each, max_batch, rounds))
            table.add_row(*_shown(rows[-1], rates["matmul"]))
    rich.print(table)
    print(
        f"this device: {rates['matmul']:.3f} TFLOP/s in one large product, "
        f"{rates['attention']:.3f} in attention to a full memory"
    )
    if json_file:
        asked = {"model": model, "precision": precision, "device": device, "max_batch": max_batch}
        text = json.dumps({**asked, "rates": rates, "rows": [asdict(r) for r in rows]}, indent=2)
        json_file.write_text(text + "\n")


def _shown(speed: Speed, rate: float) -> list[str]:
    stages = [f"{speed.stage_ms[name]:.1f}" for name in _STAGES]
    return [
        f"{speed.videos} x {speed.objects}",
        f"{speed.object_frames_per_second:.2f}",
        *stages,
        f"{speed.filled:.0%}",
        f"{speed.tflops:.3f}",
        f"{speed.tflops / rate:.0%}",
        f"{speed.peak_gib:.1f}",
        f"{speed.growth_mib:.1f}",
    ]


if __name__ == "__main__":
    sys.exit(options.main(bench))
