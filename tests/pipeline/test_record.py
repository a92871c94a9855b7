"""run.json: what makes two runs the same run."""

from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.config import load_config
from pipeline.manifest import ObjectPrompts, Prompt, VideoEntry
from pipeline.record import RecordError, RunRecord

FS = LocalFileSystem()


def entries(x: float = 5.0) -> list[VideoEntry]:
    prompt = Prompt(frame=0, points=((x, 6.0),), point_labels=(1,))
    return [
        VideoEntry(
            video_id="a", uri="/a.mp4", objects=(ObjectPrompts(object_id=1, prompts=(prompt,)),)
        )
    ]


def test_the_same_inputs_give_the_same_run_id_wherever_they_run() -> None:
    here = RunRecord.begin(load_config(settings=["cluster.actors=1"]), entries(), "abc")
    there = RunRecord.begin(load_config(settings=["cluster.actors=9"]), entries(), "abc")

    assert here.run_id == there.run_id
    here.refuse_other(there)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (RunRecord.begin(load_config(), entries(7.0), "abc"), "manifest"),
        (RunRecord.begin(load_config(), entries(), "def"), "weights"),
        (
            RunRecord.begin(load_config(settings=["max_batch=2"]), entries(), "abc"),
            r"max_batch \(16 there, 2 asked for\)",
        ),
    ],
)
def test_another_run_is_refused_and_the_difference_named(other: RunRecord, named: str) -> None:
    record = RunRecord.begin(load_config(), entries(), "abc")

    with pytest.raises(RecordError, match=rf"differs in: {named}\."):
        record.refuse_other(other)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = RunRecord.begin(load_config(), entries(), "abc").end({"ok": 1})

    record.write(FS, str(tmp_path))

    assert RunRecord.read(FS, str(tmp_path)) == record
    assert record.finished


def test_a_folder_without_a_run_has_no_record_and_garbage_is_named(tmp_path: Path) -> None:
    assert RunRecord.read(FS, str(tmp_path)) is None

    (tmp_path / "run.json").write_text('{"run": 1}')
    with pytest.raises(RecordError, match=r"run\.json"):
        RunRecord.read(FS, str(tmp_path))
