"""The model a run asks for, with its weights from wherever they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from pipeline import storage
from sam2.checkpoint import SHIPPED, CheckpointError, checkpoint_sha256, load_model
from sam2.config import Precision, model_config
from sam2.downloads import PUBLISHED, cached
from sam2.model import Sam2


def open_model(
    name: str, checkpoint: str | None, device: str = "cpu", precision: Precision = "exact"
) -> tuple[Sam2, str]:
    """The model ready to run, and the SHA-256 of its checkpoint; raises CheckpointError."""
    model_config(name)  # an unknown name is told before any file is read
    with _local(checkpoint or str(SHIPPED.get(name) or _downloaded(name))) as path:
        return load_model(name, path, device, precision), checkpoint_sha256(path)


def _downloaded(name: str) -> Path:
    if path := cached(name):
        return path
    raise CheckpointError(
        f"The model '{name}' needs its weights: fetch them with `masklet checkpoint download "
        f"{name}`, or give --checkpoint the published file {PUBLISHED[name].file}."
    )


@contextmanager
def _local(checkpoint: str) -> Iterator[Path]:
    if "://" not in checkpoint:
        yield Path(checkpoint)
        return
    fs, source = storage.filesystem(checkpoint)
    with TemporaryDirectory(prefix="masklet-") as folder:
        copy = Path(folder) / PurePosixPath(source).name
        try:
            copy.write_bytes(storage.read_bytes(fs, source))
        except OSError as error:
            raise CheckpointError(f"{checkpoint} cannot be read: {error}") from error
        yield copy
