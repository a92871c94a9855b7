"""The sizes of SAM 2 as data."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from sam2.config import MODELS, ModelConfig, UnknownModelError, model_config
from sam2.model import Sam2

SIZES = ["tiny", "small", "base-plus", "large"]


def test_there_are_nano_and_the_eight_published_models() -> None:
    published = [f"{family}-{size}" for family in ("sam2", "sam2.1") for size in SIZES]

    assert [*MODELS] == ["nano", *published]
    assert all(model_config(name).name == name for name in MODELS)


def test_a_name_that_is_none_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownModelError) as caught:
        model_config("sam2.1_tiny")

    assert "no model 'sam2.1_tiny'" in str(caught.value)
    assert all(name in str(caught.value) for name in MODELS)


@pytest.mark.parametrize("size", SIZES)
def test_sam_2_1_differs_from_sam_2_in_two_things_only(size: str) -> None:
    old, new = model_config(f"sam2-{size}"), model_config(f"sam2.1-{size}")

    assert new.absent_memory
    assert new.pointer_positions
    assert replace(new, name=old.name, absent_memory=False, pointer_positions=False) == old


@pytest.mark.parametrize("config", MODELS.values(), ids=lambda config: config.name)
def test_the_numbers_of_a_size_fit_together(config: ModelConfig) -> None:
    trunk = config.trunk
    fine = config.image_size // 4  # side of the finest map

    assert config.image_size % 32 == 0
    assert trunk.channels[3] % (trunk.heads << 3) == 0
    assert max(trunk.global_blocks) < sum(trunk.blocks)
    assert fine % trunk.windows[0] == 0  # the fine position map is tiled without a rest
    assert config.channels % 16 == 0  # halved for eight heads in the decoder
    assert config.channels % config.memory_channels == 0  # a pointer is cut into whole tokens
    assert config.memory_channels % 4 == 0
    assert config.memory_span < config.pointer_span


def test_grids_follow_from_the_size_of_the_picture() -> None:
    config = model_config("sam2.1-tiny")

    assert (config.grid, config.mask_size) == (64, 256)


def test_channels_double_from_stage_to_stage() -> None:
    assert model_config("sam2.1-base-plus").trunk.channels == (112, 224, 448, 896)


def test_a_size_cannot_be_changed_by_accident() -> None:
    with pytest.raises(FrozenInstanceError):
        model_config("nano").channels = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("sam2.1-tiny", [8, 8, 4, 4, 14, 0, 14, 0, 14, 0, 14, 7]),
        ("sam2.1-small", [8, 8, 4, 4, 14, 14, 14, 0, 14, 14, 0, 14, 14, 0, 14, 7]),
    ],
)
def test_a_block_that_opens_a_stage_keeps_the_window_before(name: str, windows: list[int]) -> None:
    with torch.device("meta"):
        blocks = Sam2(model_config(name)).image_encoder.trunk.blocks

    assert [block.window for block in blocks] == windows
