"""The trunk's windows and maps."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sam2.hiera import Block, halve, join_windows, split_windows
from tests.sam2.tiny import TINY, pictures, ready, tiny_model

SIDE = st.integers(1, 13)


@given(SIDE, SIDE, st.integers(1, 7))
def test_windows_put_back_are_the_map_again(height: int, width: int, window: int) -> None:
    x = torch.arange(2.0 * height * width * 3).view(2, height, width, 3)

    windows = split_windows(x, window)

    assert windows.shape[1:] == (window, window, 3)
    assert torch.equal(join_windows(windows, height, width), x)


def test_a_map_that_does_not_divide_is_padded_at_the_right_and_bottom() -> None:
    windows = split_windows(torch.ones(1, 4, 4, 1), 3)[..., 0]

    assert windows.sum(dim=(1, 2)).tolist() == [9, 3, 3, 1]
    assert windows[1, :, 0].tolist() == [1, 1, 1]
    assert windows[2, 0].tolist() == [1, 1, 1]


def test_windows_follow_each_other_row_by_row() -> None:
    x = torch.arange(16).view(1, 4, 4, 1)

    assert split_windows(x, 2)[1].flatten().tolist() == [2, 3, 6, 7]


def test_halving_takes_the_largest_of_four() -> None:
    assert halve(torch.arange(16.0).view(1, 4, 4, 1)).flatten().tolist() == [5, 7, 13, 15]


def test_the_trunk_gives_four_maps_each_half_as_wide_and_twice_as_deep() -> None:
    with torch.inference_mode():
        maps = tiny_model().image_encoder.trunk(torch.stack(ready(pictures(2))))

    side = TINY.image_size // 4
    assert [tuple(m.shape) for m in maps] == [
        (2, c, side >> stage, side >> stage) for stage, c in enumerate(TINY.trunk.channels)
    ]


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 13),
    window=st.sampled_from([2, 3, 4]),
    band=st.integers(1, 120),
)
def test_a_block_in_bands_is_the_block(height: int, width: int, window: int, band: int) -> None:
    torch.manual_seed(height)
    x = torch.randn(2, height, width, 8)
    block = Block(8, 8, 2, window)

    with torch.inference_mode():
        whole = block(x)
        block.band = band
        torch.testing.assert_close(block(x), whole, atol=1e-5, rtol=1e-5)


@given(rows=st.integers(1, 6), columns=st.integers(1, 4), band=st.integers(1, 120))
def test_a_stage_opens_in_bands_as_it_does_at_once(rows: int, columns: int, band: int) -> None:
    torch.manual_seed(rows)
    x = torch.randn(1, 4 * rows, 4 * columns, 8)
    block = Block(8, 16, 2, window=4)

    with torch.inference_mode():
        whole = block(x)
        block.band = band
        torch.testing.assert_close(block(x), whole, atol=1e-5, rtol=1e-5)


class LowRank(nn.Module):
    """An adapter as fine-tuning scripts write it: the old layer, and a small product beside it."""

    def __init__(self, old: nn.Linear) -> None:
        super().__init__()
        self.old = old
        self.down = nn.Linear(old.in_features, 2, bias=False)
        self.up = nn.Linear(2, old.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.old(x) + self.up(self.down(x))


def test_layers_of_the_trunk_may_be_replaced_by_adapters() -> None:
    image = torch.stack(ready(pictures(1)))
    trunk = copy.deepcopy(tiny_model().image_encoder.trunk).requires_grad_(False)
    before = trunk(image)
    for block in trunk.blocks:
        block.attn.qkv, block.attn.proj = LowRank(block.attn.qkv), LowRank(block.attn.proj)

    after = trunk(image)

    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    after[-1].sum().backward()
    assert all(block.attn.qkv.up.weight.grad.any() for block in trunk.blocks)


@pytest.mark.parametrize("corner", [(0, 0), (63, 63)])
def test_every_corner_of_the_picture_is_seen_by_every_map(corner: tuple[int, int]) -> None:
    image = ready(pictures(1))[0]
    touched = image.clone()
    touched[:, corner[0], corner[1]] += 3

    with torch.inference_mode():
        before, after = (tiny_model().encode(i[None]) for i in (image, touched))

    for name in ("image", "middle", "fine"):
        assert not torch.equal(getattr(before, name), getattr(after, name))
