"""The command `train`: what is wrong with its input is told before anything is started."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

from jobs.cli import app
from jobs.options import WRONG_INPUT, exit_code
from tests.sam2.tiny import weights

RECIPE = """
stages: [{steps: 1, frames: 1, clips: 1}]
sources: [{synthetic: easy}]
"""


def train(tmp_path: Path, recipe: str, *arguments: str) -> int:
    config = tmp_path / "train.yaml"
    config.write_text(recipe)
    out = tmp_path / "out"
    return exit_code(app, ["train", "--config", str(config), "--out", str(out), *arguments])


@pytest.mark.parametrize(
    ("recipe", "arguments", "complaint"),
    [
        ("stages: []", (), "stages"),
        (RECIPE + "colour: red", (), "unknown key"),
        (RECIPE, ("--set", "model=mega"), "no model 'mega'"),
        (RECIPE, ("--set", "checkpoint=nowhere.pt"), "nowhere.pt"),
        (RECIPE, ("--set", "learning_rate=-1"), "learning_rate"),
        ("sources: [{davis: nowhere}]\nstages: [{steps: 1, frames: 1, clips: 1}]", (), "nowhere"),
        ("sources: [{masklets: none}]\nstages: [{steps: 1, frames: 1, clips: 1}]", (), "none"),
    ],
)
def test_wrong_input_is_told_and_nothing_is_written(
    recipe: str,
    arguments: tuple[str, ...],
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = train(tmp_path, recipe, *arguments)

    assert code == WRONG_INPUT
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_of_another_size_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(weights(), tmp_path / "tiny.safetensors")

    code = train(tmp_path, RECIPE, "--set", f"checkpoint={tmp_path}/tiny.safetensors")

    assert code == WRONG_INPUT
    assert "is not a 'nano' checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
