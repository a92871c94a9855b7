"""Twenty videos, one of which kills every process that reads it."""

import json
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.manifest import ObjectPrompts, Prompt, VideoEntry
from pipeline.masklets import read_masklets
from pipeline.run import run
from tests.chaos.faults import Fault, fired
from tests.clips import write_clip

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_a_poison_video_is_struck_out_and_nineteen_others_are_found(
    faults: Path, tmp_path: Path
) -> None:
    click = Prompt(frame=0, points=((20.0, 30.0),), point_labels=(1,))
    wanted = (ObjectPrompts(object_id=1, prompts=(click,)),)
    clip = write_clip(tmp_path / "clip.mp4", n_frames=3)
    entries = []
    for n in range(20):
        uri = tmp_path / ("poison.mp4" if n == 7 else f"good{n}.mp4")
        uri.hardlink_to(clip)
        entries.append(VideoEntry(video_id=uri.stem, uri=str(uri), objects=wanted))
    Fault(at=r"frame 1 of .*/poison\.mp4", times=-1).arm(faults)

    summary = run(entries, str(tmp_path / "out"), load_config(settings=["cluster.threads=1"]))

    rows = {row.video_id: row for row in read_masklets(str(tmp_path / "out"))}
    assert len(rows) == summary.rows == 20
    assert rows.pop("poison").status == "crashed"
    assert {row.status for row in rows.values()} == {"ok"}
    assert {len(row.frame_index) for row in rows.values()} == {3}
    assert fired(faults) == 3
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["crashed"] == 1
