"""The job on a real Ray cluster: complete, repeatable, resumable, on any number of actors."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray
from pyarrow.fs import FileSelector

import pipeline
from pipeline import storage
from pipeline.cluster import size_pool
from pipeline.config import RunConfig, load_config
from pipeline.manifest import ObjectPrompts, Prompt, VideoEntry
from pipeline.masklets import SCHEMA, Masklet, read_masklets
from pipeline.record import RecordError
from pipeline.run import run
from tests.chaos.gateway import SECRET
from tests.clips import write_clip

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_cluster"),
]


def config(actors: int = 1) -> RunConfig:
    return load_config(settings=[f"cluster.actors={actors}", "cluster.threads=1"])


def wanted(object_id: int, x: float, frame: int = 0, direction: str = "forward") -> ObjectPrompts:
    prompts = (Prompt(frame=frame, points=((x, 30.0),), point_labels=(1,)),)
    return ObjectPrompts(object_id=object_id, direction=direction, prompts=prompts)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[VideoEntry]:
    """Three clips, two objects on the first; a missing one; and a prompt outside its picture."""
    folder = tmp_path_factory.mktemp("videos")
    clips = [write_clip(folder / f"clip{n}.mp4", n_frames=4 + n) for n in range(3)]
    objects = [(wanted(1, 20), wanted(2, 50, 2, "both")), (wanted(1, 20),), (wanted(7, 30, 1),)]
    good = [
        VideoEntry(video_id=clip.stem, uri=str(clip), objects=marked)
        for clip, marked in zip(clips, objects, strict=True)
    ]
    missing = VideoEntry(
        video_id="missing", uri=str(folder / "missing.mp4"), objects=(wanted(1, 5),)
    )
    outside = VideoEntry(video_id="outside", uri=str(clips[0]), objects=(wanted(1, 5000),))
    return [*good, missing, outside]


def rows(out: str | Path) -> list[Masklet]:
    """The masklets of a run by task, without what depends on the clock."""
    return sorted((replace(m, gpu_s=0.0) for m in read_masklets(str(out))), key=lambda m: m.task_id)


def digests(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def finished(entries: Sequence[VideoEntry], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a finished run on one actor."""
    out = tmp_path_factory.mktemp("out")
    summary = run(entries, str(out), config())
    assert dict(summary.counts) == {"ok": 4, "failed": 2, "object_frames": 4 + 4 + 5 + 5}
    assert summary.failed == 2
    assert len(summary.problems) == 2
    return out


def test_every_task_has_one_row_and_trouble_stays_in_its_own(finished: Path) -> None:
    masklets = rows(finished)

    assert [m.task_id for m in masklets] == [0, 1, 2, 3, 4, 5]
    status = {(m.video_id, m.object_id): m.status for m in masklets}
    assert status == {
        ("clip0", 1): "ok",
        ("clip0", 2): "ok",
        ("clip1", 1): "ok",
        ("clip2", 7): "ok",
        ("missing", 1): "failed",
        ("outside", 1): "failed",
    }


def test_the_files_say_what_they_are(finished: Path) -> None:
    record = json.loads((finished / "run.json").read_text())
    for file in (finished / "masklets").iterdir():
        schema = pq.read_schema(file)
        assert schema.equals(SCHEMA)
        assert schema.metadata[b"run_id"].decode() == record["run_id"]
        assert schema.metadata[b"mask_encoding"] == b"coco_rle"
    assert record["finished"]
    assert record["counts"]["ok"] == 4


def test_a_finished_run_done_again_changes_nothing(
    entries: Sequence[VideoEntry], finished: Path
) -> None:
    before = digests(finished)

    summary = run(entries, str(finished), config(actors=2))

    assert digests(finished) == before
    assert summary.counts["ok"] == 4
    assert summary.was_finished


def test_two_actors_give_the_rows_of_one(
    entries: Sequence[VideoEntry], finished: Path, tmp_path: Path
) -> None:
    run(entries, str(tmp_path), config(actors=2))

    assert rows(tmp_path) == rows(finished)


