"""The commands `status` and `retry` as a person meets them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import options
from jobs.retry import retry
from jobs.status import status
from tests.pipeline.runs import row, write_rows, write_run, write_tasks


def test_a_finished_run_is_told_with_its_troubles_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, {"a": (row(11), row(12, "failed", "there is no such file"))}, 11, 12)

    assert options.main(status, [str(tmp_path)]) == 1

    told = " ".join(capsys.readouterr().out.split())
    assert "finished at" in told
    assert "2 of 2 objects done (1 failed, 1 ok)" in told
    assert "VideoError" in told
    assert f"masklet retry {tmp_path}" in told


def test_a_run_that_nobody_works_on_says_how_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, {"a": (row(11),)}, 11, 12, 21, finished=False)

    assert options.main(status, [str(tmp_path)]) == 0

    told = capsys.readouterr().out
    assert "the same command goes on with it" in told
    assert "1 of 3 objects done (1 ok), 0 under way, 2 waiting" in told


def test_a_program_reads_the_same_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, {"a": (row(11), row(12, "crashed", "died"))}, 11, 12)

    assert options.main(status, [str(tmp_path), "--json"]) == 1

    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "finished"
    assert told["done"] == {"ok": 1, "crashed": 1}
    assert told["reasons"][0]["objects"] == 1
    assert (told["rows"], told["tasks"], told["object_frames"]) == (2, 2, 10)


@pytest.mark.parametrize("command", [status, retry])
def test_a_folder_without_a_run_is_wrong_input(
    command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert options.main(command, [str(tmp_path)]) == 2

    assert "holds no run" in capsys.readouterr().err


def test_a_retry_ends_like_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, {"a": (row(11), row(12, "failed", "gone"))}, 11, 12)
    write_tasks(tmp_path / "retry", 12)
    write_rows(tmp_path / "retry", "x", row(12))

    assert options.main(retry, [str(tmp_path)]) == 0
    assert "2 ok; 20 object-frames" in capsys.readouterr().out
    assert options.main(status, [str(tmp_path)]) == 0
