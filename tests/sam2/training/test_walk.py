"""Lessons: they walk as tracking walks, teach every part of the model, and mind no company."""

from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam2.config import ModelConfig
from sam2.memory import FrameMemory, MemoryBank
from sam2.model import Sam2
from sam2.prompts import MaskPrompt
from sam2.tracking import FrameMask, Step, answer_mask, memorize_prompted, track
from sam2.training.lessons import draw_lesson, gather
from sam2.training.losses import Losses, losses, mean
from sam2.training.scenes import MEDIUM, draw_scene
from sam2.training.simulation import box
from sam2.training.start import set_first_weights
from sam2.training.walk import FIRST, NEVER_HIDDEN, Batch, Lesson, teach
from tests.sam2.tiny import SIZE, TINY, TINY_2_0, features_of, tiny_model

FRAMES = 3


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Two clips with several objects that show on every frame."""
    level = replace(MEDIUM, size=(0.15, 0.25), occluder=0.0, leaving=0.0)
    clips = [draw_scene(np.random.default_rng(s), level).render(FRAMES, SIZE) for s in (1, 2)]
    made = gather(clips, 2, np.random.default_rng(0))
    assert made is not None
    return made


def only(batch: Batch, index: int) -> Batch:
    """One object of a batch by itself."""
    frames = batch.frames[batch.clips[index]][None]
    return Batch(frames, batch.truth[index][None], (0,))


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("config", [TINY, TINY_2_0], ids=lambda config: config.name)
def test_a_lesson_walks_as_tracking_walks(batch: Batch, config: ModelConfig, free: bool) -> None:
    # Either the score says that objects are there, as they are in truth; or that they are not.
    model = tiny_model(config, score_shift=-50.0 if free else 50.0)
    alone = only(batch, 0)
    with torch.inference_mode():
        taught = teach(model, alone, Lesson("mask", free_running=free), chance())

        features = features_of(model, alone.frames[0].permute(0, 2, 3, 1).numpy())
        start = answer_mask(model, features.rows([0]), MaskPrompt(alone.truth[0, 0]))
        bank = MemoryBank().remember_prompted(
            memorize_prompted(model, features.rows([0]), 0, start)
        )
        expected: list[Losses] = []
        for frame in range(1, FRAMES):
            step = Step(frame, bank.recall(frame, config.memory_span, FRAMES), FRAMES)
            ((answer, memory),) = track(model, features, [step])
            truth = F.avg_pool2d(alone.truth[:, frame, None].float(), 2)[:, 0]
            expected.append(_of_chosen(answer, truth))
            bank = bank.remember(FrameMemory(frame, memory, answer.pointer))

    # Tracking keeps one of three readings, so only what it keeps can be compared: the score.
    assert float(taught.score) == pytest.approx(float(mean(expected).score), rel=1e-4)


def test_only_a_free_walk_goes_by_its_own_score(batch: Batch) -> None:
    believes, doubts = (tiny_model(score_shift=shift) for shift in (50.0, -50.0))
    with torch.no_grad():
        free, forced = (
            [teach(m, batch, Lesson("mask", free_running=f), chance()) for m in (believes, doubts)]
            for f in (True, False)
        )

    assert float(forced[0].mask) == pytest.approx(float(forced[1].mask), rel=1e-5)
    assert float(free[0].mask) == pytest.approx(float(forced[0].mask), rel=1e-5)
    assert float(free[1].mask) != pytest.approx(float(forced[1].mask), rel=1e-3)


def _of_chosen(answer: FrameMask, truth: torch.Tensor) -> Losses:
    weight = torch.full((1,), NEVER_HIDDEN)
    masks, ious = answer.mask[None, None], answer.iou[None, None]
    return losses(masks, ious, answer.score[None], truth, weight)


@pytest.mark.parametrize("first", ["click", "box", "mask"])
def test_objects_are_taught_alike_alone_and_together(
    batch: Batch, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FIRST, "box", partial(box, looseness=0.0))  # its edges fall at random too
    model = tiny_model()
    lesson = Lesson(first)  # type: ignore[arg-type]
    # Clicks fall at random, so make all places alike: each object shows on one pixel of frame 0.
    truth = batch.truth.clone()
    for mask in truth[:, 0]:
        y, x = mask.nonzero()[len(mask.nonzero()) // 2].tolist()
        mask[:] = False
        mask[y, x] = True
    batch = replace(batch, truth=truth)
    with torch.no_grad():
        together = teach(model, batch, lesson, chance())
        each = [teach(model, only(batch, i), lesson, chance()) for i in range(len(batch.clips))]

    for term in ("mask", "dice", "iou", "score"):
        expected = float(getattr(mean(each), term))
        assert float(getattr(together, term)) == pytest.approx(expected, rel=1e-3), term


@pytest.mark.parametrize("readings", [True, False])
def test_what_is_ambiguous_teaches_mask_zero_only_where_that_answers(
    batch: Batch, readings: bool
) -> None:
    model = deepcopy(tiny_model(replace(TINY, readings=readings)))

    teach(model, batch, Lesson("click"), chance()).total.backward()  # type: ignore[no-untyped-call]

    heads = model.sam_mask_decoder.output_hypernetworks_mlps
    taught = [any(w.grad is not None and w.grad.any() for w in head.parameters()) for head in heads]
    assert taught[0] is not readings
    assert any(taught[1:])


@pytest.mark.parametrize(
    "lesson",
    [
        Lesson("click"),
        Lesson("box", corrected=(0,)),
        Lesson("mask", corrected=(1, 2)),
        Lesson("mask", free_running=True),
        Lesson("pixels"),
    ],
    ids=lambda lesson: f"{lesson.first}{lesson.corrected}",
)
def test_every_lesson_can_be_learnt(batch: Batch, lesson: Lesson) -> None:
    torch.manual_seed(0)
    model = Sam2(TINY)
    set_first_weights(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    found = []
    for _ in range(12):
        total = teach(model, batch, lesson, chance()).total
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found.append(total.item())

    assert min(found[-3:]) < 0.9 * found[0]


def test_lessons_together_reach_every_weight(batch: Batch) -> None:
    model = deepcopy(tiny_model()).train()
    for lesson in (Lesson("click", corrected=(0, 1)), Lesson("box"), Lesson("mask")):
        hidden = batch.truth.clone()
        hidden[:, -2] = False  # what is absent has weights of its own
        total = teach(model, replace(batch, truth=hidden), lesson, chance()).total
        total.backward()  # type: ignore[no-untyped-call]

    silent = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # Nothing reads the one; of three readings a few lessons may teach but one.
    readings = {name for name in silent if "output_hypernetworks_mlps" in name}
    assert silent - readings <= {"no_mem_pos_enc"}
    assert len(readings) <= 12


def test_an_object_must_show_where_its_clip_starts() -> None:
    clip = draw_scene(np.random.default_rng(1), MEDIUM).render(FRAMES, SIZE)
    clip.masks[:, 0] = False

    assert gather([clip], 3, np.random.default_rng(0)) is None


def test_objects_that_hide_are_chosen_more_often() -> None:
    clip = draw_scene(np.random.default_rng(1), replace(MEDIUM, things=(4, 4))).render(FRAMES, SIZE)
    masks = torch.ones(4, FRAMES, SIZE, SIZE, dtype=torch.bool)
    masks[2, 1] = False
    clip = replace(clip, masks=masks)

    hidden = 0
    for seed in range(200):
        made = gather([clip], 1, np.random.default_rng(seed))
        assert made is not None
        hidden += int(not made.truth.flatten(2).any(dim=2).all())

    assert 90 < hidden < 140  # 4 in 7, where an even choice would be 1 in 4


def test_lessons_follow_their_shares() -> None:
    rng = np.random.default_rng(0)
    lessons = [draw_lesson(rng, 4, {"mask": 0.5, "box": 0.5}, 0.5) for _ in range(400)]
    single = [draw_lesson(rng, 1, {"mask": 0.9, "click": 0.1}, 0.0) for _ in range(20)]

    assert {lesson.first for lesson in lessons} == {"mask", "box"}
    assert 150 < sum(lesson.first == "mask" for lesson in lessons) < 250
    assert 0.9 < np.mean([len(lesson.corrected) for lesson in lessons]) < 1.1
    assert all(0 not in lesson.corrected for lesson in lessons if lesson.first == "mask")
    assert {lesson.first for lesson in single} == {"click"}  # one frame has no use for its mask
