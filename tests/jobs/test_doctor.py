"""The doctor as a person meets it."""

from pathlib import Path

import pytest

from jobs import options
from jobs.doctor import doctor


def test_the_exit_code_tells_that_a_run_would_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert options.main(doctor, ["--out", str(tmp_path / "file" / "out")]) == 1
    assert "NO  storage" in capsys.readouterr().out


def test_a_setting_that_is_wrong_is_told_before_anything_is_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert options.main(doctor, ["--set", "actors=2"]) == 2
    assert capsys.readouterr().out == ""
