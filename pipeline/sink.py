"""Where rows go: files under the output. Without torch, so that who writes them starts fast."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pyarrow.fs import FileSystem
from ray.data.block import BlockAccessor
from ray.data.datasource import BlockBasedFileDatasink

from pipeline import storage
from pipeline.bank_folder import forget_banks
from pipeline.commits import MASKLETS, commit
from pipeline.config import StorageConfig
from pipeline.lease import Lease


@dataclass(frozen=True, slots=True)
class Output:
    """Where a run writes."""

    fs: FileSystem
    folder: str
    run_id: str
    checkpoint_sha256: str  # of the weights that all its rows come from


class MaskletSink(BlockBasedFileDatasink):
    """Writes each block as a file of masklets; Ray Data's checkpoint lies round it."""

    def __init__(self, output: Output, lease: Lease, home: str, settings: StorageConfig) -> None:
        """`home` is the folder for which the lease was taken: that of a retry lies in it."""
        folder = storage.join(output.folder, MASKLETS)
        super().__init__(folder, filesystem=output.fs, file_format="parquet")
        self.output, self.lease, self.home, self.storage = output, lease, home, settings

    def write_block(self, block: BlockAccessor, block_index: int, ctx: Any) -> None:
        """One whole file, under a name that is the same when Ray does it again."""
        name = self.filename_provider.get_filename_for_task(ctx.kwargs["write_uuid"], ctx.task_idx)
        fs, folder = self.output.fs, self.output.folder
        self.lease.check(fs, self.home)  # a driver that was taken for dead must not write
        storage.use(self.storage)
        rows = block.to_arrow()
        commit(fs, folder, PurePosixPath(name).stem, rows)
        forget_banks(fs, folder, rows["task_id"].to_pylist())
