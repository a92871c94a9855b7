"""The thread that decodes: in the order of the walk, not too far ahead, and never in the way."""

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from sam2.reader import End, Leg, Reader, ReadFrame, Route
from tests.sam2.tiny import SIZE, FakeClip, pictures


class Source:
    """Pictures, counted as they are read; after the last one an error if there is one."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error = count, error
        self.read = 0
        self.closed = False

    def pictures(self) -> Generator[ReadFrame | Leg]:
        try:
            for index in range(self.count):
                self.read += 1
                yield ReadFrame(index, np.zeros((2, 2, 3), np.uint8))
            if self.error:
                raise self.error
        finally:
            self.closed = True


@contextmanager
def reading(source: Source) -> Iterator[tuple[Reader, threading.Event]]:
    news = threading.Event()
    reader = Reader(source.pictures(), news)
    reader.start()
    yield reader, news
    reader.close()


def next_of(reader: Reader, news: threading.Event) -> ReadFrame | Leg | End:
    """What comes next, however long it takes."""
    while not (coming := reader.peek()):
        assert news.wait(timeout=60)
        news.clear()
    return coming


def everything(reader: Reader, news: threading.Event) -> tuple[list[int], ReadFrame | Leg | End]:
    frames = []
    while isinstance(coming := next_of(reader, news), ReadFrame):
        frames.append(coming.index)
        reader.take()
    return frames, coming


def test_pictures_come_in_order_and_then_the_end() -> None:
    with reading(Source(9)) as (reader, news):
        assert everything(reader, news) == ([*range(9)], End())


def test_an_error_comes_after_the_pictures_before_it() -> None:
    error = OSError("the disk is on fire")
    with reading(Source(5, error)) as (reader, news):
        assert everything(reader, news) == ([*range(5)], End(error))


def test_a_reader_whose_pictures_nobody_takes_stops_a_few_frames_ahead() -> None:
    source = Source(1000)
    with reading(source) as (reader, news):
        for _ in range(20):
            next_of(reader, news)
            reader.take()
        assert source.read < 30


@pytest.mark.parametrize("count", [0, 2, 1000])
def test_closing_ends_the_thread_and_the_source_wherever_they_are(count: int) -> None:
    source = Source(count)
    with reading(source) as (reader, news):
        next_of(reader, news)

    assert source.closed
    assert source.read <= 10
    assert not [t for t in threading.enumerate() if t.name.startswith("masklet")]


def test_a_reader_that_never_started_can_be_closed() -> None:
    source = Source(3)

    Reader(source.pictures(), threading.Event()).close()

    assert source.read == 0
    assert not [t for t in threading.enumerate() if t.name.startswith("masklet")]


def test_a_route_goes_to_the_prompts_then_forwards_then_back() -> None:
    clip = FakeClip(pictures(8), lost=frozenset({5, 6}))
    route = Route(prompts=[6, 2], out=(3, 7), back=(0, 3))

    met = [
        p if isinstance(p, Leg) else (p.index, p.pixels is None) for p in route.pictures(clip, SIZE)
    ]

    prompts, out, back = [(6, True), (2, False)], [(3, False), (4, False)], [2, 1, 0]
    assert met == [*prompts, Leg.OUT, *out, Leg.BACK, *((index, False) for index in back)]


def test_a_leg_without_frames_is_not_read() -> None:
    clip = FakeClip(pictures(0))

    assert [*Route(prompts=[], out=(4, 4), back=(2, 1)).pictures(clip, SIZE)] == []
