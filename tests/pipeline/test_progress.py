"""Progress away from a terminal: a line every few seconds."""

import threading

import pytest

from pipeline.progress import Tally, print_lines


def test_a_line_says_how_much_is_done_of_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()

    readings = iter([Tally(), Tally(tasks=2, object_frames=30)])

    def read() -> Tally:
        now = next(readings)
        if now.tasks:
            done.set()
        return now

    print_lines(read, Tally(tasks=5, object_frames=90), done, every_s=0.01)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("2 of 5 objects done, 30 of about 90 object-frames")


def test_the_rate_leaves_out_what_was_done_before(capsys: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()
    readings = iter([Tally(3, tracked=1_000_000), Tally(4, tracked=1_000_000)])

    def read() -> Tally:
        now = next(readings)
        if now.tasks == 4:
            done.set()
        return now

    print_lines(read, Tally(5, 2_000_000), done, every_s=0.01)

    assert capsys.readouterr().err.endswith(", 0.0/s\n")
