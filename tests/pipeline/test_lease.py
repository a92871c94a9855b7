"""The lease: one driver at a time, and a dead one does not block the next."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline import lease as lease_module
from pipeline import storage
from pipeline.lease import EXPIRY_S, Lease, LeaseError, kept
from pipeline.progress import Tally

FS = LocalFileSystem()


@pytest.fixture(params=["path", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FileSystem, str]:
    """An empty folder on the local disk or on S3."""
    uri = str(tmp_path) if request.param == "path" else request.getfixturevalue("s3_bucket")
    return storage.filesystem(storage.join(uri, "out"))


def heard(folder: Path, object_frames: int) -> Lease:
    """What the driver said last, once it has told of so many object-frames."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        said = Lease.newest(FS, str(folder))
        if said and said.object_frames == object_frames:
            return said
        time.sleep(0.01)
    raise AssertionError(f"nobody told of {object_frames} object-frames")


def of_another_machine(lease: Lease, fs: FileSystem, folder: str) -> None:
    """As if a driver elsewhere had written this lease: its process cannot be looked up."""
    elsewhere = replace(lease, machine="elsewhere", host="far.away", pid=4242)
    elsewhere.renew(fs, folder, Tally())


def test_the_second_driver_is_refused_and_told_who_the_first_is(
    place: tuple[FileSystem, str],
) -> None:
    of_another_machine(Lease.take(*place), *place)

    with pytest.raises(LeaseError, match=r"process 4242 on far\.away"):
        Lease.take(*place)


def test_of_many_drivers_at_once_exactly_one_gets_the_lease(place: tuple[FileSystem, str]) -> None:
    start = threading.Barrier(8)

    def attempt(_: int) -> bool:
        start.wait()
        try:
            Lease.take(*place)
        except LeaseError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_lease_given_back_can_be_taken_at_once_and_tells_what_was_done(
    place: tuple[FileSystem, str],
) -> None:
    with kept(Lease.take(*place), *place) as keeper, keeper.telling(lambda: Tally(3, 70)):
        pass

    said = Lease.newest(*place)
    assert said
    assert (said.released, said.tasks, said.object_frames) == (True, 3, 70)
    assert Lease.take(*place).number == 2


def test_the_lease_of_a_dead_process_of_this_machine_can_be_taken_at_once(tmp_path: Path) -> None:
    code = f"""
from pyarrow.fs import LocalFileSystem
from pipeline.lease import Lease
Lease.take(LocalFileSystem(), {str(tmp_path)!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)

    assert Lease.take(FS, str(tmp_path)).number == 2


def test_a_lease_that_full_storage_does_not_take_back_blocks_nobody_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch, kept(Lease.take(FS, str(tmp_path)), FS, str(tmp_path)):
        patch.setattr(storage, "put", full)

    assert Lease.take(FS, str(tmp_path)).number == 2


def test_the_lease_of_a_silent_driver_elsewhere_runs_out(tmp_path: Path) -> None:
    of_another_machine(Lease.take(FS, str(tmp_path)), FS, str(tmp_path))
    path = tmp_path / "lease" / "000001.json"
    silent_since = datetime.now(UTC) - timedelta(seconds=EXPIRY_S + 1)

    os.utime(path, (silent_since.timestamp(),) * 2)

    assert Lease.take(FS, str(tmp_path)).number == 2


@pytest.mark.parametrize("interrupts", [signal.default_int_handler, signal.SIG_IGN])
def test_a_driver_that_was_taken_for_dead_stops_even_in_the_background(
    interrupts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGINT, interrupts)  # ignored, as it is of a shell's background jobs
    monkeypatch.setattr(lease_module, "RENEW_S", 0.05)
    first = Lease.take(FS, str(tmp_path))

    def work() -> None:
        with kept(first, FS, str(tmp_path)):
            storage.put(FS, str(tmp_path / "lease" / "000002.json"), b"{}")
            time.sleep(30)

    try:
        with pytest.raises(LeaseError, match="taken"):
            work()
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert signal.getsignal(signal.SIGUSR1) == before[1]
    with pytest.raises(LeaseError, match="taken"):
        first.check(FS, str(tmp_path))


def test_a_machine_that_does_not_share_the_disk_is_told_so(tmp_path: Path) -> None:
    lease = Lease.take(FS, str(tmp_path / "shared"))

    lease.check(FS, str(tmp_path / "shared"))
    with pytest.raises(LeaseError, match=r"own on .* is not where .* writes: give --out a URI"):
        lease.check(FS, str(tmp_path / "own"))


def test_a_lease_is_renewed_while_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_S", 0.02)

    with kept(Lease.take(FS, str(tmp_path)), FS, str(tmp_path)) as keeper:
        keeper.read = lambda: Tally(1, 5)

        said = heard(tmp_path, 5)

        assert (said.tasks, said.object_frames, said.released) == (1, 5, False)


def test_an_error_of_any_kind_does_not_end_the_keeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_S", 0.02)
    troubles = iter([ZeroDivisionError, RuntimeError])

    def read() -> Tally:
        for trouble in troubles:
            raise trouble
        return Tally(1, 7)

    with kept(Lease.take(FS, str(tmp_path)), FS, str(tmp_path)) as keeper:
        keeper.read = read

        assert not heard(tmp_path, 7).released

    assert next(troubles, None) is None  # both have happened
    assert heard(tmp_path, 7).released
