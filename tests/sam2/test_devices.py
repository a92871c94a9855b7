"""Batches of a few sizes, of which nobody but the device takes notice."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam2 import devices
from sam2.devices import beside, filled, given_so_far, together, upload
from sam2.tracking import Step, track
from tests.sam2.test_tracking import recollection
from tests.sam2.tiny import TINY, features_of, pictures, tiny_model

pytestmark = pytest.mark.usefixtures("no_gradients")


@given(st.lists(st.integers(), min_size=1, max_size=70))
def test_a_filled_batch_begins_with_its_members_and_has_one_of_a_few_sizes(
    batch: list[int],
) -> None:
    full = filled(batch)

    assert full[: len(batch)] == batch
    assert set(full[len(batch) :]) <= {batch[-1]}
    assert len(full) in (1, 2, 4, 8, 12, 16, 32, 48, 64, 80)
    assert len(full) < 2 * len(batch)


def test_a_cpu_computes_one_by_one_and_other_devices_full_batches() -> None:
    on_cpu, elsewhere = torch.arange(10).view(5, 2), torch.empty(5, 2, device="meta")

    assert [part.tolist() for part in together(on_cpu)] == on_cpu[:, None].tolist()
    assert [part.shape for part in together(elsewhere)] == [(8, 2)]


def test_values_are_the_same_after_the_upload() -> None:
    assert upload(torch.arange(3), torch.device("cpu")).tolist() == [0, 1, 2]


def test_without_streams_values_are_taken_off_as_they_are() -> None:
    cpu = torch.device("cpu")
    values = torch.arange(3)

    with beside(cpu, given_so_far(cpu)):
        assert values.double().cpu().tolist() == [0, 1, 2]


def test_where_batches_pay_objects_and_frames_get_the_same_results_from_full_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, clip = tiny_model(score_shift=4), pictures(3)
    steps = [Step(i % 3, recollection(i, 1, {1, 2}, [1, 2]), 6) for i in range(5)]
    features = features_of(model, clip)
    alone = track(model, features, steps)
    monkeypatch.setattr(devices, "batches_pay", lambda device: True)
    monkeypatch.setattr("sam2.tracking.batches_pay", lambda device: True)

    together = features_of(model, clip)
    found = track(model, together, steps, max_batch=5)

    assert together.image.shape == (3, TINY.grid**2, TINY.channels)
    torch.testing.assert_close(together.image, features.image, atol=1e-4, rtol=0)
    assert len(found) == 5
    for (mask, memory), (own_mask, own_memory) in zip(found, alone, strict=True):
        torch.testing.assert_close(mask.mask, own_mask.mask, atol=1e-2, rtol=0)
        torch.testing.assert_close(memory, own_memory, atol=0.05, rtol=0)
