"""Trains a model on synthetic clips, corrected masklets or annotated folders.

ray job submit --working-dir . -- python -m jobs.train --config configs/train/nano.yaml --out URI
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs import options
from pipeline.config import load_settings
from pipeline.train import train_model
from pipeline.training.config import TrainConfig
from pipeline.training.fit import Note
from sam2.training.trainer import TrainingError


def train(
    config: Annotated[Path, typer.Option(help="A YAML file, such as configs/train/nano.yaml.")],
    out: Annotated[str, typer.Option(help="A folder or URI for weights, curves, checkpoints.")],
    setting: options.Settings = None,
) -> None:
    """Train a model, or go on with a training; exit code 1 if it broke, 2 if the input is wrong."""
    with options.told(resumable=True):
        settings = load_settings(TrainConfig, config, setting or ())
        try:
            train_model(settings, out, lambda note: _tell(note, settings))
        except TrainingError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(options.SOME_FAILED) from error
    print(f"weights: {out.rstrip('/')}/{settings.model}.safetensors")
    print(f"curves:  {out.rstrip('/')}/curves.png and curves.jsonl")


def _tell(note: Note, config: TrainConfig) -> None:
    head = f"step {note['step']} of {config.steps}"
    if "jf" in note:
        scores = ", ".join(f"{kind} {value:.3f}" for kind, value in note["jf"].items())
        print(f"{head}: J&F on practice clips: {scores}", flush=True)
        return
    left = (config.steps - note["step"]) * note["seconds"] / 60
    pace = f"{note['seconds']:.2f} s a step, {left:.0f} min left"
    print(f"{head}: loss {note['loss']:.3f}, {pace}", flush=True)


if __name__ == "__main__":
    sys.exit(options.main(train))
