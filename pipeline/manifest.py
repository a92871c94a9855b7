"""The manifest: which videos to label, and what marks each object in them.

JSONL (.jsonl or .json, one video per line) or Parquet with the same fields. Whatever can be
checked without opening a video is checked here, and all that is wrong is told at once.
"""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from pipeline import storage
from pipeline.complaints import Place, explain
from pipeline.rle import run_lengths
from pipeline.uris import check_source

_INT32 = 2**31
_PRINTED = 20  # problems that an error's text lists
_NO_OBJECTS = "objects: give at least one with a prompt; objects are not discovered yet"


class ManifestError(ValueError):
    """All that is wrong with a manifest; `problems` has every one, the text the first few.

    Lines and rows are counted from 1.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = len(problems) - _PRINTED
        lines = [f"{source} has {len(problems)} problem{'s' * (len(problems) > 1)}:"]
        lines += [f"  {problem}" for problem in problems[:_PRINTED]]
        lines += [f"  … and {more} more"] if more > 0 else []
        super().__init__("\n".join(lines))


# Fields


def _printable(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    # Control characters, lone surrogates, and the line ends that only Unicode knows.
    if any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in text):
        raise ValueError("must not hold control characters or line ends")
    return text


def _source(uri: str) -> str:
    check_source(uri)
    return uri


Name = Annotated[str, AfterValidator(_printable)]
Uri = Annotated[str, AfterValidator(_printable), AfterValidator(_source)]
FrameNumber = Annotated[int, Field(ge=0, lt=_INT32)]
Coordinate = Annotated[float, Field(ge=0)]
_LISTS = Field(strict=False)  # lists may fill tuples; what is in them stays strict
Point = Annotated[tuple[Coordinate, Coordinate], _LISTS]
Box = Annotated[tuple[Coordinate, Coordinate, Coordinate, Coordinate], _LISTS]
Direction = Literal["forward", "reverse", "both"]


class _Record(BaseModel):
    """What all parts of a manifest share: strict types, known keys, null means absent."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        # A key that nobody knows stays, to be complained of.
        return {k: v for k, v in data.items() if v is not None or k not in cls.model_fields}

    @model_validator(mode="after")
    def _refuse_problems(self) -> Self:
        if problems := list(self._problems()):
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterable[str]:
        return ()


class PromptMask(_Record):
    """A mask in COCO's run-length code; size is (height, width)."""

    size: Annotated[tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]], _LISTS]
    counts: str

    def _problems(self) -> Iterator[str]:
        try:
            runs = run_lengths(self.counts, *self.size)
        except ValueError as error:
            yield str(error)
        else:
            if not runs[1::2].any():
                yield "the mask is empty: there is nothing to find"


class Prompt(_Record):
    """What marks an object on one frame: points and a box, or a mask alone."""

    frame: FrameNumber | None = None
    time_s: Annotated[float, Field(ge=0)] | None = None
    points: Annotated[tuple[Point, ...], _LISTS] = ()  # x, y
    point_labels: Annotated[tuple[Literal[0, 1], ...], _LISTS] = ()  # 1: on the object, 0: beside
    box: Box | None = None  # x1, y1, x2, y2
    mask: PromptMask | None = None

    def _problems(self) -> Iterator[str]:
        if (self.frame is None) == (self.time_s is None):
            yield "needs either 'frame' or 'time_s'"
        if len(self.points) != len(self.point_labels):
            yield f"has {len(self.points)} points but {len(self.point_labels)} point_labels"
        if self.mask and (self.points or self.box):
            yield "has a mask, so it cannot have points or a box"
        if self.box and (self.box[2] <= self.box[0] or self.box[3] <= self.box[1]):
            yield f"box {list(self.box)} is not x1, y1, x2, y2 with x1 < x2 and y1 < y2"
        if not (self.points or self.box or self.mask):
            yield "needs points, a box or a mask"
        if self.points and 1 not in self.point_labels and not self.box:
            yield "has only negative points: there is nothing to find"

    @property
    def coordinates(self) -> tuple[float, ...]:
        """Every x and y of its points and box."""
        return (*(xy for point in self.points for xy in point), *(self.box or ()))


class ObjectPrompts(_Record):
    """One object of a video: how it is marked, and which way to track it from there."""

    object_id: Annotated[int, Field(ge=0, lt=_INT32)]
    label: Name | None = None
    direction: Direction = "forward"
    prompts: Annotated[tuple[Prompt, ...], _LISTS]

    def _problems(self) -> Iterator[str]:
        if not self.prompts:
            yield "needs at least one prompt"
        for frame in _repeated(p.frame for p in self.prompts if p.frame is not None):
            yield f"has two prompts on frame {frame}: put them into one"
        for time_s in _repeated(p.time_s for p in self.prompts if p.time_s is not None):
            yield f"has two prompts at {time_s} s: put them into one"


class VideoEntry(_Record):
    """One video of the manifest, with the objects to track in it."""

    video_id: Name
    uri: Uri
    frames: Annotated[tuple[FrameNumber, FrameNumber], _LISTS] | None = None  # half open
    coords: Literal["pixel", "norm"] = "pixel"
    objects: Annotated[tuple[ObjectPrompts, ...], _LISTS] | None = None  # None: to be discovered

    def _problems(self) -> Iterator[str]:
        if self.frames and self.frames[1] <= self.frames[0]:
            yield f"frames {list(self.frames)} is not a half-open range [first, end)"
        if self.objects == ():
            yield "objects is empty: give at least one object with a prompt"
        for object_id in _repeated(o.object_id for o in self.objects or ()):
            yield f"object_id {object_id} is given twice"
        for o in self.objects or ():
            for prompt in o.prompts:
                yield from (f"object {o.object_id}: {text}" for text in self._misplaced(prompt))

    def _misplaced(self, prompt: Prompt) -> Iterator[str]:
        if self.frames and prompt.frame is not None and prompt.frame not in range(*self.frames):
            yield f"its prompt on frame {prompt.frame} is outside frames {list(self.frames)}"
        if self.coords == "norm" and any(xy > 1 for xy in prompt.coordinates):
            yield "coords is 'norm', but a coordinate is larger than 1"


