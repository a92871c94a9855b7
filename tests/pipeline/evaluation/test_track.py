"""Prompts made of first masks, and predictions written as the official tools read them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import load_config
from pipeline.evaluation import EvaluationError, Rules, score
from pipeline.evaluation.folders import MaskFolder, find_frames
from pipeline.evaluation.track import AnnotatedClip, find_clips, stored, track_and_score
from pipeline.manifest import VideoEntry
from pipeline.masklets import Masklet
from pipeline.rle import decode_counts
from pipeline.storage import filesystem, list_files
from tests.pipeline.evaluation.data import (
    Labels,
    moving,
    squares,
    write_mask,
    write_masks,
    write_objects,
)

# Object 2 enters on frame 2; object 3, which nobody marked on the first frame, on frame 3.
ENTERING = {
    "00000.png": squares({1: (0, 0)}),
    "00001.png": squares({1: (0, 3)}),
    "00002.png": squares({1: (0, 6), 2: (20, 0)}),
    "00003.png": squares({1: (0, 9), 2: (20, 3), 3: (36, 0)}),
}


def write_pictures(folder: Path, masks: Mapping[str, Labels]) -> None:
    """A JPEG for each mask: bright where the objects are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in masks.items():
        grey = Image.fromarray(np.where(labels, 200, 30).astype(np.uint8))
        grey.save(folder / name.replace(".png", ".jpg"))


def clip(root: Path, masks: Mapping[str, Labels]) -> AnnotatedClip:
    write_masks(root / "Annotations/dog", masks)
    write_pictures(root / "JPEGImages/dog", masks)
    (found,) = find_clips(root, root)
    return found


def prompted(entry: VideoEntry) -> dict[int, int | None]:
    """The frame on which each object is marked."""
    return {each.object_id: each.prompts[0].frame for each in entry.objects or ()}


def test_every_object_is_marked_where_it_first_appears(tmp_path: Path) -> None:
    entry = clip(tmp_path, ENTERING).entry("sav")

    assert prompted(entry) == {1: 0, 2: 2, 3: 3}
    assert entry.uri == str(tmp_path / "JPEGImages/dog")


def test_a_prompt_is_the_true_mask(tmp_path: Path) -> None:
    _, second, _ = clip(tmp_path, ENTERING).entry("sav").objects or ()

    mask = second.prompts[0].mask
    assert mask
    assert np.array_equal(decode_counts(mask.counts, *mask.size), ENTERING["00002.png"] == 2)


def test_the_rules_of_davis_ask_only_for_ids_up_to_the_highest_on_the_first_frame(
    tmp_path: Path,
) -> None:
    masks = ENTERING | {"00000.png": squares({2: (20, 0)})}

    assert prompted(clip(tmp_path, masks).entry("davis")) == {1: 1, 2: 0}


def test_void_is_no_object_by_the_rules_of_davis(tmp_path: Path) -> None:
    masks = ENTERING | {"00000.png": squares({1: (0, 0), 255: (30, 30)})}

    assert prompted(clip(tmp_path, masks).entry("davis")) == {1: 0}


def test_a_sparse_annotation_marks_pictures_by_their_numbers(tmp_path: Path) -> None:
    masks = {f"{4 * k:05d}.png": labels for k, labels in enumerate(ENTERING.values())}
    pictures = {f"{k:05d}.png": squares({}) for k in range(2, 13)}
    write_masks(tmp_path / "truth/dog", {n: a for n, a in masks.items() if n != "00000.png"})
    write_pictures(tmp_path / "frames/dog", pictures)
    (found,) = find_clips(tmp_path / "truth", tmp_path / "frames")

    assert prompted(found.entry("sav")) == {1: 2, 2: 6, 3: 10}  # 00002.jpg is the first picture


def test_the_objects_of_a_folder_each_are_called_by_their_folders(tmp_path: Path) -> None:
    write_objects(tmp_path / "Annotations_6fps/sav_1", ENTERING, [1, 2])
    write_pictures(tmp_path / "JPEGImages_24fps/sav_1", ENTERING)
    (found,) = find_clips(tmp_path, tmp_path)

    entry = found.entry("sav")

    assert prompted(entry) == {0: 0, 1: 2}
    assert [each.label for each in entry.objects or ()] == ["000", "001"]


@pytest.mark.parametrize("home", ["JPEGImages", "JPEGImages/480p", "JPEGImages_24fps", "."])
def test_the_pictures_of_a_data_set_are_found_where_data_sets_have_them(
    tmp_path: Path, home: str
) -> None:
    write_pictures(tmp_path / home / "dog", ENTERING)

    assert find_frames(tmp_path) == {"dog": tmp_path / home / "dog"}


