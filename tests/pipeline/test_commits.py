"""Files of masklets and their records: what an interrupted run leaves is made consistent."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.commits import commit, read_commits, reconcile
from pipeline.masklets import Masklet, read_masklets, schema_of

FS = LocalFileSystem()


def rows(*ids: int, status: str = "ok") -> pa.Table:
    masklets = [
        Masklet(
            task_id=i,
            video_id=f"v{i}",
            uri=f"/v{i}.mp4",
            object_id=1,
            status=status,  # type: ignore[arg-type]
            error=None if status == "ok" else "it is broken",
        )
        for i in ids
    ]
    return pa.Table.from_pylist([m.to_row() for m in masklets], schema=schema_of("run"))


def write(folder: Path, name: str, *ids: int, checkpoint: str = "{}.parquet") -> None:
    """A file as a run leaves it, with Ray Data's checkpoint under the name it has by then."""
    commit(FS, str(folder), name, rows(*ids))
    path = folder / "checkpoint" / checkpoint.format(name)
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"task_id": pa.array(ids, pa.int64())}), path)


def names(folder: Path) -> dict[str, set[str]]:
    return {
        part: {path.stem for path in (folder / part).iterdir()}
        for part in ("masklets", "commits", "checkpoint")
    }


def everywhere(*expected: str) -> dict[str, set[str]]:
    return {part: {*expected} for part in ("masklets", "commits", "checkpoint")}


def test_a_record_tells_the_rows_of_its_file_without_reading_it(tmp_path: Path) -> None:
    commit(FS, str(tmp_path), "a", rows(1, 2))
    commit(FS, str(tmp_path), "b", rows(3, status="failed"))

    records = read_commits(FS, str(tmp_path))

    assert records["a"].counts == {"ok": 2, "object_frames": 0}
    assert records["b"].counts == {"failed": 1, "object_frames": 0}
    assert records["b"].problems == ["v3, object 1: failed: it is broken"]
    assert records["a"].size == (tmp_path / "masklets" / "a.parquet").stat().st_size


def test_what_is_whole_and_committed_stays(tmp_path: Path) -> None:
    write(tmp_path, "a", 1)
    write(tmp_path, "b", 2)

    assert reconcile(FS, str(tmp_path)) == []
    assert names(tmp_path) == everywhere("a", "b")


@pytest.mark.parametrize("check", ["sha256", "size"])
@pytest.mark.parametrize("harm", ["missing", "cut"])
def test_a_committed_file_that_is_missing_or_cut_is_made_again(
    tmp_path: Path, harm: str, check: str
) -> None:
    write(tmp_path, "a", 1)
    write(tmp_path, "b", 2)
    file = tmp_path / "masklets" / "a.parquet"
    data = file.read_bytes()
    file.unlink() if harm == "missing" else file.write_bytes(data[:-1])

    (trouble,) = reconcile(FS, str(tmp_path), check)  # type: ignore[arg-type]

    assert "a" in trouble
    assert names(tmp_path) == everywhere("b")


def test_one_flipped_bit_is_found(tmp_path: Path) -> None:
    write(tmp_path, "a", 1)
    file = tmp_path / "masklets" / "a.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)

    assert len(reconcile(FS, str(tmp_path))) == 1
    assert names(tmp_path) == everywhere()


def test_a_file_whose_checkpoint_is_only_pending_is_removed(tmp_path: Path) -> None:
    write(tmp_path, "a", 1)
    write(tmp_path, "b", 2, checkpoint="{}.pending.parquet")

    assert reconcile(FS, str(tmp_path)) == []
    assert names(tmp_path) == everywhere("a") | {"checkpoint": {"a", "b.pending"}}


def test_a_checkpoint_copied_but_not_yet_deleted_counts_as_committed(tmp_path: Path) -> None:
    write(tmp_path, "a", 1)
    write(tmp_path, "a", 1, checkpoint="{}.pending.parquet")

    assert reconcile(FS, str(tmp_path)) == []
    assert names(tmp_path) == everywhere("a")
    assert [m.task_id for m in read_masklets(str(tmp_path))] == [1]


def test_a_folder_in_which_nothing_was_written_yet_is_consistent(tmp_path: Path) -> None:
    assert reconcile(FS, str(tmp_path / "new")) == []


@pytest.mark.parametrize("text", ["", '{"size": 1'])
def test_drafts_of_a_writer_that_was_killed_are_passed_over_and_removed(
    tmp_path: Path, text: str
) -> None:
    write(tmp_path, "a", 1)
    drafts = [tmp_path / part / ".0123.tmp" for part in ("masklets", "commits", "checkpoint")]
    for draft in drafts:
        draft.write_text(text)

    assert set(read_commits(FS, str(tmp_path))) == {"a"}
    assert reconcile(FS, str(tmp_path)) == []
    assert names(tmp_path) == everywhere("a")
