"""Which frame of a video a time means."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.manifest import Prompt
from pipeline.placement import settle_prompts
from pipeline.plan import Task


@dataclass
class Times:
    """A video of which nothing is known but when its frames are shown."""

    timestamps: NDArray[np.float64]

    @property
    def info(self) -> Any:
        return SimpleNamespace(n_frames=len(self.timestamps), width=96, height=64)


def frame_at(time_s: float, timestamps: NDArray[np.float64]) -> int | None:
    asked = Prompt(time_s=time_s, box=(8.0, 20.0, 32.0, 44.0))
    task = Task(task_id=0, shard=0, video_id="v", uri="v.mp4", object_id=1, prompts=(asked,))
    (settled,) = settle_prompts(task, Times(timestamps))  # type: ignore[arg-type]
    assert (settled.time_s, settled.box) == (None, asked.box)
    return settled.frame


@given(
    st.integers(0, 499),
    st.sampled_from([24000 / 1001, 25.0, 30000 / 1001, 60.0]),
    st.sampled_from([-1e-3, -1e-9, 0.0, 1e-9, 1e-3]),
    st.floats(-5, 5),
)
def test_a_frame_divided_by_the_rate_means_this_frame_however_it_was_rounded(
    frame: int, fps: float, error: float, first_s: float
) -> None:
    shown = first_s + np.arange(500) / fps

    assert frame_at(max(frame / fps + error, 0.0), shown) == frame


@pytest.mark.parametrize(
    ("time_s", "frame"), [(0.08, 2), (0.4, 2), (1.0, 2), (1.47, 2), (1.49, 3), (1.5, 3), (1.54, 4)]
)
def test_in_a_gap_the_frame_on_display_is_meant_and_not_the_one_to_come(
    time_s: float, frame: int
) -> None:
    shown = np.array([0.0, 0.04, 0.08, 1.5, 1.54, 1.58])

    assert frame_at(time_s, shown) == frame
