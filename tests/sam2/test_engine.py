"""The engine against the two things it must equal: a session, and a loop that forgets nothing."""

import gc
from collections.abc import Mapping, Sequence
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2.engine import Direction, Engine, FrameResult, MissingFrameError, TrackTask
from sam2.memory import FrameMemory, MemoryBank
from sam2.model import Sam2
from sam2.prompts import MaskPrompt, PointPrompt, Prompt
from sam2.session import Session
from sam2.tracking import (
    FrameMask,
    Step,
    answer_mask,
    answer_points,
    memorize_prompted,
    track,
)
from tests.sam2.tiny import FakeClip, features_of, pictures, ready, same, tiny_model

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


# ---- objects do not know of each other


@settings(max_examples=15)
@given(jobs=tasks(range(8), most=5), max_batch=st.integers(1, 4))
def test_an_object_gets_the_same_bits_alone_and_among_others(
    jobs: list[TrackTask], max_batch: int
) -> None:
    together = engine_finds(jobs, 8, max_batch=max_batch)

    for task in jobs:
        assert_same(together[task.key], engine_finds([task], 8)[task.key])


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
