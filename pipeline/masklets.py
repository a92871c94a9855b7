"""The result: one row per tracked object, its masks through the whole video (a masklet)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.fs import FileSystem

from pipeline import storage
from pipeline.manifest import Prompt
from pipeline.rle import decode_counts, encode_mask

Status = Literal["ok", "partial", "failed", "crashed"]
FAILED: tuple[Status, ...] = ("failed", "crashed")  # rows without masks

SCHEMA_VERSION = "1"

# Coordinates are float64, so that prompts come back exactly as they were given.
PROMPT = pa.struct(
    [
        ("frame", pa.int32()),
        ("time_s", pa.float64()),
        ("points", pa.list_(pa.list_(pa.float64()))),
        ("point_labels", pa.list_(pa.int32())),
        ("box", pa.list_(pa.float64())),
        ("mask", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])),
    ]
)

SCHEMA = pa.schema(
    [
        ("task_id", pa.int64()),
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("object_id", pa.int32()),
        ("label", pa.string()),
        ("status", pa.string()),
        ("error_type", pa.string()),
        ("error", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("fps", pa.float64()),
        ("n_frames", pa.int32()),
        ("prompts", pa.list_(PROMPT)),
        ("frame_index", pa.list_(pa.int32())),
        ("timestamp_s", pa.list_(pa.float64())),
        ("counts", pa.list_(pa.string())),
        ("score", pa.list_(pa.float32())),
        ("object_score", pa.list_(pa.float32())),
        ("area", pa.list_(pa.int32())),
        ("bbox", pa.list_(pa.list_(pa.float32()))),
        ("model", pa.string()),
        ("checkpoint_sha256", pa.string()),
        ("attempts", pa.int32()),
        ("resumed_from", pa.int32()),
        ("gpu_s", pa.float64()),
    ]
)

_PER_FRAME = ("frame_index", "timestamp_s", "counts", "score", "object_score", "area", "bbox")


class MaskletError(ValueError):
    """A masklet row or file is not of the kind we write, or does not hold what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masklet:
    """One object through one video; its lists have an entry per tracked frame, none if failed."""

    task_id: int
    video_id: str
    uri: str
    object_id: int
    label: str | None = None
    status: Status
    error_type: str | None = None
    error: str | None = None
    height: int = 0  # 0, like the next three, where the video could not be opened
    width: int = 0
    fps: float = 0.0
    n_frames: int = 0
    prompts: tuple[Prompt, ...] = ()
    frame_index: list[int] = field(default_factory=list)
    timestamp_s: list[float] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)  # an empty mask: the object is not visible
    score: list[float] = field(default_factory=list)  # predicted IoU
    object_score: list[float] = field(default_factory=list)  # probability that it is there
    area: list[int] = field(default_factory=list)
    bbox: list[list[float]] = field(default_factory=list)  # x, y, width, height
    model: str = ""
    checkpoint_sha256: str = ""
    attempts: int = 1
    resumed_from: int | None = None  # the frame at which a saved memory bank took it up again
    gpu_s: float = 0.0

    @classmethod
    def of_masks(cls, masks: Mapping[int, NDArray[np.bool_]], fps: float, **known: Any) -> Self:
        """A masklet with masks (H, W) from elsewhere, at least one, by frame; taken for certain.

        `known` are its other columns, as far as they are known.
        """
        height, width = next(iter(masks.values())).shape
        return cls(
            status="ok",
            height=height,
            width=width,
            fps=fps,
            frame_index=list(masks),
            timestamp_s=[frame / fps for frame in masks],
            counts=[encode_mask(mask) for mask in masks.values()],
            score=[1.0] * len(masks),
            object_score=[float(mask.any()) for mask in masks.values()],
            area=[int(mask.sum()) for mask in masks.values()],
            bbox=[_box(mask) for mask in masks.values()],
            **known,
        )

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _PER_FRAME}
        if len(set(lengths.values())) > 1:
            raise MaskletError(f"{self} has lists of different lengths: {lengths}")

    def __str__(self) -> str:
        return f"object {self.object_id} of video '{self.video_id}'"

    def mask(self, frame_index: int) -> NDArray[np.bool_]:
        """The mask (H, W) on one frame of the video; raises MaskletError if it was not tracked."""
        if frame_index not in self.frame_index:
            raise MaskletError(f"{self} was not tracked on frame {frame_index}")
        return self._decode(self.counts[self.frame_index.index(frame_index)])

    def masks(self) -> NDArray[np.bool_]:
        """All masks (T, H, W), in the order of `frame_index`."""
        stack = np.zeros((len(self.counts), self.height, self.width), dtype=np.bool_)
        for mask, counts in zip(stack, self.counts, strict=True):
            mask[:] = self._decode(counts)
        return stack

    def _decode(self, counts: str) -> NDArray[np.bool_]:
        try:
            return decode_counts(counts, self.height, self.width)
        except ValueError as error:
            raise MaskletError(f"{self}: {error}") from error

    def to_row(self) -> dict[str, Any]:
        """The row as plain values, as SCHEMA wants it."""
        row = {column.name: getattr(self, column.name) for column in fields(self)}
        return row | {"prompts": [prompt.model_dump() for prompt in self.prompts]}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The masklet in a row of a table with SCHEMA."""
        prompts = tuple(Prompt.model_validate(prompt) for prompt in row["prompts"])
        return cls(**{**row, "prompts": prompts})


def _box(mask: NDArray[np.bool_]) -> list[float]:
    """x, y, width, height of a mask; zeros of an empty one, as COCO has it."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return [0.0] * 4
    left, top = columns.min(), rows.min()
    return [float(x) for x in (left, top, columns.max() + 1 - left, rows.max() + 1 - top)]


def schema_of(run_id: str) -> pa.Schema:
    """SCHEMA with the footer that tells a reader how to read a run's files."""
    return SCHEMA.with_metadata(
        {
            "schema_version": SCHEMA_VERSION,
            "run_id": run_id,
            "mask_encoding": "coco_rle",
            "frame_index_base": "0",
        }
    )


def read_masklets(uri: str, filesystem: FileSystem | None = None) -> Iterator[Masklet]:
    """The masklets that a run has written so far, file by file, so not in the order of its tasks.

    `uri` is the run's --out, or the folder `masklets` in it; with a filesystem given, a path in
    that. Raises MaskletError where no run has begun, and for a file that is not of masklets.
    """
    fs, folder = (filesystem, uri) if filesystem else storage.filesystem(uri)
    paths = _tables(fs, storage.join(folder, "masklets"))
    if not paths and not storage.exists(fs, storage.join(folder, "run.json")):
        paths = _tables(fs, folder)
        if not paths:
            raise MaskletError(f"{uri} holds no masklets: give the --out of a run")
    for path in paths:
        yield from _read_file(fs, path)


def _tables(fs: FileSystem, folder: str) -> list[str]:
    return [path for path in storage.list_files(fs, folder) if path.endswith(".parquet")]


def _read_file(fs: FileSystem, path: str) -> Iterator[Masklet]:
    with fs.open_input_file(path) as source:
        try:
            # A row can be megabytes of masks: only a few are made into Python values at once.
            for batch in pq.ParquetFile(source).iter_batches(batch_size=16):
                rows = batch.select(SCHEMA.names).cast(SCHEMA).to_pylist()
                yield from map(Masklet.from_row, rows)
        except (KeyError, TypeError, ValueError) as error:  # Arrow's own errors are among these
            raise MaskletError(f"{path} is not a file of masklets: {error}") from error