def test_real_sequences_become_a_manifest(shared: Path) -> None:
    root = shared / "realvideo"
    caps, car, duo = find_clips(root, root)

    assert prompted(caps.entry("sav")) == {1: 0, 2: 19}
    assert prompted(car.entry("davis")) == {1: 0}
    assert prompted(duo.entry("davis")) == {1: 6, 2: 0}
    with pytest.raises(EvaluationError, match=r"4 masks for 53 pictures.*--rules sav"):
        caps.entry("davis")


def test_what_does_not_fit_is_told_before_anything_is_started(tmp_path: Path) -> None:
    found = clip(tmp_path, ENTERING)
    write_mask(tmp_path / "Annotations/dog/00002.png", squares({1: (0, 0), 2: (20, 0)})[:, :32])
    with pytest.raises(EvaluationError, match=r"00002\.png: is 32 x 48, but the pictures"):
        found.entry("sav")

    write_masks(tmp_path / "Annotations/dog", ENTERING)
    (tmp_path / "JPEGImages/dog/00003.jpg").unlink()
    (found,) = find_clips(tmp_path, tmp_path)
    with pytest.raises(EvaluationError, match=r"00003\.png: .* has no such picture"):
        found.entry("sav")


def test_a_sequence_without_objects_cannot_be_tracked(tmp_path: Path) -> None:
    nothing = {name: squares({}) for name in ENTERING}

    for rules in ("davis", "sav"):
        with pytest.raises(EvaluationError, match="shows no object"):
            clip(tmp_path, nothing).entry(rules)


def test_what_could_not_be_scored_is_told_before_anything_is_started(tmp_path: Path) -> None:
    late = {name: squares({1: (0, 0)}) for name in ENTERING}
    late["00003.png"] = squares({1: (0, 0), 2: (20, 0)})
    write_objects(tmp_path / "Annotations/dog", late, [1, 2])
    write_pictures(tmp_path / "JPEGImages/dog", late)
    out = tmp_path / "out"

    with pytest.raises(EvaluationError, match=r"dog/001: .*cannot be scored: leave the object out"):
        track_and_score(tmp_path, tmp_path, "sav", str(out), load_config())

    two = dict(list(ENTERING.items())[:2])
    with pytest.raises(EvaluationError, match=r"has 2 masks; .* takes three"):
        clip(tmp_path / "short", two).entry("davis")
    assert not out.exists()


def test_an_object_s_folder_is_called_by_a_number(tmp_path: Path) -> None:
    write_masks(tmp_path / "Annotations/dog/collie", ENTERING)
    write_pictures(tmp_path / "JPEGImages/dog", ENTERING)
    (found,) = find_clips(tmp_path, tmp_path)

    with pytest.raises(EvaluationError, match="collie: an object's folder must be called"):
        found.entry("sav")
    with pytest.raises(EvaluationError, match="take --rules sav"):
        found.entry("davis")


def test_a_sequence_needs_its_pictures(tmp_path: Path) -> None:
    write_masks(tmp_path / "Annotations/dog", ENTERING)
    write_pictures(tmp_path / "JPEGImages/cat", ENTERING)

    with pytest.raises(EvaluationError, match=r"no pictures of 1 of 1 sequences \(first: 'dog'\)"):
        find_clips(tmp_path, tmp_path)


def test_pictures_that_are_none_are_told_before_anything_is_started(tmp_path: Path) -> None:
    clip(tmp_path, ENTERING)
    (tmp_path / "JPEGImages/dog/00001.jpg").write_bytes(b"")

    with pytest.raises(EvaluationError, match=r"00001\.jpg: cannot be read"):
        find_clips(tmp_path, tmp_path)


# Predictions


def masklet(object_id: int, masks: Mapping[int, Labels], score: float = 0.5, **other) -> Masklet:
    """What a run found of one object, on the frames from its prompt on."""
    found = Masklet.of_masks(
        {frame: mask > 0 for frame, mask in masks.items()},
        fps=1,
        task_id=object_id,
        video_id="dog",
        uri="dog",
        object_id=object_id,
        **other,
    )
    return replace(found, score=[score] * len(masks))


