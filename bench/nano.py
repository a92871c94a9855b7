"""The exam of a model: synthetic clips that no training saw, and the demo clip.

python -m bench.nano [--clips 20] [--model nano] [--checkpoint FILE] [--name nano]

Three tiers, 24 frames a clip. J&F is the mean over the frames after the first. Beside it stands
what the true first mask scores that never moves, for a weak model can lose to it.
"""

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import rich
import torch
import typer
from rich.table import Table

from bench.machine import machine
from examples.make_demo_clip import FOLDER, FRAMES, object_masks
from pipeline.evaluation.metric import compare
from pipeline.manifest import read_manifest
from pipeline.plan import make_plan
from pipeline.segmenter import Segmenter
from pipeline.training.exam import TIERS, Mark, corrected, exam_clips, examine
from pipeline.weights import open_model
from sam2.model import Sam2

_RESULTS = Path(__file__).parent / "results"
_KINDS = ("click", "box", "mask")


def main(
    clips: int = 20, model: str = "nano", checkpoint: str | None = None, name: str = "nano"
) -> None:
    """Examine a model on the three tiers."""
    torch.set_num_threads(1)
    opened, digest = open_model(model, checkpoint)
    started = time.perf_counter()
    table = Table("tier", "objects", *_KINDS, "frozen mask", "absent told", "shown told")
    tiers = {}
    exam = {tier: exam_clips(tier, clips, opened.config.image_size) for tier in TIERS}
    for tier, asked in exam.items():
        marks = {kind: examine(opened, asked, kind) for kind in _KINDS}
        tiers[tier] = _summary(marks)
        row = tiers[tier]
        figures = [f"{row[key]:.3f}" for key in (*_KINDS, "frozen")]
        told = [_rates(row[key]) for key in ("hidden_told", "shown_told")]
        table.add_row(tier, str(row["objects"]), *figures, *told)
    rich.print(table)
    gains = [corrected(opened, clip) for clip in exam["medium"]]
    before, after = (fmean(x) for x in zip(*(g for gain in gains for g in gain), strict=True))
    print(f"a click on the worst frame: mean J&F of the medium tier {before:.3f} -> {after:.3f}")
    demo = _demo(opened)
    print("the demo clip:", ", ".join(f"{name} {jf:.3f}" for name, jf in demo.items()))
    result = {
        "model": model,
        "checkpoint_sha256": digest,
        "clips": clips,
        "tiers": tiers,
        "correction": {"before": before, "after": after},
        "demo": demo,
        "seconds": time.perf_counter() - started,
        "machine": machine(),
    }
    (_RESULTS / f"exam-{name}.json").write_text(json.dumps(result, indent=2) + "\n")


def _summary(marks: dict[str, list[Mark]]) -> dict[str, Any]:
    """Mean J&F by prompt, and how often hiding and showing are told rightly.

    A click may be taken for another thing than the one meant, which then is what is followed; so
    what is told is by prompt too.
    """
    return {
        "objects": len(marks["mask"]),
        **{kind: fmean(mark.jf for mark in some) for kind, some in marks.items()},
        "frozen": fmean(mark.frozen for mark in marks["mask"]),
        "hidden_told": {k: _rate(mark.hidden for mark in some) for k, some in marks.items()},
        "shown_told": {k: _rate(mark.shown for mark in some) for k, some in marks.items()},
        "hidden_frames": sum(len(mark.hidden) for mark in marks["mask"]),
        "objects_that_hide": sum(bool(mark.hidden) for mark in marks["mask"]),
    }


def _demo(model: Sam2) -> dict[str, float]:
    """Mean J&F of the demo clip's objects from the prompts in its manifest, by label."""
    entries = read_manifest(str(FOLDER / "manifest.jsonl"))
    truth = [object_masks(frame) for frame in range(FRAMES)]
    return {
        str(found.label): fmean(
            compare(truth[frame][found.object_id], found.mask(frame)).jf
            for frame in found.frame_index
        )
        for found in Segmenter(model).segment(make_plan(entries))
    }


def _rate(told: Iterable[Sequence[bool]]) -> float | None:
    """The share of all frames; None where there are none."""
    frames = [each for one in told for each in one]
    return fmean(frames) if frames else None


def _rates(rates: dict[str, float | None]) -> str:
    return " / ".join("none" if rate is None else f"{rate:.3f}" for rate in rates.values())


if __name__ == "__main__":
    typer.run(main)
