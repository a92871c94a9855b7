"""Settings, curriculum, curves and the exam of a training, without Ray."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pipeline.config import ConfigError, load_settings
from pipeline.evaluation.metric import compare
from pipeline.training.config import Source, Stage, TrainConfig
from pipeline.training.curves import plot_curves
from pipeline.training.exam import (
    FRAMES,
    LEAST_PIXELS,
    TIERS,
    exam_clips,
    examine,
    first_prompt,
    middle,
    practice_clips,
    track,
)
from pipeline.training.fit import Curriculum, Fit, Note
from pipeline.training.labelled import SourceError
from pipeline.training.record import TrainRecord, publish, starting_model
from sam2.checkpoint import load_model
from sam2.model import Sam2
from sam2.prompts import MaskPrompt, PointPrompt
from sam2.training.trainer import Trainer
from tests.sam2.tiny import SIZE, TINY, tiny_model

ROOT = Path(__file__).parents[3]
CONFIG = TrainConfig(
    stages=(
        Stage(steps=2, frames=1, clips=2, prompts={"click": 1.0}),
        Stage(steps=3, frames=2, clips=1),
    ),
    sources=(Source(synthetic="medium"),),
    validate_every=4,
    validation_clips=1,
    save_every=2,
    bfloat16=False,
)


def fit() -> Fit:
    torch.manual_seed(0)
    trainer = Trainer(Sam2(TINY), CONFIG.recipe)
    return Fit(CONFIG, trainer, Curriculum(CONFIG, SIZE))


def test_the_shipped_recipes_are_valid() -> None:
    recipes = sorted((ROOT / "configs" / "train").glob("*.yaml"))

    assert recipes
    for recipe in recipes:
        assert load_settings(TrainConfig, recipe).steps > 0


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"stages": []}, "stages"),
        ({"stages": [{"steps": 1, "frames": 1, "clips": 1}]}, "say where clips come from"),
        ({"sources": [{"synthetic": "easy", "davis": "x"}]}, "give one of"),
        ({"sources": [{"synthetic": "bizarre"}]}, "easy"),
        ({"sources": [{"davis": "x", "pictures": "y"}]}, "paint for synthetic clips"),
        ({"lerning_rate": 1.0}, "did you mean 'learning_rate'"),
        ({"trained": "some"}, "decoder-and-memory"),
    ],
)
def test_wrong_settings_are_told(
    settings: dict[str, object], complaint: str, tmp_path: Path
) -> None:
    whole = CONFIG.model_dump(mode="json", exclude={"sources"}) | settings
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(whole))

    with pytest.raises(ConfigError, match=complaint):
        load_settings(TrainConfig, path)


def test_a_steps_batch_depends_on_seed_step_and_worker_alone() -> None:
    def frames(seed: int, step: int, rank: int) -> torch.Tensor:
        config = CONFIG.model_copy(update={"seed": seed})
        return Curriculum(config, SIZE, rank).batch(step)[0].frames

    assert torch.equal(frames(0, 1, 0), frames(0, 1, 0))
    for other in ((1, 1, 0), (0, 0, 0), (0, 1, 1)):
        assert not torch.equal(frames(0, 1, 0), frames(*other))


def test_sources_that_never_show_an_object_are_told(tmp_path: Path) -> None:
    speck = np.zeros((200, 200), np.uint8)
    speck[3, 3] = 1
    for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        place = tmp_path / folder / "dust"
        place.mkdir(parents=True)
        for t in range(2):
            Image.fromarray(speck).save(place / f"{t:05d}.{suffix}")
    sources = (Source(davis=str(tmp_path)),)

    with pytest.raises(SourceError, match=r"Annotations/dust.*no object was to be seen"):
        Curriculum(CONFIG.model_copy(update={"sources": sources}), SIZE).batch(0)


def test_a_source_need_only_be_as_long_as_the_clips_of_its_own_stages(tmp_path: Path) -> None:
    square = np.zeros((64, 64), np.uint8)
    square[16:48, 16:48] = 1
    for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (tmp_path / folder / "still").mkdir(parents=True)
        Image.fromarray(square).save(tmp_path / folder / "still" / f"00000.{suffix}")
    first, second = CONFIG.stages
    stills = first.model_copy(update={"sources": (Source(davis=str(tmp_path)),)})
    config = CONFIG.model_copy(update={"stages": (stills, second)})

    curriculum = Curriculum(config, SIZE)
    curriculum.open_sources()

    assert "still" in curriculum.batch(0)[0].names[0]


def test_stages_follow_one_another_and_batches_come_in_order() -> None:
    curriculum = Curriculum(CONFIG, SIZE)

    lengths = [batch.frames.shape[1] for batch, _, _ in curriculum.batches(1)]

    assert lengths == [1, 2, 2, 2]
    assert torch.equal(next(curriculum.batches(3))[0].frames, curriculum.batch(3)[0].frames)


def test_a_resumed_fit_ends_with_the_same_weights_and_curves() -> None:
    saved: list[dict[str, object]] = []
    notes: list[Note] = []
    whole, resumed = fit(), fit()

    whole.run(lambda f: saved.append(deepcopy(f.state())), notes.append)
    resumed.restore(saved[0])
    resumed.run(lambda f: None, lambda note: None)

    assert [state["trainer"]["step"] for state in saved] == [2, 4, 5]  # type: ignore[index]
    assert [note["step"] for note in notes] == [4, 5, 5]  # an exam at 4; at the end, both
    assert set(notes[0]["jf"]) == {"mask", "box", "click"}
    theirs = resumed.trainer.average.state_dict()
    for name, value in whole.trainer.average.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    assert [n["step"] for n in resumed.curves] == [4, 5, 5]


def test_weights_are_published_in_half_precision_and_load(tmp_path: Path) -> None:
    config = TrainConfig(stages=CONFIG.stages, sources=CONFIG.sources)
    model = starting_model(config)
    trained = Fit(config, Trainer(model, config.recipe), Curriculum(config, 256))
    trained.curves = [{"step": 20, "loss": 1.0, "dice": 0.5, "iou": 0.1}]

    publish(trained, str(tmp_path))

    weights = tmp_path / "nano.safetensors"
    loaded = load_model("nano", weights).state_dict()
    assert weights.stat().st_size < 10_000_000
    for name, value in model.state_dict().items():
        assert torch.allclose(value, loaded[name], atol=2e-3), name
    assert (tmp_path / "curves.jsonl").read_text().count("\n") == 1


def test_a_record_says_what_changed_but_not_where_it_runs(tmp_path: Path) -> None:
    TrainRecord.open(CONFIG, str(tmp_path))
    elsewhere = CONFIG.model_copy(
        update={"workers": CONFIG.workers.model_copy(update={"count": 4})}
    )

    assert not TrainRecord.open(elsewhere, str(tmp_path)).finished
    with pytest.raises(ConfigError, match=r"clip, seed differ"):
        TrainRecord.open(CONFIG.model_copy(update={"seed": 5, "clip": 1.0}), str(tmp_path))


def test_only_decoder_and_memory_can_be_trained() -> None:
    model = starting_model(CONFIG.model_copy(update={"trained": "decoder-and-memory"}))

    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert "image_encoder" not in trained
    assert {"sam_mask_decoder", "memory_attention", "memory_encoder"} <= trained


def test_curves_show_what_is_there() -> None:
    notes = [{"step": s, "loss": 2 - s / 50, "dice": 0.5, "iou": 0.1} for s in range(20, 100, 20)]

    empty, drawn = plot_curves([]), plot_curves([*notes, {"step": 80, "jf": {"box": 0.5}}])

    assert drawn.size == empty.size
    assert np.asarray(drawn).std() > np.asarray(empty).std()


@pytest.mark.parametrize("tier", TIERS)
def test_the_exam_is_fixed_and_asks_for_what_can_be_found(tier: str) -> None:
    clips, again = exam_clips(tier, 2, SIZE * 2), exam_clips(tier, 3, SIZE * 2)

    for clip, same in zip(clips, again, strict=False):
        assert clip.frames.shape[0] == FRAMES
        assert torch.equal(clip.frames, same.frames)
        assert (clip.masks[:, 0].flatten(1).sum(dim=1) >= LEAST_PIXELS).all()


def test_prompts_of_the_exam_are_on_their_object() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:30, 6:12] = True
    mask[24:30, 6:30] = True

    x, y = middle(mask)
    box = first_prompt("box", mask)
    whole = first_prompt("mask", mask)

    assert mask[int(y), int(x)]
    assert isinstance(box, PointPrompt)
    assert box.box == (6, 5, 30, 30)
    assert isinstance(whole, MaskPrompt)


def test_marks_are_those_of_the_metric() -> None:
    (clip,) = practice_clips(1, SIZE * 2)
    clip = replace(clip, frames=clip.frames[..., ::2, ::2], masks=clip.masks[..., ::2, ::2])

    marks = examine(tiny_model(), [clip], "mask")

    truth = clip.masks.numpy()
    found = track(tiny_model(), clip, [{0: first_prompt("mask", true[0])} for true in truth])
    for mark, true, (masks, present) in zip(marks, truth, found, strict=True):
        scores = [compare(t, m).jf for t, m in zip(true[1:], masks[1:], strict=True)]
        assert mark.by_frame == pytest.approx(scores)
        assert mark.jf == pytest.approx(np.mean(scores))
        shows = true[1:].any(axis=(1, 2))
        assert mark.shown == tuple(present[1:][shows])
        assert mark.hidden == tuple(~present[1:][~shows])