def test_a_run_cut_off_in_the_middle_is_completed_and_nothing_done_twice(
    entries: Sequence[VideoEntry], finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    lost, *kept = sorted((tmp_path / "masklets").iterdir())
    untouched = {path: path.stat().st_mtime_ns for path in kept}
    lost.unlink()
    (tmp_path / "checkpoint" / lost.name).unlink()
    record = json.loads((tmp_path / "run.json").read_text()) | {"finished": None, "counts": {}}
    (tmp_path / "run.json").write_text(json.dumps(record))

    run(entries, str(tmp_path), config())

    assert rows(tmp_path) == rows(finished)
    assert {path: path.stat().st_mtime_ns for path in kept} == untouched


def test_another_manifest_is_refused_and_nothing_is_touched(
    entries: Sequence[VideoEntry], finished: Path
) -> None:
    before = digests(finished)

    with pytest.raises(RecordError, match="manifest"):
        run(entries[:1], str(finished), config())

    assert digests(finished) == before


def test_the_output_may_lie_on_s3_and_its_secret_nowhere(
    entries: Sequence[VideoEntry],
    finished: Path,
    s3_bucket: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = f"{s3_bucket}/runs/one"

    summary = run(entries, out, config())
    again = run(entries, out, config())

    assert rows(out) == rows(finished)
    assert again == replace(summary, was_finished=True)
    logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    told = [path.read_text(errors="replace") for path in logs.rglob("*") if path.is_file()]
    assert "task 0" in "".join(told)
    assert SECRET not in "".join((*told, *capfd.readouterr(), *contents(out)))


def contents(out: str) -> Iterator[str]:
    """What stands in the files of a run."""
    fs, folder = storage.filesystem(out)
    for info in fs.get_file_info(FileSelector(folder, recursive=True)):
        if info.path.endswith(".parquet"):
            table = pq.read_table(info.path, filesystem=fs)
            yield f"{table.schema.metadata} {table.to_pylist()}"
        elif info.is_file:
            yield storage.read_bytes(fs, info.path).decode()


def test_the_job_without_its_ends_is_a_dataset_to_a_dataset(
    finished: Path,
) -> None:
    tasks = ray.data.from_arrow(pq.read_table(finished / "tasks"))

    masklets = pipeline.segment(tasks, config()).take_all()

    expected = {m.task_id: m.counts for m in rows(finished)}
    assert {row["task_id"]: list(row["counts"]) for row in masklets} == expected


@pytest.mark.parametrize("cores", [1, 2, 3, 8, 64])
def test_two_cpus_are_left_for_ray_data_itself_however_many_there_are(cores: int) -> None:
    chosen = size_pool(load_config(settings=["cluster.threads=4"]), {"CPU": cores + 2.0})

    assert chosen.actors >= 1
    assert chosen.actors * chosen.cpus <= cores
    assert chosen.gpus == 0


def test_there_is_one_actor_per_gpu_or_several_if_they_share() -> None:
    resources = {"CPU": 32.0, "GPU": 4.0}

    alone = size_pool(load_config(), resources)
    shared = size_pool(load_config(settings=["cluster.gpus_per_actor=0.5"]), resources)

    assert (alone.actors, alone.gpus) == (4, 1)
    assert (shared.actors, shared.gpus) == (8, 0.5)


@pytest.mark.parametrize(
    ("share", "actors"), [(0.2, 15), (0.1, 30), (0.3, 9), (0.5, 6), (1, 3), (1.5, 2), (3, 1)]
)
def test_no_share_of_a_gpu_is_lost_to_rounding_or_lies_on_two(share: float, actors: int) -> None:
    config = load_config(settings=[f"cluster.gpus_per_actor={share}"])

    assert size_pool(config, {"CPU": 99.0, "GPU": 3.0}).actors == actors


def test_a_pool_may_grow_as_nodes_join_but_not_beyond_its_shards() -> None:
    config = load_config(settings=["cluster.max_actors=10"])

    chosen = size_pool(config, {"CPU": 16.0, "GPU": 2.0}, shards=6)

    assert (chosen.actors, chosen.most) == (2, 6)
