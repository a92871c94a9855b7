"""The two sets of rules: which frames and which objects of a sequence count.

DAVIS 2017 (semi-supervised) wants a mask on every frame and counts all frames for every object.
SA-V looks at the annotated frames alone, and counts an object from where it first shows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.evaluation.folders import (
    VOID,
    EvaluationError,
    Labels,
    MaskFolder,
    ids_in,
    object_folders,
)
from pipeline.evaluation.metric import Score, compare

Rules = Literal["davis", "sav"]


@dataclass(frozen=True, slots=True)
class ObjectScores:
    """One object of a sequence: its score on each frame that counts."""

    sequence: str
    object: str  # its id, or the name of its folder
    frames: Mapping[int, Score] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.sequence}/{self.object}"

    @property
    def mean(self) -> Score:
        """The plain mean over its frames."""
        return mean_of(self.frames.values())


def mean_of(scores: Iterable[Score]) -> Score:
    """The plain mean of some scores, at least one."""
    j, f = zip(*((score.j, score.f) for score in scores), strict=True)
    return Score(float(np.mean(j)), float(np.mean(f)))


def score_sequence(name: str, truth: Path, predicted: Path, rules: Rules) -> list[ObjectScores]:
    """The scores of the objects of one sequence; raises EvaluationError where there can be none."""
    if rules == "davis":
        refuse_folders(truth)
        refuse_folders(predicted)
        return _score_davis(name, MaskFolder(truth), MaskFolder(predicted))
    folders, predicted_folders = object_folders(truth), object_folders(predicted)
    if not folders and not predicted_folders:
        return _score_sav(name, MaskFolder(truth), MaskFolder(predicted))
    if not folders:
        raise EvaluationError(f"{predicted}: has a folder per object, but {truth} has not")
    return [
        _score_folder(name, object_name, folder, MaskFolder(predicted / object_name, binary=True))
        for object_name, folder in folders.items()
    ]


def refuse_unscorable(truth: Path, rules: Rules) -> None:
    """Raises EvaluationError where true masks allow no score, whatever is predicted."""
    if rules == "davis":
        masks = MaskFolder(truth)
        davis_objects(masks)
        _refuse_gaps(masks)
        _counted(masks)
    elif folders := object_folders(truth):
        for folder in folders.values():
            _refuse_unseen(folder)
    else:
        _counted(MaskFolder(truth))


def refuse_folders(sequence: Path) -> None:
    """Raises EvaluationError for the layout that SA-V alone knows."""
    if object_folders(sequence):
        raise EvaluationError(
            f"{sequence}: has a folder per object, which the DAVIS rules do not know: take "
            "--rules sav, or write one indexed PNG per frame"
        )


def davis_objects(truth: MaskFolder) -> range:
    """The ids that the DAVIS rules score: all up to the highest on the first frame."""
    first = next(iter(truth.files), None)
    if first is None:
        raise EvaluationError(f"{truth.path}: has no masks (PNG) in it")
    found = ids_in(truth.read(first))
    if found == [VOID]:
        raise EvaluationError(
            f"{truth.files[first]}: marks nothing but 255, which is void: masks of DAVIS 2016 must "
            "be made 0 and 1 first"
        )
    if not found:
        raise EvaluationError(f"{truth.files[first]}: shows no object, so there is none to score")
    return range(1, max(i for i in found if i != VOID) + 1)


def _score_davis(name: str, truth: MaskFolder, predicted: MaskFolder) -> list[ObjectScores]:
    objects = davis_objects(truth)
    scores: dict[int, dict[int, Score]] = {i: {} for i in objects}
    _refuse_gaps(truth)
    for frame in _counted(truth):
        true = truth.read(frame)
        true[true == VOID] = 0
        guess = predicted.read_like(true, frame)
        _refuse_unknown(guess, predicted.files[frame], objects)
        for i in objects:
            scores[i][frame] = compare(true == i, guess == i)
    return [ObjectScores(name, str(i), scores[i]) for i in objects]


def _refuse_gaps(truth: MaskFolder) -> None:
    frames = list(truth.files)
    if missing := sorted({*range(frames[0], frames[-1])} - {*frames}):
        raise EvaluationError(
            f"{truth.path}: has no mask for frame {missing[0]} and {len(missing) - 1} others, but "
            "the DAVIS rules need one for every frame: take --rules sav"
        )


def _refuse_unknown(guess: Labels, path: Path, objects: range) -> None:
    """The official tool stops here too: such a prediction is no answer to the question."""
    if (highest := int(guess.max())) not in objects and highest:
        raise EvaluationError(
            f"{path}: has an object {highest}, but the first true mask has none above {objects[-1]}"
            + (" (255 is void in true masks only)" if highest == VOID else "")
        )


def _score_sav(name: str, truth: MaskFolder, predicted: MaskFolder) -> list[ObjectScores]:
    scores: dict[int, dict[int, Score]] = {}
    asked: set[int] = set()
    for frame in _counted(truth):
        true = truth.read(frame)
        guess = predicted.read_like(true, frame)
        asked.update(ids_in(true))
        for i in {*scores, *ids_in(true), *ids_in(guess)}:  # from where it shows in either, on
            scores.setdefault(i, {})[frame] = compare(true == i, guess == i)
    return [ObjectScores(name, str(i), scores[i]) for i in sorted(asked)]


def _score_folder(
    name: str, object_name: str, truth: MaskFolder, predicted: MaskFolder
) -> ObjectScores:
    if not predicted.path.is_dir():
        raise EvaluationError(f"{predicted.path}: there is no such folder, but the object is asked")
    _refuse_unseen(truth)
    (found,) = _score_sav(name, truth, predicted)
    return ObjectScores(name, object_name, found.frames)


def _refuse_unseen(truth: MaskFolder) -> None:
    if not any(ids_in(truth.read(frame)) for frame in _counted(truth)):
        raise EvaluationError(
            f"{truth.path}: has no mask with the object in it on any frame that counts, so it "
            "cannot be scored: leave the object out"
        )


def _counted(truth: MaskFolder) -> list[int]:
    """The frames that count: by both rules not the first and not the last."""
    frames = list(truth.files)
    if len(frames) < 3:
        raise EvaluationError(
            f"{truth.path}: has {len(frames)} masks; the first and the last do not count, so it "
            "takes three"
        )
    return frames[1:-1]
