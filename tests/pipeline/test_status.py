"""The status of a run, from its files alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.lease import EXPIRY_S, Lease, kept
from pipeline.progress import Tally
from pipeline.record import RecordError
from pipeline.status import read_status
from tests.pipeline.runs import FRAMES, FS, row, write_run, write_tasks

NOW = datetime.now(UTC)


def working(folder: Path, done: Tally, seconds: float = 20, heard_s: float = 5) -> None:
    """Leaves the lease of a driver that began so long ago, and has done so much."""
    heard = NOW - timedelta(seconds=heard_s)
    lease = replace(
        Lease.take(FS, str(folder)), began=(heard - timedelta(seconds=seconds)).isoformat()
    )
    lease.renew(FS, str(folder), done)
    (file,) = (folder / "lease").glob("*.json")
    said = Lease.newest(FS, str(folder))
    assert said
    file.write_text(file.read_text().replace(said.renewed, heard.isoformat()))


def test_a_run_under_way_is_counted_and_its_end_foretold(tmp_path: Path) -> None:
    files = {"a": (row(11), row(12, "failed", "gone"))}
    write_run(tmp_path, files, 11, 12, 21, 22, 31, finished=False)
    working(tmp_path, Tally(tasks=2, object_frames=FRAMES + 5, tracked=FRAMES + 5, running=2))

    status = read_status(str(tmp_path), NOW)

    assert status.state == "running"
    assert (status.tasks, status.rows, status.running, status.failed) == (5, 2, 2, 1)
    assert status.object_frames == 15
    assert status.rate == pytest.approx(15 / 20)
    assert status.left_s == pytest.approx((3 * FRAMES - 5) / (15 / 20))
    assert status.heard_s == pytest.approx(5)


def test_a_driver_that_went_on_with_a_run_is_not_credited_with_what_it_found(
    tmp_path: Path,
) -> None:
    write_run(tmp_path, {"a": (row(11),)}, 11, 21, finished=False)

    with (
        kept(Lease.take(FS, str(tmp_path)), FS, str(tmp_path)) as keeper,
        keeper.telling(lambda: Tally(tasks=1, tracked=FRAMES)),
    ):
        began = (datetime.now(UTC) - timedelta(seconds=20)).isoformat()
        replace(keeper.lease, began=began).renew(FS, str(tmp_path), keeper.read())

        assert read_status(str(tmp_path)).rate == 0.0


def test_a_driver_that_is_silent_or_gone_has_stopped(tmp_path: Path) -> None:
    write_run(tmp_path, {}, 11, finished=False)
    assert read_status(str(tmp_path)).state == "stopped"

    working(tmp_path, Tally(running=1), heard_s=EXPIRY_S + 1)
    silent = read_status(str(tmp_path), NOW)

    assert (silent.state, silent.running, silent.left_s) == ("stopped", 0, None)
    assert silent.heard_s == pytest.approx(EXPIRY_S + 1)


def test_troubles_are_told_by_their_reason_with_an_example(tmp_path: Path) -> None:
    bad = (row(11, "failed", "gone"), row(12, "failed", "gone"), row(13, "crashed", "died"))
    write_run(tmp_path, {"a": bad, "b": (row(21),)}, 11, 12, 13, 21)

    status = read_status(str(tmp_path))

    assert status.state == "finished"
    assert status.done == {"failed": 2, "crashed": 1, "ok": 1}
    most, least = status.reasons
    assert (most.status, most.error_type, most.objects) == ("failed", "VideoError", 2)
    assert most.example == "v1, object 1: gone"
    assert (least.status, least.objects) == ("crashed", 1)


def test_while_failed_objects_are_tried_again_the_end_is_that_of_the_retry(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": (row(11, "failed", "gone"), row(12))}, 11, 12)
    write_tasks(tmp_path / "retry", 11)
    working(tmp_path, Tally(object_frames=4, tracked=4, running=1), seconds=4)

    status = read_status(str(tmp_path), NOW)

    assert status.state == "running"
    assert status.left_s == pytest.approx(FRAMES - 4)


def test_looking_changes_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": (row(11),)}, 11, 21, finished=False)
    working(tmp_path, Tally())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    read_status(str(tmp_path))

    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no run"):
        read_status(str(tmp_path))
