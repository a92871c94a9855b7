"""Masks survive their code, and codes from elsewhere are checked before they are trusted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from pipeline.mask_codes import MaskCode, encode_masks, encode_runs
from pipeline.rle import decode_counts, encode_mask
from sam2.runs import mask_runs

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(MASKS)
def test_a_mask_comes_back_from_its_code(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(decode_counts(encode_mask(mask), *mask.shape), mask)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # theirs, under numpy 2
@given(MASKS)
def test_a_code_means_the_same_to_coco(mask: NDArray[np.bool_]) -> None:
    counts = encode_mask(mask)

    theirs = coco.decode({"size": list(mask.shape), "counts": counts.encode()})

    np.testing.assert_array_equal(decode_counts(counts, *mask.shape), theirs.astype(bool))


@given(arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=30)))
def test_runs_found_by_any_device_give_the_codes_of_the_c_coder(masks: NDArray[np.bool_]) -> None:
    on_device = torch.from_numpy(masks)

    codes = encode_runs(mask_runs(on_device), *masks.shape[1:])

    assert codes == encode_masks(on_device)
    assert [code.counts for code in codes] == [encode_mask(mask) for mask in masks]
    assert [code.area for code in codes] == [mask.sum() for mask in masks]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 5)])
@pytest.mark.parametrize("full", [False, True])
def test_empty_and_full_masks_have_runs_too(size: tuple[int, int], full: bool) -> None:
    masks = torch.full((3, *size), full)

    codes = encode_runs(mask_runs(masks), *size)

    height, width = size
    box = [0.0, 0.0, width, height] if full else [0.0] * 4
    counts = encode_mask(masks[0].numpy())
    assert codes == [MaskCode(counts, height * width * full, box)] * 3


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=30)).filter(np.any))
def test_a_box_holds_just_its_mask(mask: NDArray[np.bool_]) -> None:
    (code,) = encode_runs(mask_runs(torch.from_numpy(mask)[None]), *mask.shape)

    rows, columns = np.nonzero(mask)
    x, y, width, height = code.bbox
    assert (x, x + width) == (columns.min(), columns.max() + 1)
    assert (y, y + height) == (rows.min(), rows.max() + 1)


def test_a_big_mask_with_long_runs_comes_back() -> None:
    mask = np.zeros((2160, 3840), dtype=np.bool_)
    mask[:, 1000:3000] = True
    mask[5, 7] = True

    np.testing.assert_array_equal(decode_counts(encode_mask(mask), 2160, 3840), mask)


def test_an_empty_mask_is_a_code_of_zeros() -> None:
    counts = encode_mask(np.zeros((4, 5), dtype=np.bool_))

    assert counts
    assert not decode_counts(counts, 4, 5).any()


@pytest.mark.parametrize("counts", ["", "é", "\n", "o", "P", "1" * 100, "oooooooooooo0", "d0d0"])
def test_a_code_that_does_not_fit_the_picture_is_refused(counts: str) -> None:
    with pytest.raises(ValueError, match="mask counts"):
        decode_counts(counts, 4, 5)


@given(st.text(max_size=30), st.integers(1, 9), st.integers(1, 9))
def test_any_text_is_either_a_whole_mask_or_refused(text: str, height: int, width: int) -> None:
    try:
        mask = decode_counts(text, height, width)
    except ValueError:
        return
    assert mask.shape == (height, width)
