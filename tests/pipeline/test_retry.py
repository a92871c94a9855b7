"""Failed objects done again: new rows in the place of the old ones, the good ones as they were."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.commits import read_commits
from pipeline.config import load_config
from pipeline.lease import Lease, LeaseError
from pipeline.manifest import ObjectPrompts, VideoEntry
from pipeline.masklets import Masklet, read_masklets
from pipeline.record import RecordError, RunRecord
from pipeline.retry import retry, settings_of
from pipeline.run import run
from tests.clips import write_clip
from tests.pipeline.runs import FS, PROMPT, row, write_rows, write_run, write_tasks

FILES = {
    "a": (row(11), row(12, "failed", "gone"), row(13)),
    "b": (row(21), row(22)),
    "c": (row(31, "crashed", "died"),),
}


def rows(folder: Path) -> dict[int, Masklet]:
    """The rows of a run by task; each has to be there once."""
    found = list(read_masklets(str(folder)))
    assert len(found) == len({masklet.task_id for masklet in found})
    return {masklet.task_id: masklet for masklet in found}


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A finished run with two objects that failed, and a retry of them that has all its rows."""
    write_run(tmp_path, FILES, 11, 12, 13, 21, 22, 31)
    write_tasks(tmp_path / "retry", 12, 31)
    write_rows(tmp_path / "retry", "x", row(31), row(12))
    return tmp_path


def test_new_rows_take_the_places_of_the_failed_ones(done: Path) -> None:
    untouched = (done / "masklets" / "b.parquet").stat().st_mtime_ns

    summary = retry(str(done), load_config())

    assert dict(summary.counts) == {"ok": 6, "object_frames": 60}
    assert rows(done) == {i: row(i) for i in (11, 12, 13, 21, 22, 31)}
    assert (done / "masklets" / "b.parquet").stat().st_mtime_ns == untouched
    assert not (done / "retry").exists()
    record = RunRecord.read(FS, str(done))
    assert record
    assert record.finished
    assert record.counts == summary.counts


def test_new_rows_are_found_wherever_the_retry_wrote_them(tmp_path: Path) -> None:
    failed = {"a": (row(11, "failed", "x"), row(12, "failed", "x"), row(13))}
    write_run(tmp_path, failed, 11, 12, 13)
    write_tasks(tmp_path / "retry", 11, 12)
    write_rows(tmp_path / "retry", "x", row(12))
    write_rows(tmp_path / "retry", "y", row(11))

    retry(str(tmp_path), load_config())

    assert rows(tmp_path) == {i: row(i) for i in (11, 12, 13)}


def test_the_files_with_new_rows_fit_their_records(done: Path) -> None:
    retry(str(done), load_config())

    for name, commit in read_commits(FS, str(done)).items():
        assert commit.size == (done / "masklets" / f"{name}.parquet").stat().st_size
        assert set(commit.counts) == {"ok", "object_frames"}


def test_a_retry_cut_off_while_it_took_rows_over_is_completed(done: Path) -> None:
    shutil.copytree(done / "retry", done.parent / "kept")
    retry(str(done), load_config())
    shutil.copytree(done.parent / "kept", done / "retry")
    write_rows(done, "c", *FILES["c"])  # as if only the file before it had been replaced
    record = RunRecord.read(FS, str(done))
    assert record
    record.reopened().write(FS, str(done))

    summary = retry(str(done), load_config())

    assert dict(summary.counts) == {"ok": 6, "object_frames": 60}
    assert rows(done) == {i: row(i) for i in (11, 12, 13, 21, 22, 31)}


def test_where_nothing_failed_nothing_is_done(tmp_path: Path) -> None:
    write_run(tmp_path, {"b": FILES["b"]}, 21, 22)
    before = (tmp_path / "masklets" / "b.parquet").stat().st_mtime_ns

    summary = retry(str(tmp_path), load_config())

    assert summary.counts["ok"] == 2
    assert (tmp_path / "masklets" / "b.parquet").stat().st_mtime_ns == before


def test_only_a_finished_run_is_retried_and_only_with_its_own_settings(tmp_path: Path) -> None:
    write_run(tmp_path, {"b": FILES["b"]}, 21, 22, finished=False)
    with pytest.raises(RecordError, match="no finished run"):
        retry(str(tmp_path), load_config())

    write_run(tmp_path, {"b": FILES["b"]}, 21, 22)
    with pytest.raises(RecordError, match="max_batch"):
        retry(str(tmp_path), load_config(settings=["max_batch=3"]))


def test_a_run_that_is_being_written_is_not_retried(tmp_path: Path) -> None:
    write_run(tmp_path, FILES, 11, 12, 13, 21, 22, 31)
    Lease.take(FS, str(tmp_path))

    with pytest.raises(LeaseError):
        retry(str(tmp_path), load_config())


def test_the_settings_of_a_run_are_those_it_was_given(tmp_path: Path) -> None:
    write_run(tmp_path, {}, 11)

    assert load_config(settings=settings_of(str(tmp_path))) == load_config()
    more = [*settings_of(str(tmp_path)), "cluster.actors=3"]
    assert load_config(settings=more).cluster.actors == 3


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_video_that_was_missing_is_tracked_once_it_is_there(tmp_path: Path) -> None:
    config = load_config(settings=["cluster.actors=1", "cluster.threads=1"])
    objects = (ObjectPrompts(object_id=1, prompts=(PROMPT,)),)
    late = tmp_path / "late.mp4"
    entries = [
        VideoEntry(video_id="there", uri=str(write_clip(tmp_path / "a.mp4")), objects=objects),
        VideoEntry(video_id="late", uri=str(late), objects=objects),
    ]
    out = tmp_path / "out"
    assert run(entries, str(out), config).counts == {"ok": 1, "failed": 1, "object_frames": 6}
    good = {i: m for i, m in rows(out).items() if m.status == "ok"}
    write_clip(late, n_frames=4)

    summary = retry(str(out), config)

    assert dict(summary.counts) == {"ok": 2, "object_frames": 6 + 4}
    assert good.items() <= rows(out).items()
    assert run(entries, str(out), config) == replace(summary, was_finished=True)
