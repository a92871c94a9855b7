"""The fast forms of attention give what the plain one gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2.attention import Attend, attend, attend_fast, attend_narrow


@settings(max_examples=20, deadline=None)
@given(
    heads=st.integers(1, 3),
    queries=st.integers(1, 700),
    keys=st.integers(1, 9000),
    width=st.sampled_from([8, 24, 96]),
    narrow=st.booleans(),
    avx512=st.booleans(),
)
def test_the_fast_form_agrees_with_the_plain_one(
    heads: int, queries: int, keys: int, width: int, narrow: bool, avx512: bool
) -> None:
    random = torch.Generator().manual_seed(queries)
    q = torch.randn(1, heads, queries, width, generator=random)
    k = torch.randn(1, heads, keys, width, generator=random)
    v = torch.randn(1, heads, keys, 8 if narrow else width, generator=random)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sam2.attention.AVX512", avx512)
        found = attend_fast(q, k, v)

    torch.testing.assert_close(found, attend(q, k, v), atol=1e-5, rtol=1e-4)


def test_keys_far_better_than_all_before_make_these_fade() -> None:
    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, 3000, width, generator=random) for width in (64, 64, 8))
    k = k * torch.linspace(0.1, 60, 3000)[:, None]  # scores in the hundreds: exp alone is infinite

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sam2.attention.AVX512", False)
        found = attend_fast(q, k, v)

    torch.testing.assert_close(found, attend(q, k, v), atol=1e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize("run", [attend_narrow, torch.compile(attend_narrow, backend="aot_eager")])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_the_form_for_narrow_values_agrees_with_the_plain_one(
    run: Attend, dtype: torch.dtype, near: float
) -> None:
    random = torch.Generator().manual_seed(0)
    shapes = ((2, 1, 256, 64), (2, 1, 900, 64), (2, 1, 900, 16))
    q, k, v = (torch.randn(shape, generator=random) for shape in shapes)

    with torch.inference_mode():
        found = run(q.to(dtype), k.to(dtype), v.to(dtype))

    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), attend(q, k, v), atol=near, rtol=near)


def test_bfloat16_rounds_attention_to_two_digits() -> None:
    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, 600, 64, generator=random) for _ in range(3))

    rounded = attend_fast(q.bfloat16(), k.bfloat16(), v.bfloat16())

    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), attend(q, k, v), atol=0.01, rtol=0.02)


def test_an_object_is_attended_to_alike_alone_and_beside_others() -> None:
    q, k, v = (torch.randn(3, 2, 400, 32).bfloat16() for _ in range(3))

    together = attend_fast(q, k, v)

    for i in range(3):
        assert torch.equal(together[i], attend_fast(q[i : i + 1], k[i : i + 1], v[i : i + 1])[0])
