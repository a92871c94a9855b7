"""Fifty faults, drawn by lot but the same every time: the rows stay, and little is done twice."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.run import run
from tests.chaos.faults import Fault, disarm, fired, tracked_in
from tests.chaos.job import config, job, rows

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("ray_cluster")]

FAULTS = 50
MOST_SEEDS = 20  # each is a run, disturbed for as long as it lasts


def draw(luck: random.Random) -> Fault:
    """Something that goes wrong somewhere."""
    put = luck.choice(["before put", "after put"])
    at = luck.choices(
        [r"frame \d+ of", f"{put} .*/state/", f"{put} .*/masklets/"],
        weights=[5, 4, 1],
    )[0]
    # Some work is done between two faults: three deaths without any would be a strike-out. Frames
    # are decoded well ahead of the work.
    passing = {"f": (45, 75), "b": (6, 14), "a": (6, 14)}[at[0]]
    return Fault(at=at, skip=0 if "masklets" in at else luck.randrange(*passing))


@contextmanager
def trouble(folder: Path, luck: random.Random) -> Iterator[list[str]]:
    """Arms one fault after another, each when the one before has happened."""
    over = threading.Event()
    names: list[str] = []

    def arm() -> None:
        while not over.wait(0.05):
            if not names or fired(folder, names[-1]):
                time.sleep(luck.random())
                names.append(f"fault{len(names)}")
                draw(luck).arm(folder, names[-1])

    thread = threading.Thread(target=arm)
    thread.start()
    try:
        yield names
    finally:
        over.set()
        thread.join()


def test_fifty_faults_change_no_row_and_cost_less_than_half_of_the_work_again(
    faults: Path, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    entries = job(tmp_path / "videos", videos=4, objects=3, n_frames=40)
    run(entries, str(tmp_path / "undisturbed"), config(save_every_s=0.1))
    expected = rows(tmp_path / "undisturbed")
    happened = tracked = needed = seed = 0

    while happened < FAULTS and seed < MOST_SEEDS:
        out = tmp_path / f"out{seed}"
        with trouble(faults, random.Random(seed)) as names:
            run(entries, str(out), config(save_every_s=0.1))
        assert rows(out) == expected
        happened += sum(fired(faults, name) for name in names)
        tracked += tracked_in(faults)
        needed += sum(len(row.frame_index) for row in expected)
        seed += 1
        disarm(faults)

    print(f"{happened} faults in {seed} runs; {tracked / needed:.3f} tracked for each needed")
    assert happened >= FAULTS
    assert needed <= tracked <= 1.5 * needed
