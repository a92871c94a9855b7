"""What twenty corrected masklets of a new kind of object are worth.

python -m bench.finetune [--family glass|star|...] [--masklets 20] [--checkpoint FILE]

Clips of a family that the model never saw are written as videos, with a masklet of one object each,
as a labelling team would have corrected it. `masklet train` learns from them; clips of the same
family but other seeds tell what it gained. `glass` is of things that one sees through, whatever
their shape; other families are those of the scenes' shapes.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rich
import typer
from rich.table import Table

from bench.machine import machine
from pipeline.config import load_settings
from pipeline.masklets import Masklet, schema_of
from pipeline.overlay import write_video
from pipeline.train import train_model
from pipeline.training.config import Source, TrainConfig
from pipeline.training.exam import LEAST_PIXELS, examine
from pipeline.weights import open_model
from sam2.model import Sam2
from sam2.training.scenes import MEDIUM, LabelledClip, draw_scene

_RESULTS = Path(__file__).parent / "results"
_RECIPE = Path(__file__).parent.parent / "configs" / "train" / "finetune.yaml"
_KINDS = ("click", "box", "mask")
_FRAMES, _SIZE = 24, 256
GLASS = replace(MEDIUM, opacity=0.35)


def main(
    family: str = "star", masklets: int = 20, held_out: int = 40, checkpoint: str | None = None
) -> None:
    """Fine-tune nano on a family of shapes; score it on others of the family."""
    unseen = list(islice(_clips(family, seed=2), held_out))
    recipe = load_settings(TrainConfig, _RECIPE)
    checkpoint = checkpoint or recipe.checkpoint
    before = _scores(open_model("nano", checkpoint)[0], unseen)
    with TemporaryDirectory() as folder:
        _label(list(islice(_clips(family, seed=1), masklets)), Path(folder))
        sources = (Source(masklets=folder, share=0.7), *recipe.sources[1:])
        config = recipe.model_copy(update={"sources": sources, "checkpoint": checkpoint})
        train_model(config, f"{folder}/tuned", lambda note: print(note, flush=True))
        after = _scores(open_model("nano", f"{folder}/tuned/nano.safetensors")[0], unseen)
    table = Table("first prompt", "before", "after")
    for kind in _KINDS:
        table.add_row(kind, f"{before[kind]:.3f}", f"{after[kind]:.3f}")
    rich.print(table)
    result = {
        "family": family,
        "masklets": masklets,
        "held_out": held_out,
        "before": before,
        "after": after,
        "machine": machine(),
    }
    (_RESULTS / f"finetune-{family}.json").write_text(json.dumps(result, indent=2) + "\n")


def _clips(family: str, seed: int) -> Iterator[LabelledClip]:
    """Clips of one family, each with the one object that is largest where it starts."""
    level = GLASS if family == "glass" else replace(MEDIUM, families=(family,))
    for number in count():
        rng = np.random.default_rng([seed, number, 0, 2])
        clip = draw_scene(rng, level, _FRAMES).render(_FRAMES, _SIZE)
        sizes = clip.masks[:, 0].flatten(1).sum(dim=1)
        if sizes.max() >= LEAST_PIXELS:
            yield LabelledClip(clip.frames, clip.masks[sizes.argmax()][None])


def _label(clips: list[LabelledClip], folder: Path) -> None:
    """Writes the clips as videos and their objects as the rows of a run."""
    rows = []
    for number, clip in enumerate(clips):
        video = folder / f"{number}.mp4"
        write_video(video, iter(clip.frames.permute(0, 2, 3, 1).contiguous().numpy()), 24)
        masks = dict(enumerate(clip.masks[0].numpy()))
        names = {"task_id": number, "video_id": str(number), "uri": str(video), "object_id": 1}
        rows.append(Masklet.of_masks(masks, fps=24, n_frames=_FRAMES, **names).to_row())
    (folder / "masklets").mkdir()
    table = pa.Table.from_pylist(rows, schema=schema_of("corrected"))
    pq.write_table(table, folder / "masklets" / "corrected.parquet")


def _scores(model: Sam2, clips: list[LabelledClip]) -> dict[str, float]:
    return {kind: fmean(mark.jf for mark in examine(model, clips, kind)) for kind in _KINDS}


if __name__ == "__main__":
    typer.run(main)
