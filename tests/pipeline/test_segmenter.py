"""The segmenter: tasks in, masklets out, and every trouble in its own row."""

import gc
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count, groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from pipeline.footage import Unfinished
from pipeline.manifest import Direction, Prompt, PromptMask
from pipeline.masklet_columns import record_frame
from pipeline.masklets import SCHEMA, Masklet
from pipeline.plan import Task
from pipeline.rle import encode_mask
from pipeline.segmenter import Segmenter
from sam2.checkpoint import load_model
from sam2.config import model_config
from sam2.model import FrameFeatures, Sam2
from tests.clips import write_clip

BOX = Prompt(frame=0, box=(8.0, 20.0, 32.0, 44.0))


def box_on(frame: int) -> Prompt:
    return BOX.model_copy(update={"frame": frame})


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(load_model("nano"), "digest")


def task(
    clip: Path, *prompts: Prompt, task_id: int = 0, direction: Direction = "forward", **other
) -> Task:
    return Task(
        task_id=task_id,
        shard=0,
        video_id=clip.stem,
        uri=str(clip),
        object_id=task_id + 1,
        direction=direction,
        prompts=prompts or (BOX,),
        **other,
    )


def wait_until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.01)


def result(masklet: Masklet) -> Masklet:
    """The masklet without what depends on the clock."""
    return replace(masklet, gpu_s=0.0)


def test_a_masklet_has_an_entry_for_every_frame_from_its_prompt_on(
    segmenter: Segmenter, clip: Path
) -> None:
    (masklet,) = segmenter.segment([task(clip, box_on(2))])

    assert masklet.status == "ok"
    assert masklet.frame_index == [2, 3, 4, 5]
    assert masklet.timestamp_s == pytest.approx([2 / 12, 3 / 12, 4 / 12, 5 / 12])
    assert (masklet.height, masklet.width, masklet.n_frames) == (64, 96, 6)
    assert masklet.masks().shape == (4, 64, 96)
    assert masklet.area == masklet.masks().sum(axis=(1, 2)).tolist()
    assert all(0 <= score <= 1 for score in (*masklet.score, *masklet.object_score))
    assert masklet.checkpoint_sha256 == "digest"


@pytest.mark.parametrize(
    ("direction", "frames"),
    [("forward", [2, 3, 4, 5]), ("reverse", [0, 1, 2]), ("both", [0, 1, 2, 3, 4, 5])],
)
def test_the_direction_says_which_frames_are_tracked(
    segmenter: Segmenter, clip: Path, direction: Direction, frames: list[int]
) -> None:
    (masklet,) = segmenter.segment([task(clip, box_on(2), direction=direction)])

    assert masklet.frame_index == frames


def test_objects_of_one_video_are_as_they_are_alone(segmenter: Segmenter, clip: Path) -> None:
    tasks = [
        task(clip),
        task(
            clip,
            Prompt(frame=3, points=((50.0, 30.0),), point_labels=(1,)),
            task_id=1,
            direction="both",
        ),
        task(clip, box_on(1), box_on(4), task_id=2),
    ]

    together = [result(m) for m in segmenter.segment(tasks)]
    alone = [result(m) for one in tasks for m in segmenter.segment([one])]

    assert together == alone


def test_a_time_a_share_of_the_picture_and_a_frame_in_pixels_mean_the_same(
    segmenter: Segmenter, clip: Path
) -> None:
    shares = Prompt(time_s=2 / 12, box=(8 / 96, 20 / 64, 32 / 96, 44 / 64))

    (by_share,) = segmenter.segment([task(clip, shares, coords="norm")])
    (by_pixel,) = segmenter.segment([task(clip, box_on(2))])

    assert by_share.counts == by_pixel.counts
    assert by_share.prompts == by_pixel.prompts  # the row says it in frames and pixels


def test_a_drawn_mask_comes_back_on_its_own_frame(segmenter: Segmenter, clip: Path) -> None:
    drawn = np.zeros((64, 96), dtype=bool)
    drawn[16:48, 24:72] = True
    mask = PromptMask(size=(64, 96), counts=encode_mask(drawn))

    (masklet,) = segmenter.segment([task(clip, Prompt(frame=0, mask=mask))])

    overlap = (masklet.mask(0) & drawn).sum() / (masklet.mask(0) | drawn).sum()
    assert overlap > 0.95


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Prompt(frame=99, box=BOX.box), "frame 99 is outside the frames .* 0 to 5"),
        (Prompt(time_s=60.0, box=BOX.box), "60.0 s is past the end"),
        (Prompt(frame=0, box=(8.0, 20.0, 320.0, 44.0)), "x 320, y 44 is outside the picture"),
        (
            Prompt(
                frame=0, mask=PromptMask(size=(8, 8), counts=encode_mask(np.eye(8, dtype=bool)))
            ),
            "8 wide",
        ),
    ],
)
def test_a_prompt_that_does_not_fit_its_video_fails_alone_and_says_why(
    segmenter: Segmenter, clip: Path, wrong: Prompt, reason: str
) -> None:
    bad, good = segmenter.segment([task(clip, wrong), task(clip, task_id=1)])

    assert (bad.status, bad.error_type, bad.frame_index) == ("failed", "TaskError", [])
    assert bad.error
    assert re.search(reason, bad.error)
    assert good.status == "ok"


