"""The plan: tasks, their order and their shards."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

from pipeline import plan
from pipeline.cost import TYPICAL
from pipeline.manifest import ObjectPrompts, Prompt, VideoEntry
from pipeline.plan import PlanError, Task, make_plan, read_plan, write_plan
from pipeline.probe import probe_video
from pipeline.video import VideoInfo


def entry(video_id: str, objects: int = 1, frames: tuple[int, int] | None = None) -> VideoEntry:
    prompts = (Prompt(frame=frames[0] if frames else 0, points=((5.0, 6.0),), point_labels=(1,)),)
    wanted = tuple(ObjectPrompts(object_id=i, prompts=prompts) for i in range(objects))
    return VideoEntry(video_id=video_id, uri=f"/{video_id}.mp4", frames=frames, objects=wanted)


def lasting(**n_frames: int):
    def probe(uri: str) -> VideoInfo | None:
        n = n_frames.get(Path(uri).stem)
        return VideoInfo(96, 64, 12.0, n, n / 12) if n else None

    return lambda uris: map(probe, uris)


def test_every_object_becomes_one_task_and_those_of_a_video_share_a_shard() -> None:
    tasks = make_plan([entry("a", 2), entry("b", 3)], lasting(a=10, b=10))

    assert [task.task_id for task in tasks] == [0, 1, 2, 3, 4]
    assert {(t.video_id, t.shard) for t in tasks} == {("b", 0), ("a", 1)}
    assert len({(t.video_id, t.object_id) for t in tasks}) == 5


def test_the_longest_work_comes_first() -> None:
    tasks = make_plan(
        [entry("short"), entry("long"), entry("many", 40)], lasting(short=5, long=30, many=10)
    )

    assert list(dict.fromkeys(t.video_id for t in tasks)) == ["many", "long", "short"]


def test_a_video_that_cannot_be_probed_is_planned_all_the_same() -> None:
    (task,) = make_plan([entry("gone")], lasting())

    assert task.n_frames == 0


def test_only_the_frames_to_look_at_count() -> None:
    (task,) = make_plan([entry("a", frames=(4, 100))], lasting(a=10))

    assert (task.first_frame, task.stop_frame, task.n_frames) == (4, 100, 6)


def test_a_video_without_objects_is_refused_by_name() -> None:
    bare = VideoEntry(video_id="bare", uri="/bare.mp4")

    for videos, named in (([bare], "1 video names"), ([bare, bare], "2 videos name")):
        with pytest.raises(PlanError, match=rf"{named} no objects \(first: 'bare'\)"):
            make_plan(videos, lasting())


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_the_same_manifest_gives_the_same_plan(sizes: list[int]) -> None:
    entries = [entry(f"v{i}", size) for i, size in enumerate(sizes)]
    probe = lasting(**{f"v{i}": 7 * size for i, size in enumerate(sizes)})

    assert make_plan(entries, probe) == make_plan(entries, probe)


def test_a_plan_comes_back_from_its_files_as_it_was(tmp_path: Path) -> None:
    tasks = make_plan([entry("a", 2), entry("b", frames=(0, 5))], lasting(a=10, b=8))

    write_plan(make_plan([entry("stale")], lasting()), LocalFileSystem(), str(tmp_path))
    write_plan(tasks, LocalFileSystem(), str(tmp_path))

    assert read_plan(LocalFileSystem(), str(tmp_path)) == tasks
    assert len(list(tmp_path.iterdir())) == 2  # one file per shard


def test_a_task_comes_back_from_its_row_as_it_was() -> None:
    (task,) = make_plan([entry("a")], lasting(a=3))

    assert Task.from_row(task.to_row()) == task


def test_a_real_clip_is_probed_and_a_missing_one_is_none(clip: Path) -> None:
    info = probe_video(str(clip))

    assert info
    assert (info.width, info.height, info.n_frames) == (96, 64, 6)
    assert probe_video(str(clip.with_name("missing.mp4"))) is None


def test_shards_shrink_so_that_no_device_is_left_alone_with_a_large_one() -> None:
    entries = [entry(f"v{i}", objects=1 + i % 3) for i in range(300)]
    probe = lasting(**{f"v{i}": 20 + i % 50 for i in range(300)})

    tasks = make_plan(entries, probe, devices=4)

    costs: Counter[int] = Counter()
    for task in tasks:
        costs[task.shard] += task.cost_s  # type: ignore[assignment]  # seconds
    longest = max(task.cost_s for task in tasks) * 3
    left = sum(costs.values())
    for shard in sorted(costs):  # no more than a quarter of each device's share of what is left
        assert costs[shard] <= left / 16 + longest
        left -= costs[shard]
    assert len(costs) < 100
    assert len({(t.video_id, t.shard) for t in tasks}) == 300  # no video in two shards


def test_a_shard_holds_no_more_objects_than_fill_a_few_batches() -> None:
    tasks = make_plan(
        [entry(f"v{i}") for i in range(2000)], lasting(**{f"v{i}": 1 for i in range(2000)})
    )

    sizes = Counter(task.shard for task in tasks)
    assert max(sizes.values()) == 32


def test_there_are_never_more_shards_than_a_driver_can_look_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "_MOST_SHARDS", 10)

    tasks = make_plan(
        [entry(f"v{i}", 40) for i in range(100)], lasting(**{f"v{i}": 9 for i in range(100)})
    )

    assert len({task.shard for task in tasks}) == 10


def test_a_giant_among_small_videos_is_spread_over_devices_that_it_puts_to_use() -> None:
    entries = [entry("giant", 64), *(entry(f"v{i}") for i in range(10))]
    probe = lasting(giant=100_000, **{f"v{i}": 10 for i in range(10)})

    tasks = make_plan(entries, probe, devices=8)

    shards = Counter(t.shard for t in tasks if t.video_id == "giant")
    assert len(shards) == TYPICAL.devices_for(64, 96 * 64) > 1
    assert max(shards.values()) - min(shards.values()) <= 1
    assert sorted(t.object_id for t in tasks if t.video_id == "giant") == list(range(64))


def test_many_long_videos_keep_the_devices_busy_without_being_spread() -> None:
    entries = [entry(f"v{i}", 64) for i in range(8)]
    probe = lasting(**{f"v{i}": 100_000 for i in range(8)})

    tasks = make_plan(entries, probe, devices=8)

    assert len({(t.video_id, t.shard) for t in tasks}) == 8
