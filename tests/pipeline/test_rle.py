"""Masks survive their code, and codes from elsewhere are checked before they are trusted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from pipeline.rle import decode_counts, encode_mask

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
