"""Where the banks of a run lie, and their removal; what is in them needs torch, this does not."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from pyarrow.fs import FileSystem, FileType

from pipeline import storage

BANKS = "state"  # under the output; in it a folder for each task


def forget_banks(fs: FileSystem, folder: str, tasks: Sequence[int]) -> None:
    """Removes the banks of tasks that have their row; a failure costs room until the run ends."""
    wanted = {str(task) for task in tasks}
    try:
        for info in storage.entries(fs, storage.join(folder, BANKS)):
            if info.type == FileType.Directory and PurePosixPath(info.path).name in wanted:
                _remove(fs, info.path)
    except OSError as error:
        print(f"banks of tasks that are done are left for later: {error}", file=sys.stderr)


def forget_all_banks(fs: FileSystem, folder: str) -> None:
    """Removes all banks of a run that is finished."""
    _remove(fs, storage.join(folder, BANKS))


def _remove(fs: FileSystem, folder: str) -> None:
    with suppress(FileNotFoundError):
        fs.delete_dir(folder)
