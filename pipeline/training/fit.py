"""The loop of one training worker: draw clips, take a step, write down how it went."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch

from pipeline.training.config import Source, TrainConfig
from pipeline.training.exam import examine, practice_clips
from pipeline.training.labelled import SourceError
from pipeline.training.sources import Mixture
from sam2.training.lessons import draw_lesson, gather
from sam2.training.trainer import StepReport, Trainer
from sam2.training.walk import Batch, Lesson

NOTE_EVERY = 20  # steps whose mean is one point of the curves
_MOST_DRAWS = 100  # of clips for one step

Note = dict[str, Any]  # one line of the curves


class Curriculum:
    """What each step learns from. A step's batch depends on seed, step and worker alone."""

    def __init__(self, config: TrainConfig, size: int, rank: int = 0, device: str = "cpu") -> None:
        self.config, self.size, self.rank, self.device = config, size, rank, device
        self.mixtures: dict[tuple[Source, ...], Mixture] = {}

    def batch(self, step: int) -> tuple[Batch, Lesson, torch.Generator]:
        """The clips of a step, how to prompt them, and the chance that places the prompts."""
        stage = self.config.stage_at(step)
        mixture = self._mixture(stage.sources or self.config.sources)
        rng = np.random.default_rng([self.config.seed, step, self.rank])
        size = stage.size or self.size
        for _ in range(_MOST_DRAWS):
            clips = [mixture.draw(rng, stage.frames, size, self.device) for _ in range(stage.clips)]
            if batch := gather(clips, stage.objects, rng):
                break
        else:
            raise SourceError(
                f"{', '.join(clip.name for clip in clips)}: in {_MOST_DRAWS} draws like these no "
                f"object was to be seen on a first frame, at {size} pixels: leave out what is too "
                "small or nearly always hidden"
            )
        lesson = replace(
            draw_lesson(rng, stage.frames, stage.prompts, stage.corrected),
            balanced=stage.balanced,
            pixels=stage.pixels,
            free_running=stage.free_running,
        )
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return batch, lesson, generator

    def batches(self, first: int) -> Iterator[tuple[Batch, Lesson, torch.Generator]]:
        """The batches from a step on, each drawn while the one before is learnt from."""
        with ThreadPoolExecutor(1) as drawing:
            coming = drawing.submit(self.batch, first)
            for step in range(first, self.config.steps):
                batch = coming.result()
                if step + 1 < self.config.steps:
                    coming = drawing.submit(self.batch, step + 1)
                yield batch

    def open_sources(self) -> None:
        """Opens the clips of every stage, so that what is wrong with them is told at once."""
        for stage in self.config.stages:
            self._mixture(stage.sources or self.config.sources)

    def _mixture(self, sources: Sequence[Source]) -> Mixture:
        key = tuple(sources)
        if key not in self.mixtures:
            users = (s for s in self.config.stages if (s.sources or self.config.sources) == key)
            self.mixtures[key] = Mixture(key, longest=max(stage.frames for stage in users))
        return self.mixtures[key]


class Fit:
    """A training under way on one worker: its trainer, and the curves so far."""

    def __init__(self, config: TrainConfig, trainer: Trainer, curriculum: Curriculum) -> None:
        self.config, self.trainer, self.curriculum = config, trainer, curriculum
        self.curves: list[Note] = []
        self.device = next(trainer.model.parameters()).device

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on from here."""
        return {"trainer": self.trainer.state(), "curves": self.curves}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to where `state` was taken."""
        self.trainer.restore(state["trainer"])
        self.curves = state["curves"]

    def run(self, save: Callable[["Fit"], None], tell: Callable[[Note], None]) -> None:
        """Takes all steps that are left; raises TrainingError at a loss that is no number.

        Every so many steps, and after the last, `save` is called; `tell` hears each new note.
        """
        reports: list[StepReport] = []
        started = time.perf_counter()
        for batch, lesson, generator in self.curriculum.batches(self.trainer.step_count):
            rate = self.config.stage_at(self.trainer.step_count).rate
            reports.append(self.trainer.step(batch.to(self.device), lesson, generator, rate))
            step = self.trainer.step_count
            if step % NOTE_EVERY == 0 or step == self.config.steps:
                seconds = (time.perf_counter() - started) / len(reports)
                self._note(self._summary(reports, seconds), tell)
                reports, started = [], time.perf_counter()
            if step % self.config.validate_every == 0 or step == self.config.steps:
                self._note(self._validation(), tell)
                started = time.perf_counter()
            if step % self.config.save_every == 0 or step == self.config.steps:
                save(self)

    def _note(self, note: Note, tell: Callable[[Note], None]) -> None:
        self.curves.append(note)
        tell(note)

    def _summary(self, reports: Sequence[StepReport], seconds: float) -> Note:
        """Means over some steps."""
        rows = [asdict(report) for report in reports]
        means = {name: round(fmean(row[name] for row in rows), 5) for name in rows[0]}
        return {"step": self.trainer.step_count, "seconds": round(seconds, 3), **means}

    def _validation(self) -> Note:
        """Mean J&F of the averaged weights on clips like those of training, by first prompt."""
        size = self.trainer.model.config.image_size
        clips = practice_clips(self.config.validation_clips, size)
        scores = {
            kind: round(fmean(mark.jf for mark in examine(self.trainer.average, clips, kind)), 4)
            for kind in ("mask", "box", "click")
        }
        return {"step": self.trainer.step_count, "jf": scores}