def test_an_unreadable_video_fails_with_its_name_and_the_next_one_is_done(
    segmenter: Segmenter, clip: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()

    missing, unreadable, good = segmenter.segment(
        [task(tmp_path / "missing.mp4"), task(empty, task_id=1), task(clip, task_id=2)]
    )

    assert [m.status for m in (missing, unreadable, good)] == ["failed", "failed", "ok"]
    assert "missing.mp4" in str(missing.error)
    assert "empty.mp4" in str(unreadable.error)


def test_a_name_that_is_no_text_can_still_be_told_in_a_row(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"no picture")

    (row,) = segmenter.segment([task(tmp_path)])

    assert row.status == "failed"
    assert "caf" in str(row.error)
    pa.Table.from_pylist([row.to_row()], schema=SCHEMA)  # or it could not be written


def test_a_video_cut_short_gives_a_partial_masklet_that_says_so(
    segmenter: Segmenter, shared: Path
) -> None:
    (masklet,) = segmenter.segment([task(shared / "badvideos" / "truncated_tail.mp4")])

    assert masklet.status == "partial"
    assert "cut short" in str(masklet.error)
    assert 0 < len(masklet.frame_index) < 24


def test_progress_is_reported_frame_by_frame(segmenter: Segmenter, clip: Path) -> None:
    reported: list[object] = []

    list(segmenter.segment([task(clip), task(clip, box_on(4), task_id=1)], reported.append))

    alone = [{0: n} for n in (1, 2, 3, 4)]
    assert reported == [*alone, {0: 5, 1: 1}, {0: 6, 1: 2}]


# ---- several videos at once


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Clips of different lengths and sizes."""
    folder = tmp_path_factory.mktemp("several")
    sizes = [(3, 64, 64), (6, 96, 64), (1, 80, 48), (4, 64, 96)]
    return [write_clip(folder / f"{n}.mp4", n, width, height) for n, width, height in sizes]


@pytest.fixture
def mixed(clips: list[Path], shared: Path, tmp_path: Path) -> list[Task]:
    """Tasks of videos of all sorts, with some that fail."""
    directions: list[Direction] = ["forward", "reverse", "both"]
    tasks = [
        task(clip, box_on(frame), task_id=10 * number + frame, direction=directions[frame])
        for number, clip in enumerate([*clips, tmp_path / "missing.mp4"])
        for frame in range(3)
    ]
    cut_short = shared / "badvideos" / "truncated_tail.mp4"
    return [*tasks[:5], task(cut_short, box_on(5), task_id=99), *tasks[5:]]


def test_videos_side_by_side_give_the_rows_of_one_at_a_time_in_the_order_of_the_tasks(
    segmenter: Segmenter, mixed: list[Task]
) -> None:
    side_by_side = Segmenter(load_model("nano"), "digest", open_videos=3)
    videos = [list(same) for _, same in groupby(mixed, key=lambda t: t.uri)]

    together = [result(m) for m in side_by_side.segment(mixed)]

    assert together == [result(m) for tasks in videos for m in segmenter.segment(tasks)]
    statuses = [m.status for m in together]
    assert [statuses.count(s) for s in ("ok", "partial", "failed")] == [10, 1, 5]


def test_the_time_of_the_device_is_shared_out_among_the_tasks(
    segmenter: Segmenter, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever is timed takes one tick: on a busy machine one frame may well outlast six.
    ticks = count()
    clock = SimpleNamespace(perf_counter=lambda: float(next(ticks)), monotonic=time.monotonic)
    monkeypatch.setattr("pipeline.segmenter.time", clock)
    tasks = [task(clip, task_id=number) for number, clip in enumerate(clips)]

    rows = list(segmenter.segment(tasks))

    assert all(row.gpu_s > 0 for row in rows)
    assert sum(row.gpu_s for row in rows) <= next(ticks)
    assert rows[1].gpu_s > 3 * rows[2].gpu_s  # six frames and one


def test_no_thread_and_no_file_stays_behind_a_segmenter_that_is_left_early(
    segmenter: Segmenter, clips: list[Path]
) -> None:
    rows = segmenter.segment([task(clip, task_id=n) for n, clip in enumerate(clips)])
    next(rows)

    rows.close()

    assert not segmenter.engine.busy
    assert not [t for t in threading.enumerate() if t.name.startswith("masklet")]
    held = {str(path.resolve()) for path in Path("/proc/self/fd").iterdir()}
    assert not held & {str(clip) for clip in clips}


def test_a_fault_of_ours_is_no_row_but_an_error(
    segmenter: Segmenter, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pipeline.video.Video.frames", broken)

    with pytest.raises(ZeroDivisionError):
        list(segmenter.segment([task(clip)]))
    assert not segmenter.engine.busy


@pytest.mark.parametrize("last", [False, True])
def test_a_mask_that_cannot_be_coded_ends_in_an_error_and_in_no_row_that_lacks_it(
    last: bool, segmenter: Segmenter, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf()
    segmenting = Segmenter(segmenter.engine.model, banks=shelf)
    fails = 5 if last else 2

    def full(frame: int, *rest: Any) -> None:
        if frame == fails:
            wait_until(lambda: len(shelf.saved) == fails)
            raise torch.OutOfMemoryError
        record_frame(frame, *rest)

    monkeypatch.setattr("pipeline.segmenter.record_frame", full)

    with pytest.raises(torch.OutOfMemoryError):
        list(segmenting.segment([task(clip)]))
    assert [saved.found.frame_index for _, saved in shelf.saved] == [
        [*range(frame + 1)] for frame in range(fails)
    ]


def test_an_error_of_coding_lets_go_of_what_filled_the_memory(
    segmenter: Segmenter, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Any]] = []

    def full(frame: int, found: Any, size: Any) -> None:
        masks = torch.zeros(10)  # in the frames of the error, as those of a device would be
        held.append(weakref.ref(masks))
        raise torch.OutOfMemoryError

    monkeypatch.setattr("pipeline.segmenter.record_frame", full)
    gc.collect()
    gc.disable()
    try:
        with suppress(torch.OutOfMemoryError):
            list(segmenter.segment([task(clip)]))
        assert held
        assert [masks() for masks in held] == [None] * len(held)
    finally:
        gc.enable()


def test_a_device_without_room_fails_the_task_and_says_so(clip: Path) -> None:
    class FullDevice(Sam2):
        def encode(self, images: Tensor) -> FrameFeatures:
            raise torch.OutOfMemoryError

    (row,) = Segmenter(FullDevice(model_config("nano"))).segment([task(clip)])

    assert (row.status, row.error_type) == ("failed", "DeviceMemoryError")
    assert "ran out of memory" in str(row.error)


# ---- tasks that are saved on the way


@dataclass
class Shelf:
    """Banks in memory: everything that was ever saved, as it was then."""

    every_s: float = 0.0
    saved: list[tuple[int, Unfinished]] = field(default_factory=list)
    offered: dict[int, Unfinished] = field(default_factory=dict)

    def load(self, task: Task) -> Unfinished | None:
        return deepcopy(self.offered.get(task.task_id))

    def save(self, task: Task, unfinished: Unfinished) -> None:
        self.saved.append((task.task_id, replace(unfinished, found=deepcopy(unfinished.found))))


@pytest.mark.parametrize("direction", ["forward", "reverse", "both"])
def test_a_task_taken_up_from_any_save_gives_the_row_of_one_that_was_never_left(
    clip: Path, direction: Direction
) -> None:
    shelf, model = Shelf(), load_model("nano")
    tasks = [task(clip, box_on(3), direction=direction), task(clip, box_on(1), task_id=1)]
    undisturbed = [result(m) for m in Segmenter(model, banks=shelf).segment(tasks)]

    assert len(shelf.saved) == sum(len(m.frame_index) for m in undisturbed)
    for task_id, unfinished in shelf.saved:
        resumed = Segmenter(model, banks=Shelf(offered={task_id: unfinished})).segment(tasks)
        rows = [result(m) for m in resumed]
        assert rows[task_id].resumed_from == unfinished.state.next_frame
        assert [replace(m, resumed_from=None) for m in rows] == undisturbed


def test_a_slow_store_keeps_no_frame_waiting_and_a_row_comes_after_its_banks(
    tmp_path: Path,
) -> None:
    found: set[int] = set()

    class SlowShelf(Shelf):
        def save(self, task: Task, unfinished: Unfinished) -> None:
            wait_until(lambda: 40 in found)
            super().save(task, unfinished)

    shelf, clip = SlowShelf(), write_clip(tmp_path / "long.mp4", n_frames=40)

    def report(frames: Mapping[int, int]) -> None:
        found.update(frames.values())

    saved = [
        len(shelf.saved)
        for _ in Segmenter(load_model("nano"), banks=shelf).segment([task(clip)], report)
    ]

    assert saved == [40]
    assert [len(one.found.frame_index) for _, one in shelf.saved] == [*range(1, 41)]


def test_tasks_are_saved_only_now_and_then(clip: Path) -> None:
    shelf = Shelf(every_s=3600)

    list(Segmenter(load_model("nano"), banks=shelf).segment([task(clip)]))

    assert not shelf.saved
