"""Faults on purpose. The product has no hooks for them: this wraps what every run goes through.

Ray calls `install` in each worker process. A fault is a JSON file in the folder that FOLDER
names; it fires in whichever process meets it first, and leaves a file there that says so.
"""

import errno
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = "MASKLET_TEST_FAULTS"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong where: an event is a line such as `before put /out/masklets/x.parquet`."""

    at: str  # a pattern of the event
    skip: int = 0  # so many such events pass first
    times: int = 1  # then it fires so often; -1: for ever
    deed: str = "kill"  # the process; or "full": no space left; or "error": a bare OSError

    def arm(self, folder: Path, name: str = "fault") -> None:
        """From now on it waits to happen."""
        draft = folder / f"{name}.draft"
        draft.write_text(json.dumps(asdict(self)))
        draft.rename(folder / f"{name}.json")


def fired(folder: Path, name: str = "fault") -> int:
    """How often it has happened."""
    return len(list(folder.glob(f"{name}.fired-*")))


def faulty(folder: Path) -> dict[str, Any]:
    """The runtime environment of a Ray cluster on which faults can be armed in this folder."""
    root = str(Path(__file__).parents[2])  # workers need it before Ray tells them our path
    return {
        "worker_process_setup_hook": install,
        "env_vars": {FOLDER: str(folder), "PYTHONPATH": root},
    }


def install() -> None:
    """Wraps the reading of videos and the writing of files in this process."""
    if FOLDER not in os.environ:
        return
    # None of these needs torch, which takes seconds and which few of the processes need. What is
    # wrapped here is what others import later.
    from pipeline import any_video, storage
    from pipeline.remote_ledger import RemoteBook

    RemoteBook.tell = _counted(RemoteBook.tell)  # type: ignore[method-assign]
    storage.put = _watched_put(storage.put)  # type: ignore[assignment]
    any_video.open_video = _watched_video(any_video.open_video)  # type: ignore[assignment]


def meet(event: str) -> None:
    """Lets happen what is armed for this event."""
    folder = Path(os.environ[FOLDER])
    for path in sorted(folder.glob("*.json")):
        try:
            fault = Fault(**json.loads(path.read_text()))
        except FileNotFoundError:  # disarmed meanwhile
            continue
        if re.search(fault.at, event) and _due(fault, path):
            _do(fault.deed, event)


def _due(fault: Fault, path: Path) -> bool:
    if _count(path.with_suffix(".seen")) <= fault.skip:
        return False
    if 0 <= fault.times <= len(list(path.parent.glob(f"{path.stem}.fired-*"))):
        return False
    _count(path.with_suffix(".fired"))
    return True


def _count(path: Path) -> int:
    """The next number, given out once among all processes."""
    number = 1
    while True:
        try:
            os.close(os.open(f"{path}-{number}", os.O_CREAT | os.O_EXCL))
            return number
        except FileExistsError:
            number += 1


def _do(deed: str, event: str) -> None:
    if deed == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError(errno.ENOSPC if deed == "full" else errno.EIO, f"a fault on purpose: {event}")


def tracked_in(folder: Path) -> int:
    """Object-frames that any process has tracked, whatever became of it."""
    return sum(file.stat().st_size for file in folder.glob("tracked-*"))


def _counted(tell: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Writes a byte for each object-frame, which the file keeps when the process is killed."""

    def counted(book: Any, frames: Any) -> None:
        with (Path(os.environ[FOLDER]) / f"tracked-{os.getpid()}").open("ab") as file:
            file.write(b"." * len(frames))
        tell(book, frames)

    return counted


def _watched_put(put: Callable[..., None]) -> Callable[..., None]:
    def watched(fs: Any, path: str, data: bytes) -> None:
        meet(f"before put {path}")
        put(fs, path, data)
        meet(f"after put {path}")

    return watched


def _watched_video(open_video: Callable[..., Any]) -> Callable[..., Any]:
    def watched(path: Path, name: str, *args: Any) -> Any:
        meet(f"open {name}")
        return _Watched(open_video(path, name, *args), name)

    return watched


class _Watched:
    """A video that tells of each frame before it gives it away."""

    def __init__(self, video: Any, name: str) -> None:
        self._video, self._name = video, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._video, name)

    def __enter__(self) -> Any:
        self._video.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._video.__exit__(*error)

    def frames(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return self._told(self._video.frames(*args, **kwargs))

    def frames_reversed(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return self._told(self._video.frames_reversed(*args, **kwargs))

    def _told(self, frames: Iterator[Any]) -> Iterator[Any]:
        for frame in frames:
            meet(f"frame {frame.index} of {self._name}")
            yield frame


def disarm(folder: Path) -> None:
    """Nothing goes wrong any more."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            path.unlink()
