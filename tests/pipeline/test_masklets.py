"""What a run writes can be read back, row by row and mask by mask."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pyarrow.fs import LocalFileSystem

from pipeline import storage
from pipeline.manifest import Prompt, PromptMask
from pipeline.masklets import SCHEMA, Masklet, MaskletError, read_masklets, schema_of
from pipeline.rle import encode_mask

FAILED = Masklet(
    task_id=7, video_id="a1", uri="a1.mp4", object_id=2, status="failed", error="no frames"
)
FLOATS = st.floats(0, 1, width=32)


def tracked(stack: NDArray[np.bool_], score: float = 0.5) -> Masklet:
    """A masklet with these masks (T, H, W), on every second frame from 4."""
    frames = [4 + 2 * t for t in range(len(stack))]
    mask = PromptMask(size=(1, 2), counts=encode_mask(np.array([[False, True]])))
    return Masklet(
        task_id=1,
        video_id="a1",
        uri="s3://bucket/a1.mp4",
        object_id=3,
        label="dog",
        status="ok",
        height=stack.shape[1],
        width=stack.shape[2],
        fps=29.97,
        n_frames=100,
        prompts=(
            Prompt(frame=4, points=((0.1, 2),), point_labels=(1,), box=(0.1, 1, 0.1000000001, 2)),
            Prompt(time_s=1.2, mask=mask),
        ),
        frame_index=frames,
        timestamp_s=[frame / 29.97 for frame in frames],
        counts=[encode_mask(mask) for mask in stack],
        score=[score] * len(stack),
        object_score=[score] * len(stack),
        area=[int(mask.sum()) for mask in stack],
        bbox=[[1.5, 2, 3, 4] for _ in stack],
        model="nano",
        checkpoint_sha256="0" * 64,
        attempts=2,
        resumed_from=4,
        gpu_s=0.25,
    )


def test_masks_from_elsewhere_make_a_masklet() -> None:
    there = np.zeros((4, 6), bool)
    there[1:3, 2:6] = True
    names = {"task_id": 0, "video_id": "v", "uri": "v.mp4", "object_id": 1}

    masklet = Masklet.of_masks({3: there, 5: np.zeros((4, 6), bool)}, fps=2.0, **names)

    assert np.array_equal(masklet.mask(3), there)
    assert not masklet.mask(5).any()
    assert (masklet.timestamp_s, masklet.area) == ([1.5, 2.5], [8, 0])
    assert masklet.bbox == [[2.0, 1.0, 4.0, 2.0], [0.0] * 4]
    assert masklet.object_score == [1.0, 0.0]


def write(folder: str | Path, name: str, *masklets: Masklet) -> None:
    fs, path = storage.filesystem(storage.join(str(folder), "masklets", name))
    table = pa.Table.from_pylist([masklet.to_row() for masklet in masklets], schema_of("run1"))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    storage.put(fs, path, sink.getvalue().to_pybytes())


@settings(deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=12)), FLOATS)
def test_a_masklet_comes_back_from_its_file(stack: NDArray[np.bool_], score: float) -> None:
    masklet = tracked(stack, score)
    with TemporaryDirectory() as folder:
        write(folder, "0.parquet", masklet, FAILED)

        read = list(read_masklets(folder))

    assert read == [masklet, FAILED]
    np.testing.assert_array_equal(read[0].masks(), stack)


def test_one_mask_is_found_by_its_frame() -> None:
    stack = np.zeros((3, 5, 7), dtype=np.bool_)
    stack[2, 1:3, 4] = True
    masklet = tracked(stack)

    np.testing.assert_array_equal(masklet.mask(8), stack[2])
    assert not masklet.mask(6).any()
    with pytest.raises(MaskletError, match="object 3 of video 'a1' was not tracked on frame 5"):
        masklet.mask(5)


def test_a_failed_masklet_has_no_masks() -> None:
    assert FAILED.masks().shape == (0, 0, 0)


def test_a_mask_that_does_not_fit_its_video_is_refused() -> None:
    masklet = replace(tracked(np.ones((1, 5, 7), dtype=np.bool_)), height=6)

    with pytest.raises(MaskletError, match="video 'a1': mask counts do not fill"):
        masklet.masks()


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(MaskletError, match="different lengths"):
        replace(FAILED, frame_index=[1, 2])


def test_all_files_of_a_run_are_read_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "b.parquet", *[replace(FAILED, task_id=n) for n in range(40)])
    write(tmp_path, "a.parquet", replace(FAILED, task_id=40))
    (tmp_path / "masklets" / "note.txt").touch()

    assert {masklet.task_id for masklet in read_masklets(str(tmp_path))} == set(range(41))


def test_a_run_on_s3_is_read_like_any_other(s3_bucket: str) -> None:
    write(f"{s3_bucket}/out", "0.parquet", FAILED)

    assert list(read_masklets(f"{s3_bucket}/out")) == [FAILED]


def test_a_filesystem_can_be_given(tmp_path: Path) -> None:
    write(tmp_path, "0.parquet", FAILED)

    assert list(read_masklets(str(tmp_path), LocalFileSystem())) == [FAILED]


def test_the_folder_of_the_files_will_do(tmp_path: Path) -> None:
    write(tmp_path, "0.parquet", FAILED)

    assert list(read_masklets(f"{tmp_path}/masklets")) == [FAILED]


def test_a_run_that_has_written_nothing_has_no_masklets(tmp_path: Path) -> None:
    (tmp_path / "run.json").touch()
    (tmp_path / "videos.parquet").touch()  # such as its manifest

    assert list(read_masklets(str(tmp_path))) == []


def test_where_no_run_has_begun_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(MaskletError, match="typo holds no masklets: give the --out of a run"):
        list(read_masklets(f"{tmp_path}/typo"))


def test_the_footer_tells_how_to_read_the_file(tmp_path: Path) -> None:
    write(tmp_path, "0.parquet", FAILED)

    schema = pq.read_schema(tmp_path / "masklets" / "0.parquet")

    assert schema.equals(SCHEMA)
    assert schema.metadata[b"run_id"] == b"run1"
    assert schema.metadata[b"mask_encoding"] == b"coco_rle"
    assert schema.metadata[b"frame_index_base"] == b"0"
    assert schema.metadata[b"schema_version"] == b"1"


def test_another_writers_text_type_does_not_matter(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([FAILED.to_row()], SCHEMA)
    column = SCHEMA.get_field_index("uri")
    table = table.set_column(column, "uri", table["uri"].cast(pa.large_string()))
    (tmp_path / "masklets").mkdir()
    pq.write_table(table, tmp_path / "masklets" / "0.parquet")

    assert list(read_masklets(str(tmp_path))) == [FAILED]


@pytest.mark.parametrize("kind", ["other columns", "no table"])
def test_a_file_of_something_else_is_named(kind: str, tmp_path: Path) -> None:
    (tmp_path / "masklets").mkdir()
    path = tmp_path / "masklets" / "0.parquet"
    if kind == "no table":
        path.write_bytes(b"PAR1 but not for long")
    else:
        pq.write_table(pa.table({"task_id": [1]}), path)

    with pytest.raises(MaskletError, match=r"0\.parquet is not a file of masklets"):
        list(read_masklets(str(tmp_path)))
