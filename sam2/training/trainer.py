"""The trainer: one model, its optimizers, and the running average of its weights that is kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sam2.model import Sam2
from sam2.precision import fast_at_bfloat16
from sam2.training.losses import Losses
from sam2.training.optimizers import make_optimizers
from sam2.training.walk import Batch, Lesson, teach


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says at which batch and what to do."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step was like."""

    loss: float
    mask: float
    dice: float
    iou: float
    score: float
    scale: float
    gradient: float  # norm before clipping


class Teacher(nn.Module):
    """A model's pass through a batch as a module, so that data-parallel training can wrap it."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.model = model
        self.by_size = {model.config.image_size: model}

    def forward(self, batch: Batch, lesson: Lesson, generator: torch.Generator) -> Losses:
        """The mean losses of every answer, on pictures of any size the model's stride divides."""
        size = batch.frames.shape[-1]
        if size not in self.by_size:
            self.by_size[size] = at_size(self.model, size)
        return teach(self.by_size[size], batch, lesson, generator)


def at_size(model: Sam2, size: int) -> Sam2:
    """The model for square pictures of another size: its weights are the very same tensors."""
    twin = Sam2(replace(model.config, image_size=size)).to(model.device).train(model.training)
    twin.load_state_dict(model.state_dict())  # for the buffers that belong to the weights
    for name, weight in model.named_parameters():
        part, _, leaf = name.rpartition(".")
        setattr(twin.get_submodule(part), leaf, weight)
    return twin


@dataclass(frozen=True, slots=True)
class Recipe:
    """How weights follow gradients."""

    learning_rate: float = 1e-3  # at its peak
    warmup: int = 100  # steps in which it rises
    steps: int = 1000  # in which it falls to a fiftieth, along half a cosine
    weight_decay: float = 0.02
    clip: float = 5.0  # largest norm of a gradient
    average: float = 0.997  # how much of the running average stays at each step
    scale_weight: float = 0.0  # of what holds features at unit scale: for training from nothing
    bfloat16: bool = True  # mixed precision, where the device is fast at it

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        fall = torch.tensor(min(step / self.steps, 1.0) * torch.pi).cos().item()
        return self.learning_rate * min(1, (step + 1) / self.warmup) * (0.51 + 0.49 * fall)


class Trainer:
    """Takes steps. `average` is the model to keep: a running average of the weights."""

    def __init__(self, model: Sam2, recipe: Recipe, teacher: nn.Module | None = None) -> None:
        self.model, self.recipe, self.step_count = model, recipe, 0
        self.teacher = teacher or Teacher(model)
        self.average = deepcopy(model).requires_grad_(False).eval()
        self.optimizers = make_optimizers(model, recipe.learning_rate, recipe.weight_decay)

    def step(
        self, batch: Batch, lesson: Lesson, generator: torch.Generator, share: float = 1.0
    ) -> StepReport:
        """Learns from one batch, at a share of the recipe's learning rate.

        Raises TrainingError, with all weights as they were, if the loss is no number.
        """
        for group in (group for one in self.optimizers for group in one.param_groups):
            group["lr"] = share * self.recipe.rate(self.step_count)
        self.model.zero_grad(set_to_none=True)
        with self._precision(batch.frames.device):
            losses: Losses = self.teacher(batch, lesson, generator)
        total = losses.total + self.recipe.scale_weight * losses.scale
        total.backward()  # type: ignore[no-untyped-call]
        trained = [p for p in self.model.parameters() if p.requires_grad]
        gradient = float(nn.utils.clip_grad_norm_(trained, self.recipe.clip))
        report = StepReport(total.item(), **_values(losses), gradient=gradient)
        if not torch.tensor([report.loss, report.gradient]).isfinite().all():
            raise TrainingError(
                f"step {self.step_count}: the loss is {report.loss} and its gradient "
                f"{report.gradient}. Nothing was learnt from this batch, and the last checkpoint "
                f"is good. Lower the learning rate, or look at its clips: {', '.join(batch.names)}"
            )
        for optimizer in self.optimizers:
            optimizer.step()
        self.step_count += 1
        self._average()
        return report

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on from here."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step_count,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes back to where `state` was taken."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        self.step_count = state["step"]

    @torch.no_grad()
    def _average(self) -> None:
        """Early on the average is a short one, or it would remember the first weights."""
        keep = min(self.recipe.average, (self.step_count + 1) / (self.step_count + 10))
        for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)

    @contextmanager
    def _precision(self, device: torch.device) -> Iterator[None]:
        # On a CPU the fused attention is slow backwards: half of a step.
        kernels = [SDPBackend.MATH] if device.type == "cpu" else list(_FUSED)
        mixed = self.recipe.bfloat16 and fast_at_bfloat16(device)
        with (
            torch.autocast(device.type, torch.bfloat16, enabled=mixed),
            sdpa_kernel(kernels),
        ):
            yield


_FUSED = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


def _values(losses: Losses) -> dict[str, float]:
    terms = {field.name: torch.as_tensor(getattr(losses, field.name)) for field in fields(losses)}
    return {name: term.item() for name, term in terms.items()}
