"""The model gives the figures it should: some of its own always, published ones where they are.

`make parity` compares with all published figures; here are those that take little time.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.golden_cases import run_case
from tests.sam2.figures import FILE, figures

# Rounding that falls otherwise on another machine moves a memory by a bfloat16 step, and that moves
# the figures of all later frames by about a tenth of these. A mistake moves them by far more.
ALLOWED = {"low": 0.05, "score": 0.05, "ptr": 0.01, "iou": 0.003, "area": 15}
FRAMES = 4  # of a clip; enough for memories and pointers of several ages
# The figures were made with AVX-512. With AVX2 alone we are up to 17 times as far from them as is
# allowed, and equal to the published package, run there on the same frames, to the bit.
ROOM = 1 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 20


def test_the_tiny_model_still_gives_its_own_figures() -> None:
    found = figures()

    with np.load(FILE) as kept:
        assert found.keys() == {*kept.files}
        off = {name: float(np.abs(found[name] - kept[name]).max()) for name in kept.files}
    assert {n: by for n, by in off.items() if by > ALLOWED[n.rpartition("_")[2]]} == {}


@pytest.mark.parametrize("name", ["image_20t", "image_unstable_21t"])
def test_a_still_matches_published_sam_2(shared: Path, name: str) -> None:
    differences = run_case(shared, name)

    assert {d.array for d in differences} >= {"low", "iou", "maskbits (pixels)"}
    assert [d for d in differences if not d.within] == []


@pytest.mark.slow
def test_a_short_clip_matches_published_sam_2(shared: Path, tmp_path: Path) -> None:
    differences = run_case(cut(shared, tmp_path, "video_clicks_21t", FRAMES), "video_clicks_21t")

    assert {d.array for d in differences} >= {"score", "ptr", "low4", "full", "videobits (pixels)"}
    assert [d for d in differences if d.largest > ROOM * d.tolerance] == []


def cut(shared: Path, folder: Path, name: str, frames: int) -> Path:
    """A golden folder with one video case, of which only the first frames are compared."""
    golden, cases = shared / "golden", folder / "golden" / "cases"
    cases.mkdir(parents=True)
    for part in ("keys", "weights.py", "frames.py"):
        (folder / "golden" / part).symlink_to(golden / part)
    case: dict[str, Any] = json.loads((golden / "cases" / f"{name}.json").read_text())
    walks = []
    for number, step in enumerate(case["steps"]):
        if step["op"] == "propagate":
            step["max_frames"] = frames - 1  # it visits one more
            step["result"]["frames"] = step["result"]["frames"][:frames]
            walks.append(f"s{number}_")
    (cases / f"{name}.json").write_text(json.dumps(case))
    with np.load(golden / "cases" / f"{name}.npz") as arrays:
        kept = {
            key: arrays[key][:frames]
            if key.startswith(*walks) and "full" not in key
            else arrays[key]
            for key in arrays.files
            if key[0] == "s" and key[1].isdigit()
        }
    np.savez(cases / f"{name}.npz", **kept)
    return folder
