"""The losses: what they reward, whom they leave out, and that the best reading is taught."""

import pytest
import torch

from sam2.training.losses import balance, dice, focal, losses, true_iou

TRUTH = torch.zeros(2, 16, 16)
TRUTH[0, 4:10, 4:12] = 1  # the second object does not show
RIGHT = (TRUTH * 2 - 1) * 9
ONES = torch.ones(2)


def test_a_right_mask_costs_next_to_nothing_and_a_wrong_one_much() -> None:
    even = torch.full_like(TRUTH[:1], 1 / 256)
    costs = [
        (float(focal(mask[:1], TRUTH[:1], even)), float(dice(mask[:1], TRUTH[:1])))
        for mask in (RIGHT, -RIGHT)
    ]

    assert max(costs[0]) < 0.01 < 0.5 < min(costs[1])


def test_balanced_pixels_count_by_object_neighbours_and_ground() -> None:
    first, second, third = torch.zeros(3, 100, dtype=torch.bool)
    first[:2] = second[2:10] = third[:50] = True  # the third is on a frame of its own

    weight = balance(torch.stack((first, second, third)), torch.tensor([0, 0, 1]))

    assert weight[0, first].sum() == pytest.approx(1 / 3)
    assert weight[0, second].sum() == pytest.approx(1 / 3)
    assert weight[0, ~(first | second)].sum() == pytest.approx(1 / 3)
    assert weight[2, third].sum() == pytest.approx(1 / 3)
    assert weight[2].sum() == pytest.approx(2 / 3)  # it has no neighbours


def test_iou_is_that_of_the_masks() -> None:
    half = RIGHT.clone()
    half[0, 4:7] = -9

    assert true_iou(half, TRUTH).tolist() == [0.5, 1.0]


def test_only_the_best_of_three_masks_is_taught() -> None:
    masks = torch.stack([-RIGHT, RIGHT, -RIGHT / 2], dim=1).requires_grad_()

    found = losses(masks, torch.zeros(2, 3), torch.zeros(2), TRUTH, ONES)
    (found.mask + found.dice).backward()

    assert masks.grad is not None
    taught = masks.grad.abs().sum(dim=(2, 3)) > 0
    assert taught[0].tolist() == [False, True, False]


def test_of_a_hidden_object_only_the_score_is_taught() -> None:
    masks, ious = (
        torch.randn(2, 1, 16, 16, requires_grad=True),
        torch.rand(2, 1, requires_grad=True),
    )
    scores = torch.zeros(2, requires_grad=True)

    losses(masks, ious, scores, TRUTH, ONES).total.backward()

    for tensor in (masks, ious, scores):
        assert tensor.grad is not None
    assert masks.grad[0].any()
    assert not masks.grad[1].any()
    assert ious.grad[0].any()
    assert not ious.grad[1].any()
    assert scores.grad[0] < 0 < scores.grad[1]


def test_the_terms_are_weighed_as_in_the_paper() -> None:
    found = losses(torch.randn(2, 3, 8, 8), torch.rand(2, 3), torch.randn(2), TRUTH, ONES)

    total = 20 * found.mask + found.dice + found.iou + found.score
    assert float(found.total) == pytest.approx(float(total))


def test_a_score_counts_as_much_as_is_said() -> None:
    masks, ious, scores = torch.zeros(2, 1, 16, 16), torch.zeros(2, 1), torch.tensor([1.0, 1.0])

    none = losses(masks, ious, scores, TRUTH, torch.zeros(2))
    hidden = losses(masks, ious, scores, TRUTH, torch.tensor([0.0, 5.0]))

    assert float(none.score) == 0
    assert float(hidden.score) == pytest.approx(5 * 1.3133 / 2, abs=1e-3)
