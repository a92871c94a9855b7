"""Scores against those of the official tools, and the cases in which there is no score."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation import EvaluationError, Rules, Scores, score
from pipeline.evaluation.folders import find_masks
from tests.pipeline.evaluation.data import (
    Labels,
    moving,
    squares,
    write_mask,
    write_masks,
    write_objects,
)

SEQUENCES = ("car-shadow", "caps", "duo")
CASES = (
    *("identity", "dilate3", "erode4", "shift", "wave", "half", "holes", "empty_tail"),
    *("empty_all", "ends_wrong", "ghost", "early_ghost", "extra_id"),
)
CASES_OF_TWO = ("drop_last", "swap12", "merge")  # of sequences with two objects
CLOSE = 1e-6

ALL = [
    *product(SEQUENCES, CASES),
    *product(SEQUENCES[1:], CASES_OF_TWO),
]


class Official:
    """What the official tools say of damaged copies of real masks, and how to make the copies."""

    def __init__(self, shared: Path) -> None:
        self.truth = shared / "realvideo"
        self._maker = self._load(shared / "jf/make_preds.py")
        said = json.loads((shared / "jf/expected.json").read_text())
        self.results = {(each["sequence"], each["case"]): each for each in said["results"]}
        self.overall: Mapping[str, Any] = said["all_sequences"]

    @cache  # noqa: B019  # there is one of these, and it lives as long as the tests
    def masks(self, sequence: str) -> dict[str, Labels]:
        names, labels = self._maker.load(self.truth / sequence / "Annotations")
        return dict(zip(names, labels, strict=True))

    def damaged(self, sequence: str, case: str) -> dict[str, Labels]:
        masks = self.masks(sequence)
        labels = self._maker.predict(case, np.stack([*masks.values()]))
        expected = self.results[sequence, case]["sha256"]
        assert self._maker.digest(list(masks), labels) == expected
        return dict(zip(masks, labels, strict=True))

    def _load(self, path: Path) -> ModuleType:
        spec = spec_from_file_location("make_preds", path)
        assert spec
        assert spec.loader
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


@pytest.fixture(scope="module")
def official(shared: Path) -> Official:
    return Official(shared)


def assert_as_official(scores: Scores, said: Mapping[str, Any], unit: float) -> None:
    """Every object, every frame of it, and the mean."""
    ours = {each.object: each for each in scores.objects}
    assert ours.keys() == said["objects"].keys()
    for name, expected in said["objects"].items():
        frames = ours[name].frames.values()
        for letter in ("J", "F"):
            mine = [frame.to_json()[letter] for frame in frames]
            assert mine == pytest.approx(expected[f"per_frame_{letter}"], abs=CLOSE), name
        assert_close(ours[name].mean.to_json(), expected, unit)
    assert_close(scores.mean.to_json(), said["mean"], unit)


def assert_close(mine: Mapping[str, float], said: Mapping[str, float], unit: float) -> None:
    for name, value in mine.items():
        assert value == pytest.approx(said[name] / unit, abs=CLOSE), name


@pytest.mark.parametrize(("sequence", "case"), ALL)
def test_scores_of_one_png_per_frame_are_the_official_ones_by_both_rules(
    official: Official, tmp_path: Path, sequence: str, case: str
) -> None:
    said = official.results[sequence, case]
    write_masks(tmp_path / sequence, official.damaged(sequence, case))

    assert_as_official(score(official.truth, tmp_path, "sav", [sequence]), said["sav"], unit=100)
    if "objects" in said["davis2017"]:
        scores = score(official.truth, tmp_path, "davis", [sequence])
        assert_as_official(scores, said["davis2017"], unit=1)
    else:  # the official tool stops, or cannot begin
        with pytest.raises(EvaluationError, match=sequence):
            score(official.truth, tmp_path, "davis", [sequence])


@pytest.mark.parametrize(("sequence", "case"), ALL)
def test_scores_of_a_folder_per_object_are_the_official_ones(
    official: Official, tmp_path: Path, sequence: str, case: str
) -> None:
    said = official.results[sequence, case]["sav_folders"]
    ids = [int(name) + 1 for name in said["objects"]]
    truth = tmp_path / "truth/Annotations_6fps"
    write_objects(truth / sequence, official.masks(sequence), ids)
    write_objects(tmp_path / "out" / sequence, official.damaged(sequence, case), ids)

    scores = score(tmp_path / "truth", tmp_path / "out", "sav")

    assert_as_official(scores, said, unit=100)


@pytest.mark.parametrize("rules", ["davis", "sav"])
@pytest.mark.parametrize("case", ["wave", "ghost"])
def test_the_mean_over_all_sequences_is_the_official_one(
    official: Official, tmp_path: Path, rules: Rules, case: str
) -> None:
    said = official.overall[case]["davis2017" if rules == "davis" else "sav"]
    sequences = [s for s in SEQUENCES if rules == "sav" or s != "caps"]
    for sequence in sequences:
        write_masks(tmp_path / sequence, official.damaged(sequence, case))

    scores = score(official.truth, tmp_path, rules, sequences)

    assert len(scores.objects) == said["objects"]
    assert_close(scores.mean.to_json(), said, unit=1 if rules == "davis" else 100)


# Layouts


@pytest.mark.parametrize(
    "home", ["Annotations", "Annotations/480p", "Annotations_6fps", "480p", "."]
)
def test_the_masks_of_a_data_set_are_found_where_data_sets_have_them(
    tmp_path: Path, home: str
) -> None:
    write_masks(tmp_path / home / "dog", moving([1], 3))
    write_masks(tmp_path / home / "cat", moving([1], 3))

    assert list(find_masks(tmp_path)) == ["cat", "dog"]


def test_a_folder_per_sequence_may_have_its_masks_inside(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "dog/Annotations", moving([1], 3))
    (tmp_path / "dog/JPEGImages").mkdir()

    assert find_masks(tmp_path) == {"dog": folder}


def test_the_json_has_every_object_every_sequence_and_the_mean_over_objects(
    tmp_path: Path,
) -> None:
    truth, out = tmp_path / "truth", tmp_path / "out"
    write_masks(truth / "cat", moving([1], 4))
    write_masks(truth / "dog", moving([1, 2], 4))
    write_masks(out / "cat", moving([1], 4))
    write_masks(out / "dog", {name: a * 0 for name, a in moving([1], 4).items()})

    found = score(truth, out, "davis").to_json()

    assert list(found["objects"]) == ["cat/1", "dog/1", "dog/2"]
    assert found["sequences"]["cat"] == {"J": 1.0, "F": 1.0, "J&F": 1.0}
    assert found["sequences"]["dog"] == {"J": 0.0, "F": 0.0, "J&F": 0.0}
    assert found["mean"]["J"] == pytest.approx(1 / 3)


# Where there is no score


Break = Callable[[Path, Path], object]  # what is done to good truth and predictions

DAVIS_FAULTS: dict[str, Break] = {
    "has no mask for frame 2": lambda truth, out: (out / "00002.png").unlink(),
    "is 32 x 48, but the true mask is 64 x 48": lambda truth, out: write_mask(
        out / "00002.png", squares({1: (0, 0)})[:, :32]
    ),
    "has an object 3, but the first true mask has none above 2": lambda truth, out: write_mask(
        out / "00002.png", squares({1: (0, 0), 3: (20, 20)})
    ),
    "void in true masks only": lambda truth, out: write_mask(
        out / "00002.png", squares({255: (0, 0)})
    ),
    "has no mask for frame 2 and 0 others": lambda truth, out: (truth / "00002.png").unlink(),
    "DAVIS 2016": lambda truth, out: write_mask(truth / "00000.png", squares({255: (0, 0)})),
    "shows no object": lambda truth, out: write_mask(truth / "00000.png", squares({})),
    "cannot be read as a PNG": lambda truth, out: (out / "00002.png").write_bytes(b"\x89PNG"),
    "takes three": lambda truth, out: [(truth / f"0000{k}.png").unlink() for k in (2, 3, 4)],
    "must end in the number": lambda truth, out: write_mask(out / "mask.png", squares({})),
    r"dog0002\.png: its number is that of 00002\.png": lambda truth, out: write_mask(
        out / "dog0002.png", squares({})
    ),
}


@pytest.mark.parametrize("problem", DAVIS_FAULTS)
def test_a_fault_is_named_where_there_can_be_no_score(tmp_path: Path, problem: str) -> None:
    truth = write_masks(tmp_path / "truth/dog", moving([1, 2], 5))
    out = write_masks(tmp_path / "out/dog", moving([1, 2], 5))
    DAVIS_FAULTS[problem](truth, out)

    with pytest.raises(EvaluationError, match=problem):
        score(truth.parent, out.parent, "davis")


def test_a_colour_picture_is_no_mask(tmp_path: Path) -> None:
    write_masks(tmp_path / "truth/dog", moving([1], 4))
    out = write_masks(tmp_path / "out/dog", moving([1], 4))
    Image.new("RGB", (64, 48)).save(out / "00001.png")

    with pytest.raises(EvaluationError, match=r"00001\.png: is a PNG of mode RGB"):
        score(tmp_path / "truth", tmp_path / "out", "davis")


def test_the_rules_of_davis_do_not_know_a_folder_per_object(tmp_path: Path) -> None:
    write_objects(tmp_path / "truth/dog", moving([1], 4), [1])

    with pytest.raises(EvaluationError, match="take --rules sav"):
        score(tmp_path / "truth", tmp_path / "truth", "davis")


def test_truth_and_predictions_must_have_the_same_layout(tmp_path: Path) -> None:
    write_masks(tmp_path / "flat/dog", moving([1], 4))
    write_objects(tmp_path / "deep/dog", moving([1], 4), [1])

    with pytest.raises(EvaluationError, match="folder per object"):
        score(tmp_path / "flat", tmp_path / "deep", "sav")
    with pytest.raises(EvaluationError, match="no such folder, but the object is asked"):
        score(tmp_path / "deep", tmp_path / "flat", "sav")


def test_a_mask_in_an_object_s_folder_has_one_value(tmp_path: Path) -> None:
    write_objects(tmp_path / "truth/dog", moving([1], 4), [1])
    out = write_objects(tmp_path / "out/dog", moving([1], 4), [1])
    write_mask(out / "000/00001.png", squares({1: (0, 0), 2: (20, 20)}))

    with pytest.raises(EvaluationError, match=r"has the values \[1, 2\]"):
        score(tmp_path / "truth", tmp_path / "out", "sav")


def test_an_object_that_never_shows_cannot_be_scored(tmp_path: Path) -> None:
    folder = write_objects(tmp_path / "truth/dog", moving([1], 4), [1, 2]).parent

    with pytest.raises(EvaluationError, match="dog/001: has no mask with the object"):
        score(folder, folder, "sav")


def test_objects_of_a_folder_each_may_overlap(tmp_path: Path) -> None:
    folder = write_objects(tmp_path / "truth/dog", moving([1], 4), [1]).parent
    write_masks(folder / "dog/007", moving([1], 4))

    assert score(folder, folder, "sav").mean.jf == 1.0


def test_a_sequence_without_predictions_is_an_error(tmp_path: Path) -> None:
    write_masks(tmp_path / "truth/cat", moving([1], 4))
    write_masks(tmp_path / "truth/dog", moving([1], 4))
    write_masks(tmp_path / "out/cat", moving([1], 4))

    with pytest.raises(EvaluationError, match=r"1 of 2 sequences \(first: 'dog'\)"):
        score(tmp_path / "truth", tmp_path / "out", "davis")
    assert len(score(tmp_path / "truth", tmp_path / "out", "davis", ["cat"]).objects) == 1


def test_a_sequence_asked_for_must_be_there(tmp_path: Path) -> None:
    write_masks(tmp_path / "cat", moving([1], 4))

    with pytest.raises(EvaluationError, match="has no sequence 'cow'"):
        score(tmp_path, tmp_path, "davis", ["cat", "cow"])


def test_a_folder_of_masks_itself_is_not_a_folder_of_sequences(tmp_path: Path) -> None:
    write_masks(tmp_path, moving([1], 4))

    with pytest.raises(EvaluationError, match="give the folder that it is in"):
        score(tmp_path, tmp_path, "davis")