def truthful(ids: list[int], labels: bool = False) -> list[Masklet]:
    """Masklets that are wholly right."""
    found = []
    for i in ids:
        masks = {k: a * (a == i) for k, a in enumerate(ENTERING.values()) if (a == i).any()}
        found.append(masklet(i - labels, masks, label=f"{i - 1:03d}" if labels else None))
    return found


@pytest.mark.parametrize("rules", ["davis", "sav"])
def test_predictions_have_the_names_of_the_true_masks(tmp_path: Path, rules: Rules) -> None:
    masks = ENTERING | {"00000.png": squares({1: (0, 0), 2: (30, 0), 3: (36, 50)})}
    found = clip(tmp_path, masks)

    found.write_predictions(truthful([1, 2, 3]), tmp_path / "out/dog")

    assert {path.name for path in (tmp_path / "out/dog").iterdir()} == {*ENTERING}
    assert score(tmp_path, tmp_path / "out", rules).mean.jf == 1.0


def test_predictions_of_a_folder_each_lie_in_folders_of_the_same_names(tmp_path: Path) -> None:
    write_objects(tmp_path / "Annotations_6fps/dog", ENTERING, [1, 2])
    write_pictures(tmp_path / "JPEGImages_24fps/dog", ENTERING)
    (found,) = find_clips(tmp_path, tmp_path)

    found.write_predictions(truthful([1, 2], labels=True), tmp_path / "out/dog")

    assert sorted(p.name for p in (tmp_path / "out/dog").iterdir()) == ["000", "001"]
    assert score(tmp_path, tmp_path / "out", "sav").mean.jf == 1.0


def test_where_masks_overlap_the_better_scored_object_is_seen(tmp_path: Path) -> None:
    whole = np.ones((48, 64), np.uint8)
    half = whole.copy()
    half[:, 32:] = 0
    found = clip(tmp_path, ENTERING)
    masklets = [masklet(1, {0: whole}, score=0.9), masklet(2, {0: whole + 0}, score=0.3)]
    masklets[1:] = [*masklets[1:], masklet(3, {0: half}, score=0.95)]

    found.write_predictions(masklets, tmp_path / "out/dog")

    first = MaskFolder(tmp_path / "out/dog").read(0)
    assert (first[:, :32] == 3).all()
    assert (first[:, 32:] == 1).all()


def test_predictions_have_the_colours_of_davis(tmp_path: Path) -> None:
    clip(tmp_path, ENTERING).write_predictions(truthful([1, 2, 3]), tmp_path / "out/dog")

    with Image.open(tmp_path / "out/dog/00003.png") as picture:
        assert picture.mode == "P"
        colours = picture.convert("RGB")
    places = [(60, 40), (10, 0), (4, 20), (0, 36)]  # the background and the three objects
    seen = [colours.getpixel(place) for place in places]
    assert seen == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]


def test_what_is_written_for_a_bucket_is_in_the_bucket(s3_bucket: str) -> None:
    with stored(f"{s3_bucket}/out/predictions") as folder:
        write_masks(folder / "dog", ENTERING)

    fs, path = filesystem(f"{s3_bucket}/out/predictions/dog")
    assert [each.rpartition("/")[2] for each in list_files(fs, path)] == [*ENTERING]


# The whole way


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_tracking_gives_masks_that_score_the_same_a_second_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name, ids in (("cat", [1]), ("dog", [1, 2])):
        write_masks(data / "Annotations" / name, moving(ids, 5))
        write_pictures(data / "JPEGImages" / name, moving(ids, 5))
    config = load_config(settings=["cluster.threads=1", "cluster.actors=1"])

    summary, scores = track_and_score(data, data, "davis", str(tmp_path / "out"), config)

    assert summary.failed == 0
    assert scores
    assert [each.name for each in scores.objects] == ["cat/1", "dog/1", "dog/2"]
    again = score(data, tmp_path / "out/predictions", "davis")
    assert again.to_json() == scores.to_json()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_there_is_no_score_when_an_object_could_not_be_tracked(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    write_masks(tmp_path / "Annotations/dog", moving([1], 4))
    write_pictures(tmp_path / "JPEGImages/dog", moving([1], 4))
    broken = tmp_path / "JPEGImages/dog/00002.jpg"
    Image.fromarray(noise).save(broken)
    broken.write_bytes(broken.read_bytes()[:-200])  # its head is whole
    config = load_config(settings=["cluster.threads=1", "cluster.actors=1"])

    summary, scores = track_and_score(tmp_path, tmp_path, "davis", str(tmp_path / "out"), config)

    assert scores is None
    assert summary.failed == 1
    assert "00002.jpg" in summary.problems[0]
