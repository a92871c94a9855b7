"""Prompts as a person would give them, drawn from true masks, for B objects at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sam2.components import boxes_around
from sam2.prompt_encoder import BOTTOM_RIGHT, NEGATIVE, NOT_A_POINT, POSITIVE, TOP_LEFT


@dataclass(frozen=True, slots=True, eq=False)
class Clicks:
    """Points (B, P, 2), x then y in pixels of the model's picture, and their labels (B, P)."""

    points: Tensor
    labels: Tensor

    def padded(self) -> "Clicks":
        """With the padding point at the end that every point prompt carries."""
        points = torch.cat((self.points, torch.zeros_like(self.points[:, :1])), dim=1)
        padding = torch.full_like(self.labels[:, :1], NOT_A_POINT)
        return Clicks(points, torch.cat((self.labels, padding), dim=1))

    def followed_by(self, others: "Clicks") -> "Clicks":
        """These and the others, in this order."""
        points = torch.cat((self.points, others.points), dim=1)
        return Clicks(points, torch.cat((self.labels, others.labels), dim=1))


def click(masks: Tensor, generator: torch.Generator) -> Clicks:
    """One click on each object, anywhere on it: masks (B, H, W) bool -> one point each.

    An object that does not show gets a padding point.
    """
    points = _anywhere(masks, generator)
    shown = masks.flatten(1).any(dim=1)
    labels = torch.where(shown, POSITIVE, NOT_A_POINT)
    return Clicks(points[:, None], labels[:, None])


def correction(found: Tensor, truth: Tensor, generator: torch.Generator) -> Clicks:
    """One click in what is wrong with each mask: twice (B, H, W) bool -> one point each.

    It says what the place is: of the object or not. A mask with nothing wrong gets a click on it.
    """
    wrong = found ^ truth
    wrong = torch.where(wrong.flatten(1).any(dim=1)[:, None, None], wrong, truth)
    points = _anywhere(wrong, generator)
    columns, rows = points.long().unbind(dim=1)
    on_object = truth[torch.arange(len(truth), device=truth.device), rows, columns]
    labels = torch.where(on_object, POSITIVE, NEGATIVE)
    labels = torch.where(wrong.flatten(1).any(dim=1), labels, NOT_A_POINT)
    return Clicks(points[:, None], labels[:, None])


def box(masks: Tensor, generator: torch.Generator, looseness: float = 0.1) -> Clicks:
    """The box round each object as two points, each side off by up to a tenth of the box."""
    edges = boxes_around(masks).float()
    edges[:, 2:] += 1
    sides = (edges[:, 2:] - edges[:, :2]).repeat(1, 2)
    off = torch.rand(edges.shape, generator=generator, device=generator.device).to(edges)
    limit = (looseness * sides).clamp(max=20)
    edges = edges + (2 * off - 1) * limit
    corners = edges.view(-1, 2, 2).clamp(0, masks.shape[-1])
    labels = torch.tensor([TOP_LEFT, BOTTOM_RIGHT], device=masks.device).repeat(len(masks), 1)
    shown = masks.flatten(1).any(dim=1)[:, None]
    return Clicks(corners, torch.where(shown, labels, NOT_A_POINT))


def _anywhere(masks: Tensor, generator: torch.Generator) -> Tensor:
    """A random pixel of each mask (B, H, W) -> (B, 2), x then y; the first one of an empty mask."""
    ties = torch.rand(masks.shape, generator=generator, device=generator.device).to(masks.device)
    place = (ties * masks).flatten(1).argmax(dim=1)
    width = masks.shape[-1]
    return torch.stack((place % width, place // width), dim=1).float()
