"""The trainer: saved and restored equals undisturbed, and a loss that is no number stops it."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from sam2.model import Sam2
from sam2.precision import fast_at_bfloat16
from sam2.training.lessons import gather
from sam2.training.scenes import EASY, draw_scene
from sam2.training.start import set_first_weights
from sam2.training.trainer import Recipe, Trainer, TrainingError, at_size
from sam2.training.walk import Batch, Lesson
from tests.sam2.tiny import SIZE, TINY

RECIPE = Recipe(learning_rate=1e-3, warmup=2, steps=8, bfloat16=False)


def batch_of(step: int) -> Batch:
    level = replace(EASY, size=(0.15, 0.25))
    clip = draw_scene(np.random.default_rng(step), level).render(2, SIZE)
    made = gather([clip], 2, np.random.default_rng(step))
    assert made is not None
    return made


def beginner() -> Sam2:
    torch.manual_seed(0)
    model = Sam2(TINY)
    set_first_weights(model)
    return model


def taught(trainer: Trainer, steps: int) -> Trainer:
    for _ in range(steps):
        step = trainer.step_count
        trainer.step(batch_of(step), Lesson("click"), torch.Generator().manual_seed(step))
    return trainer


def test_saved_and_restored_equals_undisturbed() -> None:
    undisturbed = taught(Trainer(beginner(), RECIPE), 6)
    half = deepcopy(taught(Trainer(beginner(), RECIPE), 3).state())
    resumed = Trainer(Sam2(TINY), RECIPE)
    resumed.restore(half)

    taught(resumed, 3)

    for name, value in undisturbed.state()["model"].items():
        assert torch.equal(value, resumed.state()["model"][name]), name
    for name, value in undisturbed.state()["average"].items():
        assert torch.equal(value, resumed.state()["average"][name]), name


def test_a_loss_that_is_no_number_stops_and_changes_nothing() -> None:
    trainer = taught(Trainer(beginner(), RECIPE), 2)
    with torch.no_grad():
        trainer.model.no_mem_embed[:] = float("nan")
    before = deepcopy(trainer.state())
    batch = replace(batch_of(0), names=("bears.mp4, frames 3 to 9",))

    with pytest.raises(TrainingError, match=r"step 2.*nan.*bears\.mp4"):
        trainer.step(batch, Lesson("click"), torch.Generator())

    assert trainer.step_count == 2
    for name, value in before["average"].items():
        assert torch.equal(value, trainer.average.state_dict()[name]), name


def test_precision_is_mixed_only_where_the_device_is_fast_at_it() -> None:
    reports = [
        Trainer(beginner(), replace(RECIPE, bfloat16=mixed)).step(
            batch_of(0), Lesson("click"), torch.Generator().manual_seed(0)
        )
        for mixed in (True, False)
    ]

    assert (reports[0] != reports[1]) is fast_at_bfloat16(torch.device("cpu"))


def test_frozen_parts_stay_as_they_are() -> None:
    model = beginner()
    model.image_encoder.requires_grad_(False)
    encoder = deepcopy(model.image_encoder.state_dict())
    decoder = deepcopy(model.sam_mask_decoder.state_dict())

    trained = taught(Trainer(model, RECIPE), 2).model

    assert all(torch.equal(v, encoder[k]) for k, v in trained.image_encoder.state_dict().items())
    assert any(
        not torch.equal(v, decoder[k]) for k, v in trained.sam_mask_decoder.state_dict().items()
    )


def test_the_average_trails_behind_and_the_rate_rises_and_falls() -> None:
    trainer = taught(Trainer(beginner(), replace(RECIPE, average=0.9)), 4)

    now, mean = trainer.model.no_mem_embed, trainer.average.no_mem_embed
    rates = [RECIPE.rate(step) for step in range(9)]

    assert not torch.equal(now, mean)
    assert not mean.requires_grad
    assert rates[0] == pytest.approx(5e-4)
    assert max(rates) == rates[1]
    assert rates[8] == pytest.approx(2e-5)


def test_mixed_precision_learns_too() -> None:
    model = beginner()
    before = model.no_mem_embed.detach().clone()

    trained = taught(Trainer(model, replace(RECIPE, bfloat16=True)), 2).model

    assert trained.no_mem_embed.dtype == torch.float32
    assert not torch.equal(before, trained.no_mem_embed)


def test_smaller_pictures_train_the_very_same_weights() -> None:
    torch.manual_seed(0)
    model = Sam2(
        replace(TINY, trunk=replace(TINY.trunk, windows=(4, 2, 2, 2)), image_size=2 * SIZE)
    )
    made = Sam2(replace(model.config, image_size=SIZE))
    made.load_state_dict(model.state_dict())
    picture = torch.randn(1, 3, SIZE, SIZE)

    twin = at_size(model, SIZE)

    assert torch.equal(twin.encode(picture).image, made.encode(picture).image)
    taught(Trainer(model, RECIPE), 1)  # the batch has pictures of SIZE
    assert not torch.equal(twin.encode(picture).image, made.encode(picture).image)
