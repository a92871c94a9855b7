"""The engine against the two things it must equal: a session, and a loop that forgets nothing."""

import gc
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sam2.engine import DeviceMemoryError, Engine, MissingFrameError, TaskEnd
from sam2.memory import FrameMemory, MemoryBank
from sam2.model import FrameFeatures, Sam2
from sam2.prompts import MaskPrompt, PointPrompt, Prompt
from sam2.scheduler import ObjectFrame
from sam2.session import Session
from sam2.task import Direction, TrackState, TrackTask, VideoTask
from sam2.tracking import (
    FrameMask,
    Step,
    answer_mask,
    answer_points,
    memorize_prompted,
    track,
)
from sam2.walk import Ahead, FrameResult
from tests.sam2.tiny import FakeClip, FakeFrame, features_of, pictures, ready, same, tiny_model

SIZE = (48, 80)  # of the video, height and width
CLICK = PointPrompt(points=((20, 20),), labels=(1,))
OTHER_CLICK = PointPrompt(points=((60, 30),), labels=(1,))
CLICKS = PointPrompt(points=((20, 20), (70, 30)), labels=(1, 0))
BOX = PointPrompt(box=(10, 10, 40, 30))
MASK = MaskPrompt(torch.ones(48, 80).tril().bool())
PROMPTS: list[Prompt] = [CLICK, OTHER_CLICK, CLICKS, BOX, MASK]

Found = dict[int, dict[int, FrameMask]]  # by object and frame


def model() -> Sam2:
    """One in which objects come and go."""
    return tiny_model(score_shift=-1)


def engine_finds(
    tasks: Sequence[TrackTask],
    frames: int,
    lost: frozenset[int] = frozenset(),
    max_batch: int = 16,
) -> Found:
    clip = FakeClip(pictures(frames), lost)
    found: Found = {task.key: {} for task in tasks}
    for result in Engine(model(), max_batch).run(clip, SIZE, tasks, (0, frames)):
        for key, mask in result.found.items():
            assert result.frame not in found[key], "an object comes once per frame"
            found[key][result.frame] = mask
    return found


def session_finds(task: TrackTask, frames: int) -> dict[int, FrameMask]:
    """What a session with this object alone finds, walked as the task says."""
    session = Session(model(), ready(pictures(frames)), SIZE)
    for frame, prompt in task.prompts.items():
        session.prompt(task.key, frame, prompt)
    visited: set[int] = set()
    if task.direction != "reverse":
        visited |= {frame for frame, _ in session.propagate()}
    if task.direction != "forward":
        first, last = min(task.prompts), max(task.prompts)
        start = last if task.direction == "reverse" else first
        visited |= {frame for frame, _ in session.propagate(start, reverse=True)}
    return {frame: session.tracks[task.key].found[frame] for frame in visited}


@torch.inference_mode()
def loop_finds(task: TrackTask, frames: int, lost: frozenset[int]) -> dict[int, FrameMask]:
    """What a plain loop finds: one object, one frame at a time, and nothing ever forgotten."""
    there = [frame for frame in range(frames) if frame not in lost]
    clip, span = pictures(frames), min(model().config.pointer_span, frames)
    bank, found = MemoryBank(), {}
    for frame, prompt in sorted(task.prompts.items()):
        features = features_of(model(), clip[frame : frame + 1])
        if isinstance(prompt, MaskPrompt):
            found[frame] = answer_mask(model(), features, prompt)
        else:
            found[frame] = answer_points(model(), features, prompt, SIZE)
        memory = memorize_prompted(model(), features, frame, found[frame])
        bank = bank.remember_prompted(memory)
    first, last = min(found), max(found)
    walks = {
        "forward": [(False, [f for f in there if f >= first])],
        "reverse": [(True, [f for f in reversed(there) if f <= last])],
    }
    walks["both"] = [*walks["forward"], (True, [f for f in reversed(there) if f < first])]
    for reverse, walk in walks[task.direction]:
        for frame in walk:
            if frame in task.prompts:
                continue
            step = Step(0, bank.recall(frame, model().config.memory_span, span, reverse), span)
            features = features_of(model(), clip[frame : frame + 1])
            ((found[frame], memory),) = track(model(), features, [step])
            bank = bank.remember(FrameMemory(frame, memory, found[frame].pointer))
    return {
        f: mask for f, mask in found.items() if any(f in walk for _, walk in walks[task.direction])
    }


