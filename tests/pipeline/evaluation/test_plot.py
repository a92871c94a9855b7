"""The picture and the table of scores."""

from pathlib import Path

import pytest
from rich.console import Console

from pipeline.evaluation import Scores, score
from pipeline.evaluation.plot import plot
from tests.pipeline.evaluation.data import moving, write_masks


@pytest.fixture
def scores(tmp_path: Path) -> Scores:
    truth = write_masks(tmp_path / "truth/dog", moving([1, 2, 3], 6)).parent
    return score(truth, truth, "davis")


def test_every_object_has_a_panel(scores: Scores) -> None:
    one = plot(Scores(scores.objects[:1]))
    three = plot(scores)

    assert three.width == 2 * one.width
    assert three.height > 1.5 * one.height


def test_a_perfect_score_draws_at_the_top_of_the_panel(scores: Scores) -> None:
    picture = plot(Scores(scores.objects[:1])).convert("RGB")
    orange = [
        y
        for y in range(picture.height)
        for x in range(60, picture.width, 8)
        if picture.getpixel((x, y)) == (0xE6, 0x9F, 0x00)
    ]

    assert orange
    assert max(orange[5:]) < picture.height // 2


def test_an_object_with_one_frame_can_be_drawn_too(tmp_path: Path) -> None:
    truth = write_masks(tmp_path / "truth/dog", moving([1], 3)).parent

    assert plot(score(truth, truth, "sav")).height > 0


def test_the_table_has_a_row_per_object_and_the_mean(scores: Scores) -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(scores.table())

    text = captured.get()
    assert [name in text for name in ("dog/1", "dog/2", "dog/3", "mean of 3")] == [True] * 4
