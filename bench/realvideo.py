"""Real clips from the first true mask of each object, beside two trackers that learnt nothing.

python -m bench.realvideo FOLDER [--model nano] [--checkpoint FILE]

The peers: the first mask, held still; and the first mask moved along by dense optical flow (DIS,
from OpenCV: `pip install opencv-python-headless`). All three are scored by the rules of SA-V.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rich
import typer
from numpy.typing import NDArray
from rich.table import Table

from bench.machine import machine
from pipeline.config import RunConfig
from pipeline.evaluation.scores import Scores, score
from pipeline.evaluation.track import AnnotatedClip, find_clips, track_and_score
from pipeline.masklets import Masklet
from pipeline.rle import decode_counts

_RESULTS = Path(__file__).parent / "results" / "realvideo.json"

Mask = NDArray[np.bool_]
Follow = Callable[[Sequence[NDArray[np.uint8]], Mask], Iterator[Mask]]


def main(folder: Path, model: str = "nano", checkpoint: str | None = None) -> None:
    """Score a model and its two peers on a folder of annotated sequences."""
    clips = find_clips(folder, folder)
    with TemporaryDirectory() as scratch:
        config = RunConfig(model=model, checkpoint=checkpoint)
        summary, found = track_and_score(folder, folder, "sav", f"{scratch}/model", config)
        if found is None:
            raise SystemExit("\n".join(summary.problems))
        scores = {model: found}
        for name, follow in (("frozen", frozen), ("optical flow", flow)):
            home = Path(scratch) / name
            for clip in clips:
                clip.write_predictions(_followed(clip, follow), home / clip.name)
            scores[name] = score(folder, home, "sav", [clip.name for clip in clips])
    rich.print(_table(scores))
    result = {name: each.to_json() for name, each in scores.items()} | {"machine": machine()}
    _RESULTS.write_text(json.dumps(result, indent=2) + "\n")


def frozen(frames: Sequence[NDArray[np.uint8]], mask: Mask) -> Iterator[Mask]:
    """The first mask on every frame."""
    return (mask for _ in frames)


def flow(frames: Sequence[NDArray[np.uint8]], mask: Mask) -> Iterator[Mask]:
    """The first mask, moved from frame to frame by the flow back to the one before."""
    import cv2

    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey: list[Any] = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
    soft = mask.astype(np.float32)
    yield mask
    for before, now in itertools.pairwise(grey):
        back = dis.calc(now, before, None)
        soft = cv2.remap(soft, x + back[..., 0], y + back[..., 1], cv2.INTER_LINEAR)
        yield soft > 0.5


def _followed(clip: AnnotatedClip, follow: Follow) -> list[Masklet]:
    """Each object of a clip from its first mask on, as a masklet."""
    masklets = []
    frames = [frame.pixels for frame in clip.pictures.frames()]
    entry = clip.entry("sav")
    for task, asked in enumerate(entry.objects or ()):
        (prompt,) = asked.prompts
        assert prompt.mask
        assert prompt.frame is not None
        height, width = prompt.mask.size
        first = decode_counts(str(prompt.mask.counts), height, width)
        masks = dict(enumerate(follow(frames[prompt.frame :], first), start=prompt.frame))
        masklets.append(
            Masklet.of_masks(
                masks,
                fps=clip.pictures.info.fps,
                task_id=task,
                video_id=clip.name,
                uri=entry.uri,
                object_id=asked.object_id,
                label=asked.label,
                n_frames=len(frames),
            )
        )
    return masklets


def _table(scores: dict[str, Scores]) -> Table:
    table = Table("object", *scores)
    names = [each.name for each in next(iter(scores.values())).objects]
    rows = {name: {each.name: each.mean.jf for each in s.objects} for name, s in scores.items()}
    for name in names:
        table.add_row(name, *(f"{row[name]:.3f}" for row in rows.values()))
    table.add_row("mean", *(f"{each.mean.jf:.3f}" for each in scores.values()))
    return table


if __name__ == "__main__":
    typer.run(main)
