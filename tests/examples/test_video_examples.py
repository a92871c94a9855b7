"""The video scripts of examples/ run as they are, on a few frames of the clip beside them."""

from pathlib import Path

import av
import pytest

from examples import save_and_resume, streaming, video

SHORT = ["--frames", "6"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_two_objects_are_followed_and_drawn(tmp_path: Path) -> None:
    assert video.main(SHORT) == 0

    with av.open(str(tmp_path / "video.mp4")) as drawn:
        assert sum(1 for _ in drawn.decode(video=0)) == 6


def test_a_second_object_joins_a_stream(capsys: pytest.CaptureFixture[str]) -> None:
    assert streaming.main(SHORT) == 0

    lines = capsys.readouterr().out.splitlines()
    assert ["object 2" in line for line in lines] == [False] * 5 + [True] * 2
    assert lines[-1].startswith("frame 5")


def test_a_saved_walk_goes_on_as_an_undisturbed_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert save_and_resume.main(SHORT) == 0

    assert (tmp_path / "half_way.safetensors").is_file()
    assert "equal to the bit" in capsys.readouterr().out
