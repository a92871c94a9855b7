"""Saved banks: a track taken up in its middle ends as if nothing had happened."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline import storage
from pipeline.bank_folder import forget_all_banks, forget_banks
from pipeline.banks import SavedBanks
from pipeline.footage import Unfinished
from pipeline.manifest import Prompt
from pipeline.masklets import Masklet
from pipeline.plan import Task
from pipeline.segmenter import Segmenter
from sam2.checkpoint import load_model
from tests.clips import write_clip

FS = LocalFileSystem()
CLICK = Prompt(frame=2, points=((20.0, 30.0),), point_labels=(1,))


class Killed(BaseException):
    """Stands for the death of an actor."""


class KillAfter(SavedBanks):
    """Banks that die after so many were saved."""

    left = 3

    def save(self, task: Task, unfinished: Unfinished) -> None:
        super().save(task, unfinished)
        self.left -= 1
        if self.left == 0:
            raise Killed


def task(clip: Path, task_id: int = 0, direction: str = "both") -> Task:
    return Task(
        task_id=task_id,
        shard=0,
        video_id="v",
        uri=str(clip),
        object_id=task_id,
        direction=direction,  # type: ignore[arg-type]
        prompts=(CLICK,),
    )


def banks(folder: Path, owner: str = "us", kind: type[SavedBanks] = SavedBanks) -> SavedBanks:
    return kind(FS, str(folder), owner, every_s=1e-9)


def segment(tasks: list[Task], saved: SavedBanks | None = None) -> list[Masklet]:
    return list(Segmenter(load_model("nano"), "digest", banks=saved).segment(tasks))


def result(row: Masklet) -> Masklet:
    return replace(row, gpu_s=0.0, resumed_from=None)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "long.mp4", n_frames=12)


@pytest.fixture(scope="module")
def undisturbed(long: Path) -> list[Masklet]:
    return segment([task(long, 0), task(long, 1, "forward")])


@pytest.mark.parametrize("saves", [1, 4, 9, 15])
def test_a_killed_task_is_taken_up_by_another_segmenter_and_ends_bit_for_bit_the_same(
    long: Path, undisturbed: list[Masklet], tmp_path: Path, saves: int
) -> None:
    tasks = [task(long, 0), task(long, 1, "forward")]
    deadly = banks(tmp_path, kind=KillAfter)
    deadly.left = saves  # type: ignore[attr-defined]
    with pytest.raises(Killed):
        segment(tasks, deadly)

    rows = segment(tasks, banks(tmp_path))

    assert [result(row) for row in rows] == [result(row) for row in undisturbed]
    assert any(row.resumed_from is not None for row in rows)


def saved_files(folder: Path) -> list[Path]:
    return sorted((folder / "state" / "0").iterdir())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [flip, cut, empty])
def test_a_damaged_bank_is_passed_over_with_a_note_for_the_one_before_it(
    long: Path,
    undisturbed: list[Masklet],
    tmp_path: Path,
    harm: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Killed):
        segment([task(long)], banks(tmp_path, kind=KillAfter))
    older, newest = saved_files(tmp_path)
    harm(newest)

    (row,) = segment([task(long)], banks(tmp_path))

    assert newest.name in capsys.readouterr().err
    assert result(row) == result(undisturbed[0])
    assert row.resumed_from == 2 + int(older.name[:9])


def test_a_bank_of_another_model_is_of_no_use(
    long: Path, undisturbed: list[Masklet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Killed):
        segment([task(long)], banks(tmp_path, "run 1, model a", KillAfter))

    (row,) = segment([task(long)], banks(tmp_path, "run 1, model b"))

    assert "another run or model" in capsys.readouterr().err
    assert row.resumed_from is None
    assert result(row) == result(undisturbed[0])


def test_banks_that_nobody_can_use_do_not_push_out_those_that_follow(
    long: Path, undisturbed: list[Masklet], tmp_path: Path
) -> None:
    segment([task(long)], banks(tmp_path, "run 1, model a"))  # as far as it goes

    with pytest.raises(Killed):
        segment([task(long)], banks(tmp_path, "run 1, model b", KillAfter))
    (row,) = segment([task(long)], banks(tmp_path, "run 1, model b"))

    assert row.resumed_from is not None
    assert result(row) == result(undisturbed[0])


@pytest.mark.parametrize(("n_frames", "width"), [(8, 96), (12, 112)])
def test_a_bank_of_what_lay_there_before_is_of_no_use(
    long: Path, tmp_path: Path, n_frames: int, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "clip.mp4"
    shutil.copy(long, clip)
    with pytest.raises(Killed):
        segment([task(clip)], banks(tmp_path, kind=KillAfter))
    write_clip(clip, n_frames, width)

    (row,) = segment([task(clip)], banks(tmp_path))

    assert "another video" in capsys.readouterr().err
    assert row.resumed_from is None
    assert result(row) == result(segment([task(clip)])[0])


def test_a_bank_that_somebody_removes_at_once_costs_nothing(
    long: Path, undisturbed: list[Masklet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "list_files", lambda fs, folder: [])

    (row,) = segment([task(long)], banks(tmp_path))

    assert result(row) == result(undisturbed[0])


def test_only_the_two_newest_banks_are_kept(long: Path, tmp_path: Path) -> None:
    segment([task(long)], banks(tmp_path))

    assert len(saved_files(tmp_path)) == 2


@pytest.mark.parametrize("store", ["path", "s3"])
def test_banks_of_tasks_that_are_done_are_removed(
    long: Path, tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    uri = str(tmp_path) if store == "path" else request.getfixturevalue("s3_bucket")
    fs: FileSystem
    fs, folder = storage.filesystem(storage.join(uri, "out"))
    forget_banks(fs, folder, [0])  # there are none yet
    both = [task(long, 0), task(long, 1)]
    saved = SavedBanks(fs, folder, "us", 1e-9)
    segment(both, saved)

    forget_banks(fs, folder, [0])
    assert saved.load(both[0]) is None
    assert saved.load(both[1])

    forget_all_banks(fs, folder)
    assert saved.load(both[1]) is None
    forget_all_banks(fs, folder)


def test_a_bank_that_cannot_be_saved_costs_nothing_but_time(
    long: Path, undisturbed: list[Masklet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")

    (row,) = segment([task(long)], banks(tmp_path))

    assert result(row) == result(undisturbed[0])
    assert "not saved" in capsys.readouterr().err


def test_banks_that_cannot_be_listed_or_removed_stop_nothing(
    long: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "0").write_text("a file where a folder should be")

    assert banks(tmp_path).load(task(long)) is None
    assert "begins anew" in capsys.readouterr().err

    (tmp_path / "state" / "0").unlink()
    (tmp_path / "state").rmdir()
    (tmp_path / "state").write_text("a file where the folder should be")
    forget_banks(LocalFileSystem(), str(tmp_path), [0])
    assert "left for later" in capsys.readouterr().err