def assert_same(found: Mapping[int, FrameMask], expected: Mapping[int, FrameMask]) -> None:
    assert found.keys() == expected.keys()
    assert [f for f in expected if not same(found[f], expected[f])] == []


def video_of(
    tasks: Sequence[TrackTask], frames: int, seed: int = 0, lost: frozenset[int] = frozenset()
) -> VideoTask:
    return VideoTask(FakeClip(pictures(frames, seed), lost), SIZE, tasks, (0, frames))


def all_found(
    engine: Engine, videos: Sequence[VideoTask]
) -> tuple[list[Found], list[dict[int, Exception | None]]]:
    """What is found of each video that shares the engine, and how its tasks ended."""
    found: list[Found] = [{task.key: {} for task in video.tasks} for video in videos]
    ends: list[dict[int, Exception | None]] = [{} for _ in videos]
    for video in videos:
        engine.add(video)
    while engine.busy:
        for event in engine.step():
            number = videos.index(event.video)
            if isinstance(event, TaskEnd):
                assert event.key not in ends[number], "a task ends once"
                ends[number][event.key] = event.error
                continue
            for key, mask in event.found.items():
                assert event.frame not in found[number][key], "an object comes once per frame"
                assert key not in ends[number], "nothing comes after the end"
                found[number][key][event.frame] = mask
    return found, ends


def task_at(first: int, direction: Direction = "forward", key: int = 1) -> TrackTask:
    return TrackTask(key, {first: CLICK}, direction)


@st.composite
def prompts(draw: st.DrawFn, frames: Sequence[int]) -> dict[int, Prompt]:
    at = draw(st.lists(st.sampled_from(frames), min_size=1, max_size=3, unique=True))
    return {frame: draw(st.sampled_from(PROMPTS)) for frame in at}


DIRECTIONS = st.sampled_from(["forward", "reverse", "both"])


@st.composite
def tasks(draw: st.DrawFn, frames: Sequence[int], most: int) -> list[TrackTask]:
    keys = range(draw(st.integers(1, most)))
    return [TrackTask(key, draw(prompts(frames)), draw(DIRECTIONS)) for key in keys]


# ---- the engine is a session without a person


def test_forwards_an_object_gets_the_masks_of_a_session() -> None:
    task = task_at(0)

    assert_same(engine_finds([task], 14)[1], session_finds(task, 14))


def test_in_reverse_an_object_gets_the_masks_of_a_session() -> None:
    task = task_at(13, "reverse")

    assert_same(engine_finds([task], 14)[1], session_finds(task, 14))


def test_both_ways_are_a_session_walked_forwards_and_then_in_reverse() -> None:
    task = task_at(5, "both")

    found = engine_finds([task], 18)[1]

    assert [*found] == [*range(5, 18), 4, 3, 2, 1, 0]
    assert_same(found, session_finds(task, 18))


@settings(max_examples=12)
@given(data=st.data(), frames=st.integers(1, 16))
def test_any_prompts_in_any_direction_give_the_masks_of_a_session(
    data: st.DataObject, frames: int
) -> None:
    # A session in reverse visits nothing from frame 0 on, where the engine answers the prompt.
    (task,) = data.draw(tasks(range(frames), most=1).filter(lambda t: max(t[0].prompts) > 0))

    assert_same(engine_finds([task], frames)[0], session_finds(task, frames))


