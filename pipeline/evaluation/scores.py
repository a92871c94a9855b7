"""Scores of a whole folder of predictions: as a value, as JSON and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.evaluation.folders import EvaluationError, find_masks
from pipeline.evaluation.metric import Score
from pipeline.evaluation.rules import ObjectScores, Rules, mean_of, score_sequence


@dataclass(frozen=True, slots=True)
class Scores:
    """How well predictions agree with the truth: every object, and the means."""

    objects: Sequence[ObjectScores]  # at least one, sequence by sequence

    @property
    def sequences(self) -> Mapping[str, Score]:
        """The mean over the objects of each sequence."""
        return {
            sequence: mean_of(each.mean for each in objects)
            for sequence, objects in groupby(self.objects, key=lambda each: each.sequence)
        }

    @property
    def mean(self) -> Score:
        """Over all objects: a sequence with three weighs three times one with one."""
        return mean_of(each.mean for each in self.objects)

    def to_json(self) -> dict[str, Any]:
        """The fractions, by object, by sequence and overall."""
        return {
            "objects": {each.name: each.mean.to_json() for each in self.objects},
            "sequences": {name: score.to_json() for name, score in self.sequences.items()},
            "mean": self.mean.to_json(),
        }

    def table(self) -> Table:
        """One row per object, and the mean below."""
        table = Table("object", show_footer=True)
        for title in ("frames", "J&F", "J", "F"):
            table.add_column(title, justify="right")
        for each in self.objects:
            table.add_row(each.name, str(len(each.frames)), *_figures(each.mean))
        footer = (f"mean of {len(self.objects)}", "", *_figures(self.mean))
        for column, text in zip(table.columns, footer, strict=True):
            column.footer = text
        return table


def _figures(score: Score) -> tuple[str, str, str]:
    return f"{score.jf:.4f}", f"{score.j:.4f}", f"{score.f:.4f}"


def score(
    truth: Path, predictions: Path, rules: Rules, sequences: Sequence[str] | None = None
) -> Scores:
    """J and F of all objects of a data set, or of some of its sequences; raises EvaluationError.

    A sequence without predictions is an error; predictions without truth are not looked at.
    """
    asked, given = chosen(find_masks(truth), sequences, truth), find_masks(predictions)
    if missing := [name for name in asked if name not in given]:
        raise EvaluationError(
            f"{predictions}: has no folder for {len(missing)} of {len(asked)} sequences (first: "
            f"'{missing[0]}')"
        )
    objects = [
        scored
        for name, folder in asked.items()
        for scored in score_sequence(name, folder, given[name], rules)
    ]
    if not objects:
        raise EvaluationError(f"{truth}: shows no object on any frame that counts")
    return Scores(objects)


def chosen(
    found: Mapping[str, Path], sequences: Sequence[str] | None, root: Path
) -> Mapping[str, Path]:
    """The sequences asked for, or all of them."""
    if sequences is None:
        return found
    if missing := [name for name in sequences if name not in found]:
        raise EvaluationError(
            f"{root}: has no sequence '{missing[0]}' (nor {len(missing) - 1} others asked for)"
        )
    return {name: found[name] for name in sequences}
