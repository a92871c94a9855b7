from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples import automatic_masks, image


def test_the_image_script_paints_three_readings_of_a_click(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "image.png"

    assert image.main(["--out", str(out)]) == 0

    assert "3 masks" in capsys.readouterr().out
    assert Image.open(out).size == (3 * 640, 384)


def test_the_automatic_script_finds_things_in_the_demo_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "masks.png"

    assert automatic_masks.main(["--out", str(out)]) == 0

    assert capsys.readouterr().out == f"{out}: 3 masks\n"


def test_the_automatic_script_takes_any_picture(tmp_path: Path) -> None:
    picture, out = tmp_path / "grey.png", tmp_path / "masks.png"
    Image.fromarray(np.full((40, 60), 90, np.uint8)).save(picture)

    arguments = ["--picture", str(picture), "--points-per-side", "2", "--out", str(out)]
    assert automatic_masks.main([*arguments, "--stability-score-thresh", "0"]) == 0

    assert Image.open(out).size == (60, 40)
