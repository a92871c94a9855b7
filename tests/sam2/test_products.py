"""Fast matrix products give what torch's own give."""

import pytest
import torch
import torch.nn.functional as F

from sam2.products import multiply, multiply_gelu

SHAPES = [(5,), (2, 3, 5), (0, 5), (2, 150, 256)]  # the last is not a small product


def matrices(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is multiplied, and the weights and biases of as many outputs as make it small or not."""
    inputs = shape[-1]
    outputs = 256 if inputs > 5 else 7
    return torch.randn(shape), torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_is_that_of_torch_whatever_the_shape(shape: tuple[int, ...]) -> None:
    x, weight, bias = matrices(shape)

    expected = F.linear(x, weight, bias)
    torch.testing.assert_close(multiply(x, weight, bias), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_gelu_within_a_product_is_gelu_after_it(
    shape: tuple[int, ...], dtype: torch.dtype, near: float
) -> None:
    x, weight, bias = (matrix.to(dtype) for matrix in matrices(shape))

    found = multiply_gelu(x, weight, bias)

    expected = F.gelu(F.linear(x.double(), weight.double(), bias.double()))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, atol=near, rtol=near)


def test_what_is_not_float_has_no_fast_way_but_the_same_result() -> None:
    x, weight = torch.randn(3, 5).double(), torch.randn(7, 5).double()

    assert torch.equal(multiply_gelu(x, weight), F.gelu(F.linear(x, weight)))
