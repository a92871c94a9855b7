"""What a memory bank keeps and what a frame reads of it, checked on banks of every make."""

from functools import reduce

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sam2.memory import FrameMemory, MemoryBank, Recollection

FRAMES = st.sets(st.integers(0, 40), max_size=14)
NOW = st.integers(0, 40)
SPAN = st.integers(1, 8)
POINTER_SPAN = st.integers(1, 20)


def memory(frame: int) -> FrameMemory:
    """A memory from which one can read whose it is."""
    return FrameMemory(frame, features=torch.tensor(frame), pointer=torch.tensor(-frame))


def bank_of(prompted: set[int], tracked: set[int]) -> MemoryBank:
    """A bank that came about out of order, as banks of an interactive session do."""
    bank = reduce(MemoryBank.remember, map(memory, tracked), MemoryBank())
    return reduce(MemoryBank.remember_prompted, map(memory, prompted), bank)


def frames_of(memories: tuple[FrameMemory, ...]) -> list[int]:
    return [m.frame for m in memories]


def numbers(tensors: tuple[Tensor, ...]) -> list[int]:
    return [int(tensor) for tensor in tensors]


def read(recollection: Recollection) -> tuple[list[int], ...]:
    """Frames of the maps, their ages, frames of the pointers, their distances."""
    maps, pointers = numbers(recollection.maps), numbers(recollection.pointers)
    return maps, [*recollection.ages], [-p for p in pointers], [*recollection.distances]


@given(FRAMES, FRAMES, NOW, SPAN, POINTER_SPAN)
def test_walking_forwards_a_tracked_future_is_never_read(
    prompted: set[int], tracked: set[int], now: int, span: int, pointer_span: int
) -> None:
    maps, _, pointers, _ = read(bank_of(prompted, tracked).recall(now, span, pointer_span))

    assert all(frame < now for frame in maps if frame not in prompted)
    assert all(frame <= now for frame in pointers)


@given(FRAMES, FRAMES, NOW, SPAN, POINTER_SPAN)
def test_walking_in_reverse_is_walking_forwards_in_a_mirror(
    prompted: set[int], tracked: set[int], now: int, span: int, pointer_span: int
) -> None:
    mirror = bank_of(prompted, tracked)
    mirror = MemoryBank(
        prompted=tuple(memory(40 - m.frame) for m in mirror.prompted),
        tracked=tuple(memory(40 - m.frame) for m in mirror.tracked),
    )

    maps, ages, pointers, distances = read(
        bank_of(prompted, tracked).recall(now, span, pointer_span, reverse=True)
    )

    assert read(mirror.recall(40 - now, span, pointer_span)) == (
        [40 - frame for frame in maps],
        ages,
        [40 - frame for frame in pointers],
        distances,
    )


@given(FRAMES, FRAMES, NOW, SPAN, POINTER_SPAN, st.booleans())
def test_every_prompted_frame_is_read_first_and_without_age(
    prompted: set[int], tracked: set[int], now: int, span: int, pointer_span: int, reverse: bool
) -> None:
    bank = bank_of(prompted, tracked)

    maps, ages, _, _ = read(bank.recall(now, span, pointer_span, reverse))

    assert maps[: len(prompted)] == frames_of(bank.prompted)
    assert ages[: len(prompted)] == [0] * len(prompted)


@given(FRAMES, FRAMES, NOW, SPAN, POINTER_SPAN, st.booleans())
def test_tracked_maps_are_those_of_the_last_frames_oldest_first(
    prompted: set[int], tracked: set[int], now: int, span: int, pointer_span: int, reverse: bool
) -> None:
    sign = -1 if reverse else 1
    walked = [now - sign * age for age in range(span, 0, -1)]

    recalled = bank_of(prompted, tracked).recall(now, span, pointer_span, reverse)

    maps, ages, _, _ = read(recalled)
    maps, ages = maps[len(prompted) :], ages[len(prompted) :]
    assert maps == [frame for frame in walked if frame in tracked - prompted]  # no gap is filled
    assert ages == [sign * (now - frame) for frame in maps]
    assert all(1 <= age <= span for age in ages)


@given(FRAMES, FRAMES, NOW, SPAN, POINTER_SPAN, st.booleans())
def test_pointers_are_prompted_ones_not_ahead_and_then_tracked_ones_nearest_first(
    prompted: set[int], tracked: set[int], now: int, span: int, pointer_span: int, reverse: bool
) -> None:
    sign = -1 if reverse else 1
    bank = bank_of(prompted, tracked)
    walked = [now - sign * distance for distance in range(1, pointer_span)]

    _, _, pointers, distances = read(bank.recall(now, span, pointer_span, reverse))

    behind = [frame for frame in frames_of(bank.prompted) if sign * (now - frame) >= 0]
    assert pointers == behind + [frame for frame in walked if frame in tracked - prompted]
    assert distances == [sign * (now - frame) for frame in pointers]
    assert all(1 <= distance < pointer_span for distance in distances[len(behind) :])


