"""Tracks a data set's objects from the first mask of each, and scores what comes out.

The tracking is a job like any other. Its masks are written as PNGs in the layout of the truth, so
that the official tools can read them too.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from pyarrow.fs import LocalFileSystem, copy_files

from pipeline import storage
from pipeline.config import RunConfig
from pipeline.evaluation.folders import (
    EvaluationError,
    Labels,
    MaskFolder,
    find_frames,
    find_masks,
    ids_in,
    object_folders,
)
from pipeline.evaluation.metric import Mask
from pipeline.evaluation.rules import Rules, davis_objects, refuse_folders, refuse_unscorable
from pipeline.evaluation.scores import Scores, chosen, score
from pipeline.frame_folder import FrameFolder
from pipeline.manifest import ObjectPrompts, Prompt, PromptMask, VideoEntry
from pipeline.masklets import Masklet, read_masklets
from pipeline.overlay import render_sheet
from pipeline.rle import encode_mask
from pipeline.run import Summary, run
from pipeline.video import VideoError


def track_and_score(
    truth: Path,
    frames: Path,
    rules: Rules,
    out: str,
    config: RunConfig,
    sequences: Sequence[str] | None = None,
) -> tuple[Summary, Scores | None]:
    """Runs the job under `out`, writes out/predictions and scores them, unless a task failed.

    A contact sheet of each sequence with its masks goes to out/sheets.
    Raises EvaluationError before anything is started if truth and frames do not fit.
    """
    clips = find_clips(truth, frames, sequences)
    summary = run([clip.entry(rules) for clip in clips], out, config)
    if summary.failed:
        return summary, None
    masklets: dict[str, list[Masklet]] = defaultdict(list)
    for masklet in read_masklets(out):
        masklets[masklet.video_id].append(masklet)
    with stored(storage.join(out, "sheets")) as sheets:
        sheets.mkdir(parents=True, exist_ok=True)
        for clip in clips:
            render_sheet(clip.pictures.path, masklets[clip.name], sheets / f"{clip.name}.png")
    with stored(storage.join(out, "predictions")) as folder:
        for clip in clips:
            clip.write_predictions(masklets[clip.name], folder / clip.name)
        return summary, score(truth, folder, rules, [clip.name for clip in clips])


def find_clips(
    truth: Path, frames: Path, sequences: Sequence[str] | None = None
) -> "list[AnnotatedClip]":
    """The sequences of a data set, or some of them, with their pictures; raises EvaluationError."""
    asked, pictures = chosen(find_masks(truth), sequences, truth), find_frames(frames)
    if missing := [name for name in asked if name not in pictures]:
        raise EvaluationError(
            f"{frames}: has no pictures of {len(missing)} of {len(asked)} sequences (first: "
            f"'{missing[0]}')"
        )
    try:
        return [
            AnnotatedClip(name, FrameFolder(pictures[name]), masks) for name, masks in asked.items()
        ]
    except VideoError as error:
        raise EvaluationError(str(error)) from error


@dataclass(frozen=True, slots=True)
class AnnotatedClip:
    """One sequence of a data set: its pictures, and the folder of its true masks."""

    name: str
    pictures: FrameFolder
    truth: Path

    def entry(self, rules: Rules) -> VideoEntry:
        """Its line of the manifest: each object prompted where it first appears.

        Raises EvaluationError where there would be no score after all that work.
        """
        objects = tuple(self._davis_objects() if rules == "davis" else self._sav_objects())
        if not objects:
            raise EvaluationError(f"{self.truth}: shows no object, so there is none to track")
        refuse_unscorable(self.truth, rules)
        uri = str(self.pictures.path.absolute())
        return VideoEntry(video_id=self.name, uri=uri, objects=objects)

    def write_predictions(self, masklets: Sequence[Masklet], folder: Path) -> None:
        """Writes a PNG for each true one, under its name."""
        if not (folders := object_folders(self.truth)):
            masks = MaskFolder(self.truth)
            for frame, path in masks.files.items():
                _write(folder / path.name, self._merged(masklets, self._index(masks, frame)))
            return
        for masklet in masklets:
            masks = folders[str(masklet.label)]
            for frame, path in masks.files.items():
                mask = self._mask(masklet, self._index(masks, frame))
                _write(folder / masks.path.name / path.name, mask.astype(np.uint8))

    def _davis_objects(self) -> Iterator[ObjectPrompts]:
        refuse_folders(self.truth)
        masks = MaskFolder(self.truth)
        if list(masks.files) != self.pictures.numbers:
            raise EvaluationError(
                f"{self.truth}: has {len(masks.files)} masks for {len(self.pictures.numbers)} "
                "pictures, but the DAVIS rules need one for each: take --rules sav"
            )
        scored = davis_objects(masks)
        return (self._prompted(masks, f) for f in _first_masks(masks) if f.object_id in scored)

    def _sav_objects(self) -> Iterator[ObjectPrompts]:
        for name, folder in object_folders(self.truth).items():
            for first in islice(_first_masks(folder), 1):
                yield self._prompted(folder, replace(first, object_id=_number(folder)), name)
        if not object_folders(self.truth):
            masks = MaskFolder(self.truth)
            yield from (self._prompted(masks, first) for first in _first_masks(masks))

    def _prompted(
        self, masks: MaskFolder, first: "_FirstMask", label: str | None = None
    ) -> ObjectPrompts:
        height, width = first.mask.shape
        if (width, height) != (self.pictures.info.width, self.pictures.info.height):
            raise EvaluationError(
                f"{masks.files[first.frame]}: is {width} x {height}, but the pictures in "
                f"{self.pictures.path} are {self.pictures.info.width} x {self.pictures.info.height}"
            )
        mask = PromptMask(size=(height, width), counts=encode_mask(first.mask))
        prompt = Prompt(frame=self._index(masks, first.frame), mask=mask)
        return ObjectPrompts(object_id=first.object_id, label=label, prompts=(prompt,))

    def _index(self, masks: MaskFolder, frame: int) -> int:
        """The place among the pictures of the one with a mask's number."""
        if frame not in self.pictures.numbers:
            raise EvaluationError(f"{masks.files[frame]}: {self.pictures.path} has no such picture")
        return self.pictures.numbers.index(frame)

    def _merged(self, masklets: Sequence[Masklet], index: int) -> Labels:
        """One frame's masks in one picture; where they overlap, the best scored one is seen."""
        labels = np.zeros((self.pictures.info.height, self.pictures.info.width), np.uint8)
        here = [m for m in masklets if index in m.frame_index]
        for masklet in sorted(here, key=lambda m: m.score[m.frame_index.index(index)]):
            labels[masklet.mask(index)] = masklet.object_id
        return labels

    def _mask(self, masklet: Masklet, index: int) -> Mask:
        """A masklet's mask, empty on frames before its prompt."""
        if index in masklet.frame_index:
            return masklet.mask(index)
        return np.zeros((self.pictures.info.height, self.pictures.info.width), np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class _FirstMask:
    """An object where it first shows."""

    object_id: int
    frame: int
    mask: Mask


def _first_masks(masks: MaskFolder) -> Iterator[_FirstMask]:
    """Every object of a folder, in the order in which they show."""
    seen: set[int] = set()
    for frame in masks.files:
        labels = masks.read(frame)
        for i in ids_in(labels):
            if i not in seen:
                yield _FirstMask(i, frame, labels == i)
        seen.update(ids_in(labels))


def _number(folder: MaskFolder) -> int:
    if not folder.path.name.isdecimal():
        raise EvaluationError(f"{folder.path}: an object's folder must be called by its number")
    return int(folder.path.name)


@contextmanager
def stored(uri: str) -> Iterator[Path]:
    """A local folder to write in, whose files are under `uri` in the end."""
    fs, path = storage.filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        yield Path(path)
        return
    with TemporaryDirectory(prefix="masklet-") as folder:
        yield Path(folder)
        copy_files(folder, path, source_filesystem=LocalFileSystem(), destination_filesystem=fs)


def _write(path: Path, labels: Labels) -> None:
    picture = Image.fromarray(labels)
    picture.putpalette(_palette())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _palette() -> list[int]:
    """The colours of DAVIS: the bits of an id, dealt out in turn to red, green and blue."""
    ids = np.arange(256)
    colours = [
        sum((ids >> 3 * bit + channel & 1) << 7 - bit for bit in range(8)) for channel in range(3)
    ]
    return [int(value) for value in np.stack(colours, axis=1).ravel()]
