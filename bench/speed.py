"""Speed beside the published package and Hugging Face's port, in one run.

python -m bench.speed --peer /path/to/other/python [--video FILE] [--objects 8] [--videos 8]
python -m bench.speed --peer /path/to/other/python --device cuda --model sam2.1-base-plus

The contenders run side by side, each in a process of its own, and take turns: each tracks the same
frame before anyone goes on to the next, so whatever disturbs the machine disturbs all of them.
Every object is prompted on seven frames, and the frames that are timed lie so far apart that each
reads exactly these seven memories. `--peer` is the Python of an environment with the published
`sam2`, and with `transformers` for --transformers; without it only our own precisions run.
`--peer-path` is put on the published package's path, for what its environment lacks. On a GPU the
published package runs as its makers advise: compiled, in float32 and under bfloat16 autocast.
Without `--video`, which takes PyAV to read, frames are drawn. Weights are random. On a machine with
other work to do take one thread and look at the ratio by CPU time.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import rich
import torch
import typer
from PIL import Image
from rich.table import Table

from bench.machine import machine, precisions, where
from sam2.build_sam import CONFIGS
from sam2.config import model_config
from sam2.model import Sam2

_RESULTS = Path(__file__).parent / "results"
_PROMPTS = 7
_REACH = 7  # frames further apart than this do not read each other's memory
_WARM = 3  # rounds that do not count: the first ones compile, and CUDA graphs are captured later

Took = dict[str, float]  # cpu and wall, in seconds


@dataclass(frozen=True)
class Entrant:
    """Who competes, and what runs it."""

    name: str
    python: str
    kind: str
    precision: str
    path: str = ""


class Contender:
    """A process that tracks a frame when told to."""

    def __init__(self, entrant: Entrant, common: dict[str, object]) -> None:
        self.entrant = entrant
        self.took: list[Took] = []
        asked = common | {"kind": entrant.kind, "precision": entrant.precision}
        script = Path(__file__).with_name("contender.py")
        folder = Path(str(asked["folder"]))
        self._log = folder / f"{entrant.name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [entrant.python, str(script), json.dumps(asked)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,  # not ours, where `sam2` would be found before the package
                env=os.environ
                | {"OMP_NUM_THREADS": str(asked["threads"]), "PYTHONPATH": entrant.path},
            )

    def wait(self) -> None:
        """Until all prompts are answered."""
        while (line := self._read()) != "ready":
            print(f"{self.entrant.name}: {line}", file=sys.stderr)

    def track(self, frame: int) -> Took:
        """Tracks all objects to this frame."""
        assert self._process.stdin
        self._process.stdin.write(f"{frame}\n")
        self._process.stdin.flush()
        took: Took = json.loads(self._read())
        return took

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> str:
        assert self._process.stdout
        if line := self._process.stdout.readline():
            return line.strip()
        code, last = self._process.wait(), self._log.read_text()[-1000:]
        raise RuntimeError(f"{self.entrant.name} ended with code {code}: {last}")


def main(
    video: Annotated[Path | None, typer.Option(help="Frames from a file, not drawn.")] = None,
    peer: Annotated[str, typer.Option(help="A Python that has the published sam2.")] = "",
    peer_path: str = "",
    transformers: bool = False,
    objects: int = 1,
    videos: Annotated[int, typer.Option(help="Sessions, each with as many objects.")] = 1,
    model: str = "sam2.1-tiny",
    device: str = "cpu",
    rounds: int = 3,
    threads: int = torch.get_num_threads(),
) -> None:
    """Measure the precisions of this project beside its peers."""
    entrants = []
    if peer:
        entrants.append(Entrant("published float32", peer, "sam2", "plain", peer_path))
    if peer and device != "cpu":
        entrants.append(Entrant("published bfloat16", peer, "sam2", "autocast", peer_path))
    if peer and transformers and videos == 1:
        entrants.append(Entrant("transformers float32", peer, "transformers", "plain"))
    root = str(Path(__file__).parents[1])
    for precision in precisions(device):
        entrants.append(Entrant(f"masklet {precision}", sys.executable, "sam2", precision, root))
    warm = 1 if device == "cpu" else _WARM
    with tempfile.TemporaryDirectory() as folder:
        write_frames(video, Path(folder) / "frames", _PROMPTS + (rounds + warm) * _REACH + 1)
        checkpoint = write_weights(model, Path(folder) / "weights.pt")
        common = {
            "folder": folder,
            "frames": f"{folder}/frames",
            "checkpoint": str(checkpoint),
            "config": next(c for c, name in CONFIGS.items() if name == model),
            "videos": videos,
            "objects": objects,
            "prompts": _PROMPTS,
            "device": device,
            "threads": threads,
            "compiled": device == "cuda",
        }
        rows = compete(entrants, common, rounds, warm)
    show(rows, videos * objects)
    name = f"speed-{model}-{videos}x{objects}{where(device)}.json"
    result = {
        "model": model,
        "videos": videos,
        "objects": objects,
        "device": device,
        "threads": threads,
        "rows": rows,
    }
    (_RESULTS / name).write_text(json.dumps(result | {"machine": machine()}, indent=2) + "\n")


def compete(
    entrants: Sequence[Entrant], common: dict[str, object], rounds: int, warm: int
) -> dict[str, list[Took]]:
    """What each took for each frame; the first `warm` rounds do not count."""
    entered = []
    try:
        for entrant in entrants:
            entered.append(Contender(entrant, common))
            entered[-1].wait()
        for turn in range(rounds + warm):
            for contender in entered:
                contender.took.append(contender.track(_PROMPTS + (turn + 1) * _REACH))
        return {c.entrant.name: c.took[warm:] for c in entered}
    finally:
        for contender in entered:
            contender.end()


def show(rows: dict[str, list[Took]], objects: int) -> None:
    """Prints medians, and ratios to the first contender: medians over the turns."""
    table = Table("", "s/frame", "cpu s/frame", "object-frames/s", "ratio", "ratio by cpu")
    first = next(iter(rows.values()))
    for name, took in rows.items():
        wall, cpu = (median(t[kind] for t in took) for kind in ("wall", "cpu"))
        ratios = [
            median(a[kind] / b[kind] for a, b in zip(first, took, strict=True))
            for kind in ("wall", "cpu")
        ]
        figures = (wall, cpu, objects / wall, *ratios)
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    rich.print(table)


def write_frames(video: Path | None, folder: Path, count: int) -> None:
    """The first frames of a video as pictures, which all contenders can read."""
    folder.mkdir()
    pictures = from_file(video) if video else drawn()
    for number, picture in enumerate(islice(pictures, count)):
        picture.save(folder / f"{number:05d}.jpg", quality=95)


def from_file(video: Path) -> Iterator[Image.Image]:
    """The frames of a video file."""
    import av  # not on every machine with a GPU

    with av.open(video) as container:
        for frame in container.decode(video=0):
            yield frame.to_image()


def drawn() -> Iterator[Image.Image]:
    """A disc that goes round and round over noise, 960x540."""
    y, x = np.mgrid[:540, :960]
    noise = np.random.default_rng(0).integers(60, 120, (540, 960, 3), dtype=np.uint8)
    for t in count():
        inside = np.hypot(y - 270 - 120 * np.sin(t / 12), x - 480 - 200 * np.cos(t / 12)) < 60
        yield Image.fromarray(np.where(inside[..., None], np.uint8(220), noise))


def write_weights(model: str, path: Path) -> Path:
    """Random weights at scales where attention is neither flat nor a spike."""
    torch.manual_seed(0)
    state = Sam2(model_config(model)).state_dict()
    for key, value in state.items():
        if value.ndim > 1 and key.endswith("weight") and "embed" not in key:
            fan_in = value[0].numel()
            state[key] = torch.randn_like(value) / fan_in**0.5
    torch.save({"model": state}, path)
    return path


if __name__ == "__main__":
    typer.run(main)