@given(FRAMES, FRAMES, SPAN, st.integers(0, 12), st.booleans())
def test_a_trimmed_bank_reads_the_same_as_a_full_one_on_a_walk_one_way(
    prompted: set[int], frames: set[int], span: int, more: int, reverse: bool
) -> None:
    pointer_span = span + 1 + more  # as in every model, pointers are read further than maps
    full = trimmed = bank_of(prompted, set())

    for now in sorted(frames - prompted, reverse=reverse):
        recalled = [b.recall(now, span, pointer_span, reverse) for b in (full, trimmed)]
        assert read(recalled[0]) == read(recalled[1])
        full = full.remember(memory(now))
        trimmed = trimmed.remember(memory(now), reach=pointer_span - 1)
        assert len(trimmed.tracked) < pointer_span


@given(
    prompts=st.sets(st.integers(0, 40), min_size=1, max_size=4),
    starts=st.lists(st.integers(0, 40), max_size=4),
    directions=st.lists(st.booleans(), min_size=5, max_size=5),
    span=SPAN,
    more=st.integers(0, 12),
)
def test_a_bank_of_recent_frames_reads_the_same_as_a_full_one_from_any_prompt_on(
    prompts: set[int], starts: list[int], directions: list[bool], span: int, more: int
) -> None:
    pointer_span = span + 1 + more
    full = recent = bank_of(prompts, set())
    walks = [min(prompts), *(start for start in starts if start in prompts)]

    for start, reverse in zip(walks, directions, strict=False):
        walk = range(start, -1, -1) if reverse else range(start, 41)
        for now in [frame for frame in walk if frame not in prompts]:
            recalled = [b.recall(now, span, pointer_span, reverse) for b in (full, recent)]
            assert read(recalled[0]) == read(recalled[1])
            full = full.remember(memory(now))
            recent = recent.remember(memory(now)).recent(pointer_span, reach=pointer_span - 1)


@given(st.sets(st.integers(0, 40), min_size=1), FRAMES, NOW, SPAN, POINTER_SPAN, st.integers(2, 5))
def test_of_many_prompted_frames_the_nearest_are_read_as_such_and_others_as_tracked(
    prompted: set[int], tracked: set[int], now: int, span: int, pointer_span: int, most: int
) -> None:
    recalled = bank_of(prompted, tracked).recall(now, span, pointer_span, most_prompted=most)

    maps, ages, _, _ = read(recalled)
    chosen = {frame for frame, age in zip(maps, ages, strict=True) if age == 0}
    assert len(chosen) == min(most, len(prompted))
    assert {max(f for f in prompted if f < now)} <= chosen if min(prompted) < now else True
    assert {min(f for f in prompted if f >= now)} <= chosen if max(prompted) >= now else True
    others = (prompted | tracked) - chosen
    assert {*maps} - chosen == {f for f in others if 0 < now - f <= span}


@given(FRAMES, FRAMES, NOW)
def test_a_bank_never_changes(prompted: set[int], tracked: set[int], frame: int) -> None:
    bank = bank_of(prompted, tracked)
    before = (bank.prompted, bank.tracked)

    bank.remember(memory(frame))
    bank.remember(memory(frame), reach=1)
    bank.remember_prompted(memory(frame))
    bank.recent(1, reach=1)
    bank.forget(frame)

    assert (bank.prompted, bank.tracked) == before


@given(FRAMES, FRAMES, NOW)
def test_a_prompted_frame_no_longer_counts_as_tracked(
    prompted: set[int], tracked: set[int], frame: int
) -> None:
    bank = bank_of(prompted, tracked | {frame}).remember_prompted(memory(frame))

    assert frame not in frames_of(bank.tracked)
    assert frames_of(bank.prompted).count(frame) == 1


@given(FRAMES, FRAMES, NOW)
def test_what_is_forgotten_is_not_read_again(
    prompted: set[int], tracked: set[int], frame: int
) -> None:
    bank = bank_of(prompted, tracked).forget(frame)

    assert set(frames_of(bank.prompted)) == prompted - {frame}
    assert set(frames_of(bank.tracked)) == tracked - prompted - {frame}


def test_a_frame_tracked_again_replaces_its_memory() -> None:
    again = FrameMemory(3, torch.tensor(100), torch.tensor(200))

    bank = bank_of(set(), {2, 3}).remember(again)

    assert frames_of(bank.tracked) == [2, 3]
    assert bank.recall(4, span=1, pointer_span=1).maps == (again.features,)


def test_a_frame_reads_its_own_prompt_at_distance_zero() -> None:
    recalled = bank_of({5}, {4}).recall(5, span=6, pointer_span=16)

    assert read(recalled) == ([5, 4], [0, 1], [5, 4], [0, 1])
    assert recalled.shape == (2, 2)


def test_an_empty_bank_gives_nothing_to_read() -> None:
    assert MemoryBank().recall(7, span=6, pointer_span=16).shape == (0, 0)
