"""Progress away from a terminal: a line every few seconds."""

import threading

import pytest

from pipeline.progress import Tally, print_lines


def test_a_line_says_how_much_is_done_of_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()

    def read() -> Tally:
        done.set()
        return Tally(tasks=2, object_frames=30)

    print_lines(read, Tally(tasks=5, object_frames=90), done, every_s=0.01)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("2 of 5 objects done, 30 of about 90 object-frames")
