"""How weights follow gradients: Muon for the matrices of the network, AdamW for all the rest."""

from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from sam2.training.muon import Muon

FEW = 4  # rows; a head of no more gives single figures, and has no directions to even out


def make_optimizers(model: nn.Module, learning_rate: float, weight_decay: float) -> list[Optimizer]:
    """The optimizers of all weights that are to be trained, at one learning rate.

    Convolutions, embeddings, heads and vectors have AdamW.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    inner = {
        layer.weight
        for layer in model.modules()
        if isinstance(layer, nn.Linear) and layer.out_features > FEW
    }
    matrices = [weight for weight in trained if weight in inner]
    rest = [weight for weight in trained if weight not in inner]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in rest if weight.ndim > 1]},
        {"params": [weight for weight in rest if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = AdamW(groups, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.95))
    return [Muon(matrices, learning_rate, weight_decay), adamw]