def _repeated(values: Iterable[float]) -> list[float]:
    return [value for value, same in groupby(sorted(values)) if len(list(same)) > 1]


# Reading

_Raw = bytes | Mapping[str, object]  # a line of JSON, or a row of a table
_ID = TypeAdapter(Name)


def read_manifest(uri: str) -> list[VideoEntry]:
    """The entries of a manifest, all valid, or a ManifestError with all that is wrong.

    A relative uri in it means a file beside the manifest.
    """
    entries: list[VideoEntry] = []
    problems: list[str] = []
    seen: dict[str, str] = {}  # video_id -> where it was first
    for place, record in _records(uri):
        entry, wrong = _checked(record)
        name = entry.video_id if entry else _named(record)
        if name in seen:
            wrong.append(f"video_id '{name}' was given before, in {seen[name]}")
        elif name:
            seen[name] = place
        if entry:
            entries.append(entry.model_copy(update={"uri": _beside(uri, entry.uri)}))
        problems += [f"{place}: {text}" for text in wrong]
    if not entries and not problems:
        problems = ["it has no videos"]
    if problems:
        raise ManifestError(uri, problems)
    return entries


def _checked(record: _Raw) -> tuple[VideoEntry | None, list[str]]:
    """The entry of a record, if it can be read, and what is wrong with it."""
    try:
        entry = _entry(record)
    except ValidationError as error:
        return None, list(explain(error, known_keys))
    return entry, [] if entry.objects else [_NO_OBJECTS]


def _entry(record: _Raw) -> VideoEntry:
    if isinstance(record, bytes):
        return VideoEntry.model_validate_json(record)
    return VideoEntry.model_validate(record)


def _named(record: _Raw) -> str | None:
    """The video_id of a record that has mistakes, if that is none of them."""
    try:
        values = from_json(record) if isinstance(record, bytes) else record
        return _ID.validate_python(values["video_id"], strict=True)
    except (KeyError, TypeError, ValueError):
        return None


def _records(uri: str) -> Iterator[tuple[str, _Raw]]:
    """Every line of JSON or row of Parquet, with its place."""
    suffix = PurePosixPath(uri).suffix
    if suffix not in (".jsonl", ".json", ".parquet"):
        raise ManifestError(uri, [f"a manifest is .jsonl, .json or .parquet, not '{suffix}'"])
    try:
        fs, path = storage.filesystem(uri)
        if suffix == ".parquet":
            with fs.open_input_file(path) as source:
                yield from _rows(source)
        else:
            yield from _lines(storage.read_bytes(fs, path))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ManifestError(uri, [f"it cannot be read: {error}"]) from error


def _lines(data: bytes) -> Iterator[tuple[str, bytes]]:
    data = data.removeprefix(b"\xef\xbb\xbf")  # Windows editors begin with a mark
    _refuse_other_json(data.decode(errors="replace").lstrip())
    lines = data.split(b"\n")
    return ((f"line {n}", line) for n, line in enumerate(lines, 1) if line.strip())


def _refuse_other_json(text: str) -> None:
    """A ValueError for an array, or an object over many lines; it says how to convert them."""
    wanted = "a manifest holds one video per line, and this file"
    if text.startswith("["):
        raise ValueError(f"{wanted} is an array: convert it with jq -c '.[]' FILE > videos.jsonl")
    if "\n" in text[: _end_of_value(text)]:
        raise ValueError(
            f"{wanted} has one on several: convert it with jq -c . FILE > videos.jsonl"
        )


def _end_of_value(text: str) -> int:
    """Where the JSON value ends that a text begins with; 0 if it begins with none."""
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return 0


def _rows(source: pa.NativeFile) -> Iterator[tuple[str, Mapping[str, object]]]:
    table = pq.ParquetFile(source)
    # Where somebody has filtered a table, pandas writes down which of its rows are left.
    columns = [name for name in table.schema_arrow.names if name != "__index_level_0__"]
    batches = table.iter_batches(batch_size=1024, columns=columns)
    rows = (row for batch in batches for row in batch.to_pylist())
    return ((f"row {n}", row) for n, row in enumerate(rows, 1))


def _beside(manifest: str, uri: str) -> str:
    """The uri, taken from the manifest's folder if it is relative."""
    if "://" in uri or uri.startswith("/"):
        return uri
    home = manifest if "://" in manifest else storage.filesystem(manifest)[1]
    return storage.join(home.rpartition("/")[0], uri)


# Explaining

_PARTS: dict[int | str, type[_Record]] = {
    "objects": ObjectPrompts,
    "prompts": Prompt,
    "mask": PromptMask,
}


def known_keys(place: Place) -> tuple[str, list[str]]:
    """The key at a place of an entry, and the names that it could have there."""
    *path, key = place
    parts = (_PARTS[step] for step in reversed(path) if step in _PARTS)
    return str(key), list(next(parts, VideoEntry).model_fields)
