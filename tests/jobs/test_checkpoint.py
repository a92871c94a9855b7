"""The command `checkpoint` as a person meets it."""

from pathlib import Path

import pytest

from jobs.checkpoint import main
from pipeline.weights import open_model
from sam2.checkpoint import CheckpointError
from sam2.downloads import PUBLISHED


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASKLET_CACHE", str(tmp_path))
    return tmp_path


def stored(cache: Path, model: str) -> Path:
    """A file as large as the published one, but without what is in it."""
    path = cache / PUBLISHED[model].file
    with path.open("wb") as file:
        file.truncate(PUBLISHED[model].size)
    return path


def test_the_list_names_every_published_model(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list"]) == 0

    shown = capsys.readouterr().out
    assert all(model in shown for model in PUBLISHED)
    assert str(cache) in shown


def test_the_list_tells_what_is_here(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    before = capsys.readouterr().out.count("yes")
    stored(cache, "sam2-large")
    main(["list"])

    assert (before, capsys.readouterr().out.count("yes")) == (0, 1)


def test_what_is_here_is_not_fetched_again(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(cache, "sam2.1-tiny")

    assert main(["download", "sam2.1-tiny"]) == 0
    assert str(path) in capsys.readouterr().out


@pytest.mark.usefixtures("cache")
def test_an_unpublished_name_is_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "sam3"]) == 2
    assert "There is: sam2-tiny, " in capsys.readouterr().err


@pytest.mark.usefixtures("cache")
def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) != 0
    captured = capsys.readouterr()
    assert "download" in captured.out + captured.err


# A published model without --checkpoint


def test_a_published_model_finds_its_weights_in_the_cache(cache: Path) -> None:
    path = stored(cache, "sam2.1-tiny")  # not even a checkpoint, so the error names what was read

    with pytest.raises(CheckpointError, match=str(path)):
        open_model("sam2.1-tiny", None)


@pytest.mark.usefixtures("cache")
def test_a_published_model_without_weights_says_how_to_fetch_them() -> None:
    with pytest.raises(CheckpointError, match=r"masklet checkpoint download sam2\.1-tiny"):
        open_model("sam2.1-tiny", None)
