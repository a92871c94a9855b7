"""Drivers and nodes that die, each in processes of their own: what is left is taken up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.manifest import VideoEntry
from pipeline.masklets import Masklet, read_masklets
from tests.chaos.job import job, rows, work, write_manifest

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[VideoEntry]:
    return job(tmp_path_factory.mktemp("videos"), videos=6, objects=2, n_frames=20)


@pytest.fixture(scope="module")
def manifest(entries: Sequence[VideoEntry], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manifest(entries, tmp_path_factory.mktemp("manifest") / "videos.jsonl")


def start(*command: object) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", *map(str, command)]
    return subprocess.Popen(words, cwd=ROOT, env=environment, start_new_session=True)


def wait_for_commits(out: Path, number: int, driver: "subprocess.Popen[bytes]") -> None:
    """Until so many files of rows are committed."""
    while len(list((out / "checkpoint").glob("*[!g].parquet"))) < number:
        assert driver.poll() is None, "the driver ended too early"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Masklet]:
    out = tmp_path_factory.mktemp("undisturbed")
    assert start("tests.chaos.job", manifest, out, 1).wait() == 0
    return rows(out)


def test_a_killed_driver_is_followed_by_another_that_does_the_rest(
    manifest: Path, undisturbed: Sequence[Masklet], tmp_path: Path
) -> None:
    for commits in (1, 3):
        driver = start("tests.chaos.job", manifest, tmp_path, 1)
        wait_for_commits(tmp_path, commits, driver)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "masklets").iterdir()}
    assert written

    assert start("tests.chaos.job", manifest, tmp_path, 1).wait() == 0

    assert rows(tmp_path) == undisturbed
    kept = [path for path in written if path.exists() and path.stat().st_mtime_ns == written[path]]
    assert len(kept) >= 3


def test_of_two_drivers_at_once_one_is_refused(
    manifest: Path, undisturbed: Sequence[Masklet], tmp_path: Path
) -> None:
    drivers = [start("tests.chaos.job", manifest, tmp_path, 1) for _ in range(2)]

    codes = sorted(driver.wait() for driver in drivers)

    assert codes == [0, 1]
    assert rows(tmp_path) == undisturbed


def test_a_node_that_vanishes_takes_no_row_with_it_and_is_nobodys_fault(
    manifest: Path, undisturbed: Sequence[Masklet], tmp_path: Path
) -> None:
    assert start("tests.chaos.nodes", manifest, tmp_path).wait() == 0

    assert (tmp_path / "removed").exists()
    assert rows(tmp_path) == undisturbed
    assert {row.status for row in read_masklets(str(tmp_path))} == {"ok"}
    tracked, needed = work(tmp_path)
    assert tracked <= 1.5 * needed
