"""The cost of work: proportional to it, and a guide to how far it may be spread."""

import pytest

from pipeline.cost import TYPICAL, Cost

COST = Cost(
    video_s=1.0,
    frame_s=0.4,
    object_s=0.1,
    megapixel_s=0.0,
    object_megapixel_s=0.0,
    mask_bytes=300,
)


def test_a_video_costs_its_frames_once_and_its_objects_each() -> None:
    assert COST.seconds(n_frames=10, n_objects=3, pixels=10**6) == pytest.approx(1 + 4 + 3)


@pytest.mark.parametrize(("n_objects", "devices"), [(1, 1), (5, 1), (20, 2), (64, 5)])
def test_objects_are_spread_as_long_as_devices_are_four_fifths_in_use(
    n_objects: int, devices: int
) -> None:
    assert COST.devices_for(n_objects, pixels=10**6) == devices


def test_larger_pictures_cost_more() -> None:
    assert TYPICAL.seconds(10, 1, 3840 * 2160) > TYPICAL.seconds(10, 1, 854 * 480)


def test_what_was_measured_is_known_and_what_was_not_is_not() -> None:
    assert Cost.known("nano", "cpu")
    assert Cost.known("nano", "abacus") is None
