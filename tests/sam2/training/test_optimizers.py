"""The optimizers: every weight has one, and a matrix' step is even in all directions."""

import pytest
import torch
from torch import nn

from sam2.model import Sam2
from sam2.training.muon import Muon
from sam2.training.optimizers import make_optimizers
from tests.sam2.tiny import TINY


def test_every_trained_weight_has_exactly_one() -> None:
    model = Sam2(TINY)
    model.image_encoder.requires_grad_(False)

    optimizers = make_optimizers(model, 1e-3, 0.02)

    taken = [w for one in optimizers for group in one.param_groups for w in group["params"]]
    assert len(taken) == len(set(taken))
    assert set(taken) == {weight for weight in model.parameters() if weight.requires_grad}


def test_a_step_of_a_matrix_is_even_in_all_directions_and_that_of_a_head_is_not() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 32, bias=False), nn.ReLU(), nn.Linear(32, 2, bias=False))
    before = [weight.detach().clone() for weight in net.parameters()]
    net(torch.randn(64, 16)).square().mean().backward()

    for optimizer in make_optimizers(net, 1e-3, 0.0):
        optimizer.step()

    inner, head = (now.detach() - old for now, old in zip(net.parameters(), before, strict=True))
    spread = torch.linalg.svdvals(inner)
    assert spread.max() / spread.min() < 2
    # as long as AdamW's, which moves each weight by the rate: 0.2 times that, for its usual mean
    assert inner.square().mean().sqrt() == pytest.approx(0.2e-3, rel=0.2)
    torch.testing.assert_close(head.abs(), torch.full_like(head, 1e-3), rtol=1e-3, atol=0)


@pytest.mark.parametrize("shape", [(24, 8), (8, 24)])
def test_matrices_go_where_the_library_would_take_them(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.full(shape, 0.1)) for _ in range(2))
    own = Muon([ours], 1e-2, weight_decay=0.1)
    other = torch.optim.Muon([theirs], 1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        own.step()
        other.step()

    moved = (ours - 0.1).norm()
    assert (ours - theirs).norm() < 0.03 * moved  # the library rounds to bfloat16
