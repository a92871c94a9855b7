"""The lease: the right to write one output, held by one driver at a time.

Each holder has a numbered file of its own, `lease/000001.json`. Taking the lease is making the next
file, which storage lets only one driver do; keeping it is writing that file again now and then.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from uuid import uuid4

from pyarrow.fs import FileSystem

from pipeline import storage
from pipeline.progress import Tally

_FOLDER = "lease"
RENEW_S = 15.0
EXPIRY_S = 90.0  # an outage of storage that is shorter than this costs nobody the lease
_LOST = signal.SIGUSR1  # to the main thread; a shell's background jobs ignore SIGINT

_ended: set[str] = set()  # owners in this process; storage that is full may not know it yet


class LeaseError(RuntimeError):
    """Another driver writes to the same output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A driver's right to write under `folder`, and what it last said of its work."""

    number: int
    owner: str  # one for every driver there ever was
    host: str
    pid: int
    machine: str  # where `pid` means something
    renewed: str
    released: bool = False
    began: str | None = None  # to work, with what earlier drivers had done:
    before: int = 0  # object-frames tracked
    tasks: int = 0
    object_frames: int = 0
    tracked: int = 0
    running: int = 0  # tasks

    @classmethod
    def take(cls, fs: FileSystem, folder: str) -> Self:
        """The lease for this process; raises LeaseError where another driver holds it."""
        held = cls.newest(fs, folder)
        if held and not held._has_ended(fs, folder):
            raise LeaseError(
                f"{folder} is being written by process {held.pid} on {held.host}, which was alive "
                f"at {held.renewed}. Let it finish, or end it: if it is dead already, its lease "
                f"runs out within {EXPIRY_S:.0f} s."
            )
        number = held.number + 1 if held else 1
        lease = cls(
            number=number,
            owner=uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            machine=_machine(),
            renewed=_now(),
            tracked=held.tracked if held else 0,
        )
        if not storage.create(fs, _path(folder, number), lease._bytes()):
            raise LeaseError(f"another driver began to write to {folder} at this very moment")
        return lease

    @classmethod
    def newest(cls, fs: FileSystem, folder: str) -> Self | None:
        """The lease that was taken last, be it held or not."""
        files = storage.list_files(fs, storage.join(folder, _FOLDER))
        files = [path for path in files if path.endswith(".json")]
        return cls(**json.loads(storage.read_bytes(fs, files[-1]))) if files else None

    def check(self, fs: FileSystem, folder: str) -> None:
        """Raises LeaseError if somebody has taken the lease over, or if it was not taken here."""
        if not storage.exists(fs, _path(folder, self.number)):
            raise LeaseError(
                f"{folder} on {socket.gethostname()} is not where process {self.pid} on "
                f"{self.host} writes: give --out a URI, or a folder on a disk that all machines "
                "share (or somebody has removed its files)"
            )
        if storage.exists(fs, _path(folder, self.number + 1)):
            raise LeaseError(
                f"another driver has taken {folder} over, because this one was silent for more "
                f"than {EXPIRY_S:.0f} s"
            )

    def renew(self, fs: FileSystem, folder: str, done: Tally, released: bool = False) -> None:
        """Says that we are alive, and what has been done."""
        self.check(fs, folder)
        said = replace(
            self,
            renewed=_now(),
            released=released,
            tasks=done.tasks,
            object_frames=done.object_frames,
            tracked=done.tracked,
            running=0 if released else done.running,
        )
        storage.put(fs, _path(folder, self.number), said._bytes())

    def _has_ended(self, fs: FileSystem, folder: str) -> bool:
        if self.released or self.owner in _ended:
            return True
        if self.machine == _machine() and not _is_alive(self.pid):
            return True
        return _age_s(fs, folder, _path(folder, self.number)) > EXPIRY_S

    def _bytes(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode()


class Keeper:
    """Renews a lease in the background, and tells with it what has been done."""

    def __init__(self, lease: Lease, fs: FileSystem, folder: str) -> None:
        self.lease, self.fs, self.folder = lease, fs, folder
        # Where the newest figures come from.
        self.read: Callable[[], Tally] = lambda: Tally(tracked=lease.tracked)
        self._told = self.read()
        self.ended = threading.Event()
        self.lost: LeaseError | None = None  # why we no longer hold it
        self.interrupts = threading.current_thread() is threading.main_thread()

    def renew_until_ended(self) -> None:
        """Interrupts the main thread, if it keeps the lease and another driver has taken it."""
        while not self.ended.wait(RENEW_S):
            try:
                self.lease.renew(self.fs, self.folder, self.newest())
            except LeaseError as error:
                self.lost = error
                if self.interrupts and not self.ended.is_set():
                    signal.pthread_kill(threading.main_thread().ident or 0, _LOST)
                return
            except Exception as error:  # each store has its own kinds
                # It is away; should the lease be lost meanwhile, we see it later.
                print(f"the lease of {self.folder} is not renewed: {error}", file=sys.stderr)

    def newest(self) -> Tally:
        """The newest figures, or those before them where whoever has them does not answer."""
        try:
            self._told = self.read()
        except Exception as error:  # Ray has many kinds
            print(f"how far {self.folder} is cannot be told: {error}", file=sys.stderr)
        return self._told

    @contextmanager
    def telling(self, read: Callable[[], Tally]) -> Iterator[None]:
        """Takes the figures from here while the block runs."""
        self.read = read
        self.lease = replace(self.lease, began=_now(), before=self.newest().tracked)
        try:
            yield
        finally:
            last = self.newest()
            self.read = lambda: last

    def end(self) -> None:
        """Gives the lease back, so that the next driver need not wait."""
        _ended.add(self.lease.owner)
        with suppress(Exception):  # then it runs out
            self.lease.renew(self.fs, self.folder, self.newest(), released=True)


@contextmanager
def kept(lease: Lease, fs: FileSystem, folder: str) -> Iterator[Keeper]:
    """Keeps a lease while the block runs; the block ends with LeaseError if it is lost."""
    keeper = Keeper(lease, fs, folder)
    thread = threading.Thread(target=keeper.renew_until_ended, daemon=True)
    if keeper.interrupts:
        before = signal.signal(_LOST, signal.default_int_handler)
    thread.start()
    try:
        yield keeper
    except KeyboardInterrupt:
        if not keeper.lost:
            raise
    finally:
        keeper.ended.set()
        thread.join()  # or its last renewal could come after what gives the lease back
        keeper.end()
        if keeper.interrupts:
            signal.signal(_LOST, before or signal.SIG_DFL)
    if keeper.lost:
        raise keeper.lost


def _path(folder: str, number: int) -> str:
    return storage.join(folder, _FOLDER, f"{number:06d}.json")


def _age_s(fs: FileSystem, folder: str, path: str) -> float:
    """How long ago a file was written, by the clock of the storage: ours may be wrong."""
    probe = storage.join(folder, _FOLDER, f"clock-{uuid4().hex}")
    storage.put(fs, probe, b"")
    try:
        now, then = storage.modified(fs, probe), storage.modified(fs, path)
    finally:
        fs.delete_file(probe)
    if now is None or then is None:  # a store without times: a lease in it does not run out
        return 0.0
    return float((now - then).total_seconds())


def _machine() -> str:
    """Tells machines and containers apart, as far as process numbers are concerned."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "|".join(parts)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
