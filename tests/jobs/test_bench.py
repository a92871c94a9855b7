import json
from pathlib import Path

import pytest

from jobs import options
from jobs.bench import bench
from sam2.speed import step_flops


def run(*arguments: str) -> int:
    return options.main(bench, arguments)


def test_figures_are_told_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"

    assert run("--objects", "2", "--videos", "2", "--rounds", "1", "--json", str(file)) == 0

    (row,) = json.loads(file.read_text())["rows"]
    assert (row["videos"], row["objects"]) == (2, 2)
    assert set(row["stage_ms"]) == {"encode", "look", "recall", "decode", "memorize"}
    assert 0 < sum(row["stage_ms"].values()) < 1e3 * row["seconds"] * 4
    assert "TFLOP/s" in capsys.readouterr().out


def test_an_unknown_precision_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--precision", "float16") == options.WRONG_INPUT

    assert "bfloat16, float32, exact, not 'float16'" in capsys.readouterr().err


def test_more_objects_and_videos_cost_as_many_operations_more() -> None:
    one, two = step_flops("nano"), step_flops("nano", objects=2)

    assert one < two < 2 * one
    assert step_flops("nano", videos=3, objects=2) == 3 * two
