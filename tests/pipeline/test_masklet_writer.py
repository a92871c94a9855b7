"""What is found on a frame goes into the rows of its objects, whoever else is on it."""

import pytest
import torch

from pipeline import masklet_writer
from pipeline.masklet_writer import MaskletWriter, record
from sam2.tracking import FrameMask

SIZE = (30, 50)


def found(seed: int) -> FrameMask:
    random = torch.Generator().manual_seed(seed)
    mask = torch.randn(16, 16, generator=random)
    iou, score = torch.randn(2, generator=random)
    return FrameMask(mask, iou, score, torch.zeros(4))


def recorded(seeds: list[int]) -> list[MaskletWriter]:
    writers = [MaskletWriter() for _ in seeds]
    record(7, [(w, found(seed)) for w, seed in zip(writers, seeds, strict=True)], SIZE)
    return writers


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_an_object_is_recorded_alike_alone_and_among_others(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [writer for seed in range(9) for writer in recorded([seed])]
    monkeypatch.setattr(masklet_writer, "_PIXELS", at_once * 30 * 50)

    assert recorded([*range(9)]) == alone
    assert all(writer.frame_index == [7] for writer in alone)
