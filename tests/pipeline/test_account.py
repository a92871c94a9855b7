"""The account an actor gives of its work."""

import logging
from collections import Counter

import pytest

from pipeline.account import FIGURES, settle, take_up
from pipeline.masklets import Masklet, Status
from pipeline.plan import Task


def row(task_id: int, status: Status, attempts: int = 1, error: str | None = None) -> Masklet:
    return Masklet(
        task_id=task_id,
        video_id="clip",
        uri="clip.mp4",
        object_id=task_id + 10,
        status=status,
        attempts=attempts,
        error=error,
    )


def test_rows_are_counted_with_what_they_cost() -> None:
    told: Counter[str] = Counter()

    def hear(name: str, value: float) -> None:
        assert name in FIGURES
        told[name] += int(value)

    settle([row(0, "ok"), row(1, "ok", attempts=3), row(2, "crashed", attempts=3)], hear)

    assert +told == {"tasks_ok": 2, "tasks_crashed": 1, "retries": 4, "strikes": 2 + 3}


def test_the_log_names_the_video_and_the_task(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "masklet")
    task = Task(task_id=7, shard=0, video_id="clip", uri="clip.mp4", object_id=17, prompts=())

    take_up([task])
    settle([row(7, "failed", error="there is no such file")], lambda name, value: None)

    begun, ended = caplog.records
    for record in (begun, ended):
        assert "'clip'" in record.getMessage()
        assert "task 7" in record.getMessage()
    assert "no such file" in ended.getMessage()
    assert ended.levelno == logging.WARNING