def test_the_way_back_reads_what_the_way_out_remembered() -> None:
    both = engine_finds([task_at(5, "both")], 12)[1]
    back_only = engine_finds([task_at(5, "reverse")], 12)[1]

    assert not same(both[4], back_only[4])


# ---- the engine forgets, and it makes no difference


@settings(max_examples=20)
@given(data=st.data(), frames=st.integers(1, 16))
def test_forgetting_changes_no_mask_however_many_frames_are_lost(
    data: st.DataObject, frames: int
) -> None:
    lost = frozenset(data.draw(st.sets(st.integers(0, frames - 1), max_size=frames - 1)))
    there = [frame for frame in range(frames) if frame not in lost]
    (task,) = data.draw(tasks(there, most=1))

    found = engine_finds([task], frames, lost)[0]

    assert_same(found, loop_finds(task, frames, lost))


def test_what_is_remembered_does_not_grow_with_the_video() -> None:
    clip = FakeClip(pictures(40)[torch.arange(200) % 40])
    jobs = [
        TrackTask(1, {0: CLICK}),
        TrackTask(2, {3: BOX, 9: CLICK}, "both"),
        TrackTask(3, {199: MASK}, "reverse"),
    ]
    held: dict[int, int] = {}
    run = Engine(model()).run(clip, SIZE, jobs, (0, 200))

    for number, _ in enumerate(run):
        if number in (50, 195, 200 + 50, 200 + 185):  # on the way out, then on the way back
            held[number] = sum(type(thing) is FrameMemory for thing in gc.get_objects())

    assert held[195] == held[50]
    assert held[200 + 185] == held[200 + 50]


@settings(max_examples=10)
@given(jobs=tasks(range(16), most=3))
def test_no_task_comes_to_hold_more_bytes_than_the_scheduler_was_told(
    jobs: list[TrackTask],
) -> None:
    told = {task.key: task.bank_bytes(model().config) for task in jobs}
    pointer = 4 * model().config.channels

    for result in Engine(model()).run(FakeClip(pictures(16)), SIZE, jobs, (0, 16)):
        for key, state in result.states.items():
            banks = filter(None, (state.bank, state.turn))
            memories = {id(m): m for bank in banks for m in (*bank.prompted, *bank.tracked)}
            held = [m.features for m in memories.values()] + [
                a.mask for a in state.answers.values()
            ]
            assert sum(tensor.untyped_storage().nbytes() for tensor in held) <= told[key]
            assert all(m.pointer.nbytes == pointer for m in memories.values())


# ---- objects do not know of each other


