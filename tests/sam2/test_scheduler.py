"""The scheduler in a world of walks that decode, encode and follow at whim."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2.scheduler import Encode, Follow, ObjectFrame, Scheduler

Frames = list[dict[int, int]]  # of one walk: who has to be followed to each frame, with their kinds


@dataclass
class World:
    """Walks through videos as an engine has them, and notes of what was done in which order."""

    walks: list[Frames]
    scheduler: Scheduler
    random: Random
    bank: int = 10  # bytes of each track's bank
    decoded: Counter[int] = field(default_factory=Counter)
    encoded: Counter[int] = field(default_factory=Counter)
    at: Counter[int] = field(default_factory=Counter)  # frames reached
    open: dict[int, set[int]] = field(default_factory=dict)  # walks begun, and who is not done
    alive: set[tuple[int, int]] = field(default_factory=set)
    followed: list[tuple[int, int, int]] = field(default_factory=list)  # walk, track, frame
    batches: list[list[ObjectFrame]] = field(default_factory=list)
    ready: dict[ObjectFrame, tuple[int, int]] = field(default_factory=dict)  # others, batches then
    waited: list[tuple[int, int]] = field(default_factory=list)  # others before it, batches waited
    encodings: int = 0  # since the last batch, while somebody was ready
    most_encodings: int = 0
    most_alive: int = 0
    most_encoded: int = 0

    def run(self) -> "World":
        """Everything to its end; fails if it does not come to one."""
        for walk, frames in enumerate(self.walks):
            self.scheduler.ask(walk, dict.fromkeys(self.tracks(frames), self.bank))
        for _ in range(1000):
            self.begin()
            if not self.open:
                return self
            self.decode(chance=0.5)
            if not self.work():
                self.decode(chance=1.0)
        raise AssertionError("somebody starves")

    @staticmethod
    def tracks(frames: Frames) -> set[int]:
        return {track for frame in frames for track in frame}

    def begin(self) -> None:
        for walk in self.scheduler.admit():
            self.open[walk] = set()
            self.alive |= {(walk, track) for track in self.tracks(self.walks[walk])}
            self.go_on(walk)
        self.most_alive = max(self.most_alive, len(self.alive))

    def decode(self, chance: float) -> None:
        for walk in self.open:
            if self.decoded[walk] < len(self.walks[walk]) and self.random.random() < chance:
                self.decoded[walk] += 1
                self.scheduler.decoded(walk)

    def work(self) -> bool:
        work = self.scheduler.next()
        if isinstance(work, Encode):
            self.encodings += bool(self.ready)
            self.most_encodings = max(self.most_encodings, self.encodings)
            assert 1 <= len(work.walks) <= self.scheduler.encode_batch
            for walk in work.walks:
                self.encoded[walk] += 1
                assert self.encoded[walk] <= self.decoded[walk]
                self.most_encoded = max(self.most_encoded, self.encoded[walk] - self.at[walk])
            for walk in set(work.walks):
                self.go_on(walk)
        if isinstance(work, Follow):
            self.follow(list(work.batch))
        return work is not None

    def follow(self, batch: list[ObjectFrame]) -> None:
        assert 1 <= len(batch) <= self.scheduler.max_batch
        assert len({one.kind for one in batch}) == 1
        self.encodings = 0
        self.batches.append(batch)
        for one in batch:
            others, then = self.ready.pop(one)
            self.waited.append((others, len(self.batches) - 1 - then))
            self.followed.append((one.walk, one.track, self.at[one.walk] - 1))
            self.open[one.walk].remove(one.track)
            self.scheduler.done(one)
        for walk in {one.walk for one in batch}:
            self.go_on(walk)

    def go_on(self, walk: int) -> None:
        """To the next frame, if the walk can; tracks that no later frame knows end."""
        frames = self.walks[walk]
        while not self.open[walk] and self.at[walk] < self.encoded[walk]:
            frame = frames[self.at[walk]]
            self.at[walk] += 1
            self.open[walk] = set(frame)
            ready = [ObjectFrame(walk, track, kind) for track, kind in frame.items()]
            for one in ready:
                self.ready[one] = (len(self.ready), len(self.batches))
            self.scheduler.reached(walk, ready)
        if self.open[walk]:
            return
        for track in self.tracks(frames) - self.tracks(frames[self.at[walk] :]):
            self.scheduler.ended(walk, track)
            self.alive.discard((walk, track))
        if self.at[walk] == len(frames):
            self.scheduler.drop(walk)
            del self.open[walk]


FRAMES = st.lists(st.dictionaries(st.integers(0, 3), st.integers(0, 2), max_size=4), max_size=6)
RANDOM = st.randoms(use_true_random=False)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    limits = draw(st.tuples(*[st.integers(1, 4)] * 2, st.integers(4, 8), st.integers(40, 90)))
    return World(draw(st.lists(FRAMES, max_size=6)), Scheduler(*limits), draw(RANDOM)).run()


@given(worlds())
def test_every_object_frame_is_followed_once_and_each_track_in_its_order(world: World) -> None:
    expected = [
        (walk, track, number)
        for walk, frames in enumerate(world.walks)
        for number, frame in enumerate(frames)
        for track in frame
    ]

    assert sorted(world.followed) == sorted(expected)
    for walk, track, _ in expected:
        numbers = [n for w, t, n in world.followed if (w, t) == (walk, track)]
        assert numbers == sorted(numbers)


@given(worlds())
def test_slots_bytes_and_encoded_frames_stay_within_their_bounds(world: World) -> None:
    assert world.most_alive <= world.scheduler.slots
    assert world.most_alive * world.bank <= world.scheduler.bank_bytes
    assert world.most_encoded <= world.scheduler.encode_batch


@given(worlds())
def test_a_ready_track_waits_for_no_more_batches_than_there_were_ready_before_it(
    world: World,
) -> None:
    assert [wait for wait in world.waited if wait[1] > wait[0]] == []


@given(worlds())
def test_a_batch_waits_for_no_more_encodings_than_there_are_walks(world: World) -> None:
    assert world.most_encodings <= len(world.walks)


@given(worlds())
def test_nothing_is_left_in_a_scheduler_whose_walks_have_ended(world: World) -> None:
    assert not world.alive
    assert world.scheduler.next() is None
    world.scheduler.ask(99, dict.fromkeys(range(4), world.bank))
    assert world.scheduler.admit() == [99]


# ---- what it prefers


def with_walks(scheduler: Scheduler, *decoded: int) -> Scheduler:
    """A scheduler with walks of one track each, and so many decoded frames of each."""
    for walk, frames in enumerate(decoded):
        scheduler.ask(walk, {0: 1})
        scheduler.admit()
        for _ in range(frames):
            scheduler.decoded(walk)
    return scheduler


def reach(scheduler: Scheduler, walk: int, kind: int = 0) -> ObjectFrame:
    one = ObjectFrame(walk, 0, kind)
    scheduler.reached(walk, [one])
    return one


def test_videos_that_have_nothing_to_do_are_encoded_before_a_batch_that_is_not_full() -> None:
    scheduler = with_walks(Scheduler(max_batch=3), 1, 1, 0)

    works = []
    for walk in (0, 1):
        works.append(scheduler.next())
        reach(scheduler, walk)
    works.append(scheduler.next())

    both = Follow((ObjectFrame(0, 0, 0), ObjectFrame(1, 0, 0)))
    assert works == [Encode((0,)), Encode((1,)), both]


def test_a_walk_that_follows_nobody_does_not_keep_others_waiting() -> None:
    scheduler = with_walks(Scheduler(max_batch=3), 1, 300)
    works = [scheduler.next()]
    one = reach(scheduler, 0)

    while not isinstance(works[-1], Follow):
        works.append(scheduler.next())
        if works[-1] == Encode((1,)):
            scheduler.reached(1, [])  # every frame of it is prompted

    assert works == [Encode((0,)), Encode((1,)), Encode((1,)), Follow((one,))]


def test_a_full_batch_does_not_wait_for_others() -> None:
    scheduler = with_walks(Scheduler(max_batch=1), 1, 1)
    assert scheduler.next() == Encode((0,))

    one = reach(scheduler, 0)

    assert scheduler.next() == Follow((one,))


def test_frames_ahead_fill_a_batch_for_the_encoder() -> None:
    scheduler = with_walks(Scheduler(encode_batch=4), 3, 3)

    assert scheduler.next() == Encode((0, 1, 0, 1))


def test_without_a_hungry_walk_nothing_is_encoded() -> None:
    scheduler = with_walks(Scheduler(encode_batch=2), 1)
    scheduler.next()
    scheduler.decoded(0)

    assert scheduler.next() is None


def test_objects_of_another_kind_wait_for_their_own_batch() -> None:
    scheduler = with_walks(Scheduler(encode_batch=3), 1, 1, 1)
    scheduler.next()
    first, other, third = reach(scheduler, 0, 7), reach(scheduler, 1, 8), reach(scheduler, 2, 7)

    assert scheduler.next() == Follow((first, third))
    assert scheduler.next() == Follow((other,))


def test_a_small_video_does_not_overtake_a_large_one_for_ever() -> None:
    scheduler = Scheduler(slots=2)
    scheduler.ask(0, {0: 1})
    scheduler.ask(1, {0: 1, 1: 1})
    scheduler.ask(2, {0: 1})

    assert scheduler.admit() == [0]
    scheduler.ended(0, 0)
    assert scheduler.admit() == [1]
    scheduler.ended(1, 1)  # its other track lives on
    assert scheduler.admit() == [2]


def test_more_tracks_than_slots_or_bytes_become_parts_that_fit() -> None:
    scheduler = Scheduler(slots=2, bank_bytes=10)

    assert scheduler.split({1: 1, 2: 1, 3: 1}) == [{1: 1, 2: 1}, {3: 1}]
    assert scheduler.split({1: 6, 2: 6, 3: 2}) == [{1: 6}, {2: 6, 3: 2}]
    assert scheduler.split({1: 99, 2: 1}) == [{1: 99}, {2: 1}]


def test_a_track_too_large_for_all_limits_is_alive_alone() -> None:
    scheduler = Scheduler(bank_bytes=10)
    for walk, size in enumerate((99, 1)):
        scheduler.ask(walk, {0: size})

    assert scheduler.admit() == [0]
    scheduler.ended(0, 0)
    assert scheduler.admit() == [1]


@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_a_walk_that_is_dropped_is_neither_encoded_nor_followed(dropped: int) -> None:
    scheduler = with_walks(Scheduler(max_batch=3, slots=3), 2, 2, 1)
    for walk in (0, 1):
        scheduler.next()
        reach(scheduler, walk)

    scheduler.drop(dropped)

    left = {0, 1, 2} - {dropped}
    if 2 in left:
        assert scheduler.next() == Encode((2,))
        reach(scheduler, 2)
    assert scheduler.next() == Follow(tuple(ObjectFrame(walk, 0, 0) for walk in left))
    scheduler.ask(3, {0: 1})
    assert scheduler.admit() == [3]
