"""The small job that is disturbed in many ways, and its rows without what may differ."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config import RunConfig, load_config
from pipeline.manifest import ObjectPrompts, Prompt, VideoEntry, read_manifest
from pipeline.masklets import Masklet, read_masklets
from pipeline.run import run
from tests.clips import write_clip

DIRECTIONS = ("forward", "both", "reverse", "forward")


def config(**cluster: object) -> RunConfig:
    """One actor that saves what is under way after every frame, unless something else is said."""
    chosen = {"actors": 1, "threads": 1, "save_every_s": 0.001} | cluster
    return load_config(settings=[f"cluster.{key}={value}" for key, value in chosen.items()])


def job(folder: Path, videos: int = 1, objects: int = 4, n_frames: int = 12) -> list[VideoEntry]:
    """So many videos with so many objects each, prompted on different frames."""
    entries = []
    for number in range(videos):
        clip = write_clip(folder / f"clip{number}.mp4", n_frames=n_frames + number)
        wanted = tuple(
            ObjectPrompts(
                object_id=i,
                direction=DIRECTIONS[i % 4],  # type: ignore[arg-type]
                prompts=(Prompt(frame=2 + i, points=((20.0 + 9 * i, 30.0),), point_labels=(1,)),),
            )
            for i in range(objects)
        )
        entries.append(VideoEntry(video_id=clip.stem, uri=str(clip), objects=wanted))
    return entries


def rows(out: str | Path) -> list[Masklet]:
    """The rows of a run by task: every (video, object, frame) once, or this fails."""
    found = sorted(read_masklets(str(out)), key=lambda row: row.task_id)
    assert len({(row.video_id, row.object_id) for row in found}) == len(found)
    for row in found:
        assert len({*row.frame_index}) == len(row.frame_index)
    return [replace(row, gpu_s=0.0, attempts=1, resumed_from=None) for row in found]


def undisturbed_rows(entries: Sequence[VideoEntry], out: Path) -> list[Masklet]:
    """What a run that nothing happens to finds, with its output here."""
    run(entries, str(out), config())
    return rows(out)


def work(out: Path) -> tuple[int, int]:
    """Object-frames that were tracked, and those that were needed."""
    record = json.loads((out / "run.json").read_text())
    return record["tracked"], record["counts"]["object_frames"]


def write_manifest(entries: Sequence[VideoEntry], path: Path) -> Path:
    """The same job for a driver in another process."""
    path.write_text("".join(entry.model_dump_json(exclude_none=True) + "\n" for entry in entries))
    return path


if __name__ == "__main__":  # a driver of its own, which can be killed
    run(read_manifest(sys.argv[1]), sys.argv[2], config(actors=int(sys.argv[3])))
