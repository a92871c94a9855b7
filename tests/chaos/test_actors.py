"""Processes killed at every step of a job: the rows are those of a job that nothing happened to."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.commits import read_commits
from pipeline.manifest import VideoEntry
from pipeline.masklets import Masklet
from pipeline.run import run
from pipeline.storage import filesystem
from tests.chaos.faults import Fault, disarm, fired
from tests.chaos.job import config, job, rows, work

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[VideoEntry]:
    return job(tmp_path_factory.mktemp("videos"), videos=3, objects=2, n_frames=8)


@pytest.fixture(scope="module")
def quiet(entries: Sequence[VideoEntry], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("undisturbed")
    run(entries, str(out), config())
    tracked, needed = work(out)
    assert tracked == needed
    return out


@pytest.fixture(scope="module")
def undisturbed(quiet: Path) -> list[Masklet]:
    return rows(quiet)


# No video more than twice, or it would be struck out. The longest clip comes first: tasks 0 and 1
# are those of clip 2.
STEPS = {
    "twice in a row": Fault(at="frame 6 of .*clip2", times=2),
    "in the middle of a track": Fault(at="frame 5 of .*clip1"),
    "before a bank is saved": Fault(at="before put .*/state/[23]/", skip=4),
    "after the claim": Fault(at="open .*clip0"),
    "after a bank is saved": Fault(at="after put .*/state/[45]/", skip=4),
    "before the rows are put": Fault(at="before put .*/masklets/"),
    "after the rows are put": Fault(at="after put .*/masklets/", skip=1),
    "before the commit": Fault(at="after put .*/commits/", skip=2),
}


def test_processes_killed_at_every_step_change_no_row(
    entries: Sequence[VideoEntry], undisturbed: Sequence[Masklet], faults: Path, tmp_path: Path
) -> None:
    for step, fault in STEPS.items():
        fault.arm(faults, step)

    run(entries, str(tmp_path), config())

    assert {step: fired(faults, step) for step in STEPS} == {
        step: fault.times for step, fault in STEPS.items()
    }
    assert rows(tmp_path) == undisturbed
    assert not (tmp_path / "state").exists()


def test_a_full_disk_stops_the_run_which_can_go_on_when_there_is_room(
    entries: Sequence[VideoEntry],
    undisturbed: Sequence[Masklet],
    faults: Path,
    tmp_path: Path,
) -> None:
    Fault(at="before put .*/masklets/", times=-1, deed="full").arm(faults)
    with pytest.raises(Exception, match=r"No space left|fault on purpose"):
        run(entries, str(tmp_path), config())
    assert fired(faults)
    assert read_commits(*filesystem(str(tmp_path))) == {}

    disarm(faults)
    run(entries, str(tmp_path), config())

    assert rows(tmp_path) == undisturbed


def test_banks_that_find_no_room_do_not_stop_the_run(
    entries: Sequence[VideoEntry],
    undisturbed: Sequence[Masklet],
    faults: Path,
    tmp_path: Path,
) -> None:
    Fault(at="before put .*/state/", times=-1, deed="full").arm(faults)

    run(entries, str(tmp_path), config())

    assert fired(faults)
    assert rows(tmp_path) == undisturbed


def test_a_finished_job_run_again_reads_no_video_and_writes_no_file(
    entries: Sequence[VideoEntry], quiet: Path, faults: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in quiet.rglob("*")}
    Fault(at="open|put", times=-1, deed="error").arm(faults)

    run(entries, str(quiet), config())

    assert fired(faults) == 0
    assert {path: path.stat().st_mtime_ns for path in quiet.rglob("*")} == before