@st.composite
def video_tasks(draw: st.DrawFn) -> VideoTask:
    frames = draw(st.integers(1, 9))
    lost = draw(st.frozensets(st.integers(0, frames - 1), max_size=frames // 2))
    there = [frame for frame in range(frames) if frame not in lost]
    return video_of(draw(tasks(there, most=3)), frames, draw(st.integers(0, 2)), lost)


@settings(max_examples=15)
@given(
    videos=st.lists(video_tasks(), min_size=1, max_size=4),
    max_batch=st.integers(1, 5),
    slots=st.integers(1, 9),
)
def test_whoever_shares_the_engine_an_object_gets_the_bits_that_it_gets_alone(
    videos: list[VideoTask], max_batch: int, slots: int
) -> None:
    together, ends = all_found(Engine(model(), max_batch, slots=slots), videos)

    for video, found, ended in zip(videos, together, ends, strict=True):
        assert ended == {task.key: None for task in video.tasks}
        for task in video.tasks:
            ((alone,), _) = all_found(Engine(model()), [replace(video, tasks=[task])])
            assert_same(found[task.key], alone[task.key])


def test_frames_may_be_encoded_ahead_and_together() -> None:
    videos = [video_of([task_at(0, "both"), task_at(2, key=2)], 8), video_of([task_at(5)], 6)]

    ahead, ends = all_found(Engine(model(), encode_batch=3), videos)

    one_by_one, _ = all_found(Engine(model()), videos)
    assert ends == [{1: None, 2: None}, {1: None}]
    for found, expected in zip(ahead, one_by_one, strict=True):
        for key, masks in expected.items():
            assert_same(found[key], masks)


def test_a_frame_is_encoded_once_for_all_objects_on_it() -> None:
    encoded = 0

    def count(*_: object) -> None:
        nonlocal encoded
        encoded += 1

    with model().image_encoder.register_forward_hook(count):
        engine_finds([task_at(0, key=key) for key in range(5)], 7, max_batch=2)

    assert encoded == 1 + 6  # the prompted frame, whose answer is known when the walk comes to it


def test_an_object_that_starts_late_is_not_looked_for_before() -> None:
    found = engine_finds([task_at(0, key=1), task_at(6, key=2)], 10)

    assert [*found[1]] == [*range(10)]
    assert [*found[2]] == [6, 7, 8, 9]


def test_a_prompted_frame_gives_back_the_answer_to_its_prompt() -> None:
    one = engine_finds([TrackTask(1, {0: CLICK, 7: BOX})], 10)[1]
    alone = engine_finds([TrackTask(1, {7: BOX})], 10)[1]

    assert same(one[7], alone[7])
    assert not same(one[8], alone[8])


def test_a_later_prompt_is_remembered_from_the_start() -> None:
    one = engine_finds([TrackTask(1, {0: CLICK, 7: BOX})], 10)[1]
    alone = engine_finds([TrackTask(1, {0: CLICK})], 10)[1]

    assert same(one[0], alone[0])
    assert not same(one[1], alone[1])


# ---- frames and windows


def results(jobs: Sequence[TrackTask], window: tuple[int, int]) -> list[FrameResult]:
    return [*Engine(model()).run(FakeClip(pictures(12)), SIZE, jobs, window)]


def test_a_window_is_a_clip_of_its_own() -> None:
    cut = FakeClip(pictures(12)[3:10])
    moved = [task_at(1, "both", 1), task_at(4, "forward", 2)]

    inside = results([task_at(4, "both", 1), task_at(7, "forward", 2)], (3, 10))

    alone = [*Engine(model()).run(cut, SIZE, moved, (0, 7))]
    assert [r.frame - 3 for r in inside] == [r.frame for r in alone]
    for one, other in zip(inside, alone, strict=True):
        assert_same(one.found, other.found)


def test_frames_come_forwards_and_then_in_reverse_each_once_per_walk() -> None:
    jobs = [task_at(2, "both", 1), task_at(4, "reverse", 2), task_at(6, "forward", 3)]

    frames = {r.frame: sorted(r.found) for r in results(jobs, (0, 8))[:6]}
    back = {r.frame: sorted(r.found) for r in results(jobs, (0, 8))[6:]}

    assert frames == {2: [1], 3: [1], 4: [1], 5: [1], 6: [1, 3], 7: [1, 3]}
    assert back == {4: [2], 3: [2], 2: [2], 1: [1, 2], 0: [1, 2]}


def test_frames_on_which_no_object_lives_are_not_reported() -> None:
    assert [r.frame for r in results([task_at(9)], (0, 12))] == [9, 10, 11]
    assert [r.frame for r in results([task_at(0, "reverse")], (0, 12))] == [0]
    assert results([], (0, 12)) == []


def test_lost_frames_are_passed_over() -> None:
    found = engine_finds([task_at(3, "both")], 10, lost=frozenset({0, 1, 4, 5, 9}))[1]

    assert [*found] == [3, 6, 7, 8, 2]


@pytest.mark.parametrize("frame", [4, 12], ids=["lost", "past the end"])
def test_a_prompt_on_a_frame_that_is_not_there_is_told_before_anything_else(frame: int) -> None:
    clip = FakeClip(pictures(12), lost=frozenset({4}))
    jobs = [task_at(0, key=1), TrackTask(2, {0: CLICK, frame: BOX})]
    run = Engine(model()).run(clip, SIZE, jobs, (0, 12))

    with pytest.raises(MissingFrameError, match=f"frame {frame} cannot be read") as caught:
        next(run)

    assert caught.value.frame == frame


def test_a_run_may_be_left_early_and_begun_again() -> None:
    engine, jobs = Engine(model()), [task_at(0), task_at(1, "both", 2)]
    run = engine.run(FakeClip(pictures(6)), SIZE, jobs, (0, 6))
    begun = [r.frame for r in islice(run, 3)]
    assert not torch.is_inference_mode_enabled()  # between results the caller's mode is its own
    run.close()

    again = [*engine.run(FakeClip(pictures(6)), SIZE, jobs, (0, 6))]

    assert begun == [0, 1, 2]
    assert [r.frame for r in again] == [0, 1, 2, 3, 4, 5, 0]


# ---- one video's trouble is no other's


class BrokenClip(FakeClip):
    """A clip whose file is damaged: reading ends with an error before frame 3."""

    def frames(self, start: int, stop: int, *, size: int) -> Iterator[FakeFrame]:
        yield from super().frames(start, min(stop, 3), size=size)
        if stop > 3:
            raise OSError("the disk is on fire")


def test_an_error_while_decoding_ends_the_tasks_of_that_video_alone() -> None:
    broken = replace(video_of([task_at(0), task_at(1, "both", 2)], 6), clip=BrokenClip(pictures(6)))
    good = video_of([task_at(2, "both")], 6)

    found, ends = all_found(Engine(model()), [broken, good])

    assert [str(error) for error in ends[0].values()] == ["the disk is on fire"] * 2
    assert [*found[0][1]] == [0, 1, 2]
    assert ends[1] == {1: None}
    assert_same(found[1][1], engine_finds([task_at(2, "both")], 6)[1])


def test_an_error_on_the_way_back_is_none_of_the_tasks_that_only_went_forwards() -> None:
    class OneWayClip(FakeClip):
        def frames_reversed(self, start: int, stop: int, *, size: int) -> Iterator[FakeFrame]:
            raise OSError("the disk is on fire")

    tasks = [task_at(0), task_at(2, "both", 2)]
    video = replace(video_of(tasks, 6), clip=OneWayClip(pictures(6)))

    (found,), (ends,) = all_found(Engine(model()), [video])

    assert ends[1] is None
    assert str(ends[2]) == "the disk is on fire"
    assert_same(found[1], engine_finds(tasks[:1], 6)[1])
    assert [*found[2]] == [2, 3, 4, 5]


def test_a_prompted_frame_that_is_missing_ends_only_the_tasks_that_need_it() -> None:
    jobs = [TrackTask(1, {0: CLICK, 4: BOX}), task_at(1, "both", 2), task_at(4, "reverse", 3)]

    (found,), (ends,) = all_found(Engine(model()), [video_of(jobs, 8, lost=frozenset({4}))])

    assert [key for key, error in ends.items() if isinstance(error, MissingFrameError)] == [1, 3]
    assert not found[1]
    assert not found[3]
    assert_same(found[2], engine_finds([jobs[1]], 8, frozenset({4}))[2])


def test_a_video_that_is_slow_to_decode_holds_up_no_other() -> None:
    gate = threading.Event()

    class SlowClip(FakeClip):
        def frames(self, start: int, stop: int, *, size: int) -> Iterator[FakeFrame]:
            assert gate.wait(timeout=60)
            yield from super().frames(start, stop, size=size)

    slow = replace(video_of([task_at(0)], 3), clip=SlowClip(pictures(3)))
    engine, ended = Engine(model()), []
    for video in (slow, video_of([task_at(0, key=2)], 6)):
        engine.add(video)

    while engine.busy:
        ended += [event.key for event in engine.step() if isinstance(event, TaskEnd)]
        if ended == [2]:
            gate.set()

    assert ended == [2, 1]


def test_the_engine_tells_how_full_its_batches_were_and_where_the_time_went() -> None:
    told: dict[str, list[float]] = {}

    def hear(name: str, value: float) -> None:
        told.setdefault(name, []).append(value)

    engine = Engine(model(), max_batch=4, slots=2, measure=hear)
    all_found(engine, [video_of([task_at(0), task_at(0, key=2)], 3), video_of([task_at(0)], 3)])

    assert {"encode_s", "track_s", "batch_occupancy", "queue"} <= told.keys()
    assert told.keys() <= {"encode_s", "track_s", "batch_occupancy", "queue", "decode_wait_s"}
    assert len(told["encode_s"]) == 3 + 3, "each frame alone, on a CPU"
    assert told["batch_occupancy"] == [2 / 4, 2 / 4, 1 / 4, 1 / 4]
    assert told["queue"] == [1, 1, 0, 0], "the second video waits for a slot"
    assert all(seconds >= 0 for name in told if name.endswith("_s") for seconds in told[name])


def test_no_thread_outlives_an_engine_that_is_closed_half_way() -> None:
    engine = Engine(model())
    for seed in range(3):
        engine.add(video_of([task_at(0)], 9, seed))
    while not engine.step():
        assert threading.active_count() > 1

    engine.close()

    assert not engine.busy
    assert [t.name for t in threading.enumerate() if t.name.startswith("masklet")] == []


def test_a_run_of_its_own_is_refused_while_other_videos_are_under_way() -> None:
    engine = Engine(model())
    engine.add(video_of([task_at(0)], 3))

    with pytest.raises(RuntimeError, match="add this one to them"):
        next(engine.run(FakeClip(pictures(3)), SIZE, [task_at(0)], (0, 3)))

    engine.close()


# ---- where the device runs out of memory


class SmallEngine(Engine):
    """An engine on a device with room for so many objects, and so many frames, at once."""

    def __init__(
        self, objects: int = 16, frames: int = 16, encode_batch: int | None = None
    ) -> None:
        super().__init__(model(), encode_batch=encode_batch)
        self.objects, self.frames, self.tries = objects, frames, list[int]()

    def _track(self, batch: Sequence[ObjectFrame]) -> list[tuple[FrameMask, Tensor]]:
        self.tries.append(len(batch))
        if len(batch) > self.objects:
            raise torch.OutOfMemoryError("no room for so many objects")
        return super()._track(batch)

    def _features(self, frames: Sequence[tuple[int, Ahead]]) -> list[FrameFeatures]:
        if len(frames) > self.frames:
            raise torch.OutOfMemoryError("no room for so many frames")
        return super()._features(frames)


def test_a_batch_too_large_for_the_device_is_halved_until_it_fits_and_stays_so() -> None:
    jobs = [task_at(0, key=key) for key in range(7)]
    small = SmallEngine(objects=2)

    (found,), (ends,) = all_found(small, [video_of(jobs, 4)])

    assert ends == dict.fromkeys(range(7))
    assert_same(found[3], engine_finds([task_at(0, key=3)], 4)[3])
    assert small.tries == [7, 3, 1, 2, 4, 2, 2] + 2 * [2, 2, 2, 1]


def test_an_engine_that_was_idle_tries_large_batches_again() -> None:
    jobs = [task_at(0, key=key) for key in range(4)]
    small = SmallEngine(objects=2)
    all_found(small, [video_of(jobs, 3)])
    assert small.scheduler.max_batch == 2
    small.objects, small.tries = 4, []

    all_found(small, [video_of(jobs, 3)])

    assert small.tries == [4, 4]


def test_frames_too_many_for_the_device_are_encoded_in_smaller_batches() -> None:
    videos = [video_of([task_at(0)], 5, seed) for seed in range(3)]
    engine = SmallEngine(frames=1, encode_batch=3)

    found, ends = all_found(engine, videos)

    assert ends == [{1: None}] * 3
    assert engine.scheduler.encode_batch == 1
    alone, _ = all_found(Engine(model()), videos[:1])
    assert_same(found[0][1], alone[0][1])


def test_an_object_for_which_there_is_no_room_ends_its_video_with_an_error_that_says_so() -> None:
    jobs = [task_at(0), task_at(1, "both", 2)]
    videos = [video_of(jobs, 5), video_of([task_at(0, "reverse")], 5)]  # the second needs no memory

    found, ends = all_found(SmallEngine(objects=0), videos)

    assert all(isinstance(error, DeviceMemoryError) for error in ends[0].values())
    assert "choose a smaller model" in str(ends[0][1])
    assert [*found[0][1]] == [0]
    assert ends[1] == {1: None}


def test_a_video_whose_frames_do_not_fit_ends_with_an_error() -> None:
    videos = [video_of([task_at(0), task_at(2, key=2)], 4)]

    _, (ends,) = all_found(SmallEngine(frames=0), videos)

    assert [type(error) for error in ends.values()] == [DeviceMemoryError] * 2


def test_a_task_whose_memories_do_not_fit_when_it_is_taken_up_ends_with_an_error() -> None:
    class HeavyState(TrackState):
        def to(self, device: torch.device) -> TrackState:
            raise torch.OutOfMemoryError("no room for so many memories")

    state = HeavyState(2, False, {}, MemoryBank(), None)
    heavy, light = replace(task_at(0), begun=state), task_at(0)

    found, ends = all_found(Engine(model()), [video_of([heavy], 5), video_of([light], 5)])

    assert isinstance(ends[0][1], DeviceMemoryError)
    assert found[0] == {1: {}}
    assert ends[1] == {1: None}
    assert_same(found[1][1], engine_finds([light], 5)[1])


def test_memories_that_there_is_no_room_to_keep_end_their_video_with_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Loose(Tensor):
        def clone(self, **_: object) -> Tensor:
            raise torch.OutOfMemoryError("no room for a copy")

    def track_loosely(*arguments: Any, **options: Any) -> list[tuple[FrameMask, Tensor]]:
        return [(f, memory.as_subclass(Loose)) for f, memory in track(*arguments, **options)]

    monkeypatch.setattr("sam2.engine.track", track_loosely)

    (found,), (ends,) = all_found(Engine(model()), [video_of([task_at(0)], 5)])

    assert isinstance(ends[1], DeviceMemoryError)
    assert [*found[1]] == [0]


# ---- a task can be taken up again


@settings(max_examples=25)
@given(data=st.data(), jobs=tasks(range(8), most=3))
def test_a_task_stopped_anywhere_goes_on_in_another_engine_as_if_nothing_had_happened(
    data: st.DataObject, jobs: list[TrackTask]
) -> None:
    undisturbed = engine_finds(jobs, 8)
    steps = data.draw(st.integers(1, sum(len(found) for found in undisturbed.values())))
    states: dict[int, TrackState] = {}
    found: Found = {task.key: {} for task in jobs}
    for result in islice(Engine(model()).run(FakeClip(pictures(8)), SIZE, jobs, (0, 8)), steps):
        states |= result.states
        for key, mask in result.found.items():
            found[key][result.frame] = mask

    rest = engine_finds([replace(task, begun=states.get(task.key)) for task in jobs], 8)

    for task in jobs:
        assert not found[task.key].keys() & rest[task.key].keys()
        assert_same(found[task.key] | rest[task.key], undisturbed[task.key])


def test_a_task_taken_up_reads_no_frame_that_is_behind_it() -> None:
    task = TrackTask(1, {0: CLICK, 2: BOX})
    run = Engine(model()).run(FakeClip(pictures(12)), SIZE, [task], (0, 12))
    (last,) = islice(run, 6, 7)

    begun = replace(task, begun=last.states[1])
    lost = frozenset(range(last.frame + 1))

    assert [*engine_finds([begun], 12, lost)[1]] == [*range(last.frame + 1, 12)]
