import json

import av
import numpy as np

from examples.make_demo_clip import BOAT, FOLDER, FRAMES, frame, manifest, object_masks


def test_the_clip_beside_the_script_is_the_one_it_draws() -> None:
    with av.open(str(FOLDER / "demo.mp4")) as video:
        shown = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]

    assert len(shown) == FRAMES
    assert np.abs(shown[30].astype(float) - frame(30)).mean() < 3  # what compression may lose


def test_the_manifest_beside_the_script_is_the_one_it_writes() -> None:
    assert json.loads((FOLDER / "manifest.jsonl").read_text()) == manifest()


def test_the_boat_starts_hidden_and_passes_behind_the_post() -> None:
    hidden, free, behind = (object_masks(t)[BOAT].sum() for t in (0, 24, 40))

    assert hidden == 0
    assert 0 < behind < 0.8 * free
