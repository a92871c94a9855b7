"""What is found on a frame goes into the rows of its objects, whoever else is on it."""

import pytest
import torch

from pipeline import masklet_columns
from pipeline.masklet_columns import MaskletColumns, record_frame
from sam2.tracking import FrameMask

SIZE = (30, 50)


def found(seed: int) -> FrameMask:
    random = torch.Generator().manual_seed(seed)
    mask = torch.randn(16, 16, generator=random)
    iou, score = torch.randn(2, generator=random)
    return FrameMask(mask, iou, score, torch.zeros(4))


def recorded(seeds: list[int]) -> list[MaskletColumns]:
    gathered = [MaskletColumns() for _ in seeds]
    record_frame(7, [(c, found(seed)) for c, seed in zip(gathered, seeds, strict=True)], SIZE)
    return gathered


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_an_object_is_recorded_alike_alone_and_among_others(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [columns for seed in range(9) for columns in recorded([seed])]
    monkeypatch.setattr(masklet_columns, "_PIXELS", at_once * 30 * 50)

    assert recorded([*range(9)]) == alone
    assert all(columns.frame_index == [7] for columns in alone)
