"""One step of many tracks: what is read, what is answered, and that nobody minds the company."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sam2.config import ModelConfig, Precision, model_config
from sam2.mask_decoder import Decoded
from sam2.memory import Recollection
from sam2.model import FrameFeatures, Sam2
from sam2.prompts import MaskPrompt, PointPrompt
from sam2.tracking import (
    ABSENT,
    FrameMask,
    Step,
    answer_mask,
    answer_points,
    choose,
    memorize_prompted,
    stability,
    track,
)
from tests.sam2.stills import segment_still, stack_prompts
from tests.sam2.tiny import TINY, TINY_2_0, features_of, pictures, same, tiny_model

SIZE = (48, 64)  # of the video, height and width
CLICK = PointPrompt(points=((20, 20),), labels=(1,))
CLICKS = PointPrompt(points=((20, 20), (50, 30)), labels=(1, 0))
BOX = PointPrompt(box=(10, 10, 40, 30))

pytestmark = pytest.mark.usefixtures("no_gradients")


def recollection(
    seed: int, prompted: int, ages: set[int], distances: list[int], config: ModelConfig = TINY
) -> Recollection:
    """Memories such as a bank gives, of random content; a seed gives always the same."""
    random = torch.Generator().manual_seed(seed)
    shape = (config.memory_channels, config.grid, config.grid)
    maps = [torch.randn(shape, generator=random) for _ in range(prompted + len(ages))]
    pointers = [torch.randn(config.channels, generator=random) for _ in distances]
    return Recollection(
        maps=tuple(m.to(torch.bfloat16) for m in maps),
        ages=(0,) * prompted + tuple(sorted(ages, reverse=True)),
        pointers=tuple(pointers),
        distances=tuple(distances),
    )


RECOLLECTIONS = st.builds(
    recollection,
    seed=st.integers(0, 99),
    prompted=st.integers(1, 3),
    ages=st.sets(st.integers(1, TINY.memory_span)),
    distances=st.lists(st.integers(0, 40), max_size=4),
)
STEPS = st.lists(
    st.builds(Step, row=st.integers(0, 2), memory=RECOLLECTIONS, pointer_span=st.integers(1, 6)),
    max_size=9,
)
USUAL = recollection(seed=1, prompted=2, ages={1, 2, 3}, distances=[4, 2, 1])


def followed(memory: Recollection, model: Sam2 | None = None, row: int = 2) -> FrameMask:
    model = model or tiny_model()
    features = features_of(model, pictures(3))
    ((found, _),) = track(model, features, [Step(row, memory, TINY.pointer_span)])
    return found


def change(one: FrameMask, other: FrameMask) -> float:
    return float((one.mask - other.mask).abs().max())


# ---- the company an object keeps


@pytest.mark.parametrize("precision", ["exact", "float32", "bfloat16"])
@pytest.mark.parametrize("config", [TINY, TINY_2_0], ids=lambda config: config.name)
@settings(max_examples=15)
@given(steps=STEPS, max_batch=st.integers(1, 5))
def test_an_object_gets_the_same_bits_alone_and_in_a_batch(
    config: ModelConfig, precision: Precision, steps: list[Step], max_batch: int
) -> None:
    model = tiny_model(config, score_shift=-2.5, precision=precision)
    with torch.inference_mode():
        features = features_of(model, pictures(3))
        alone = [pair for step in steps for pair in track(model, features, [step])]

        together = track(model, features, steps, max_batch)

    assert len(together) == len(steps)
    for (mask, memory), (own_mask, own_memory) in zip(together, alone, strict=True):
        assert same(mask, own_mask)
        assert torch.equal(memory, own_memory)


def test_a_full_batch_of_the_shipped_size_rounds_as_one_object_does() -> None:
    nano = model_config("nano")
    model = tiny_model(nano)  # the weights of this recipe, not those that are shipped
    features = model.encode(torch.rand(1, 3, nano.image_size, nano.image_size))
    steps = [Step(0, recollection(seed, 1, set(), [0], nano)) for seed in range(16)]

    together = track(model, features, steps, max_batch=16)

    for step, (mask, memory) in zip(steps, together, strict=True):
        ((own_mask, own_memory),) = track(model, features, [step])
        assert same(mask, own_mask)
        assert torch.equal(memory, own_memory)


def test_a_frame_has_the_same_features_alone_and_beside_others() -> None:
    model, clip = tiny_model(), pictures(5)

    together = features_of(model, clip).rows([3])

    alone = features_of(model, clip[3:4])
    for name in ("image", "middle", "fine"):
        assert torch.equal(getattr(together, name), getattr(alone, name))


def test_without_objects_there_is_nothing_to_do() -> None:
    model = tiny_model()

    assert track(model, features_of(model, pictures(1)), []) == []


# ---- what a mask depends on; without this the tests of memory would prove nothing


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(USUAL, maps=USUAL.maps[1:], ages=USUAL.ages[1:]), id="prompt gone"),
        pytest.param(replace(USUAL, maps=USUAL.maps[:-1], ages=USUAL.ages[:-1]), id="last gone"),
        pytest.param(replace(USUAL, ages=(0, 0, 2, 3, 1)), id="other ages"),
        pytest.param(
            replace(USUAL, pointers=USUAL.pointers[1:], distances=USUAL.distances[1:]),
            id="pointer gone",
        ),
        pytest.param(replace(USUAL, distances=(1, 4, 2)), id="other distances"),
        pytest.param(replace(USUAL, pointers=(), distances=()), id="no pointers"),
    ],
)
def test_each_part_of_memory_changes_the_mask(other: Recollection) -> None:
    assert change(followed(USUAL), followed(other)) > 1e-2


def test_another_frame_gives_another_mask() -> None:
    assert change(followed(USUAL, row=2), followed(USUAL, row=1)) > 1e-2


def test_memories_may_be_read_in_any_order() -> None:
    order = [3, 0, 4, 2, 1]
    shuffled = Recollection(
        maps=tuple(USUAL.maps[i] for i in order),
        ages=tuple(USUAL.ages[i] for i in order),
        pointers=USUAL.pointers[::-1],
        distances=USUAL.distances[::-1],
    )

    assert change(followed(USUAL), followed(shuffled)) < 1e-4


def test_a_pointer_is_as_old_as_the_part_of_the_span_that_it_lies_back() -> None:
    model = tiny_model()
    features = features_of(model, pictures(1))

    def followed_with(distances: tuple[int, ...], pointer_span: int) -> FrameMask:
        memory = replace(USUAL, distances=distances)
        return track(model, features, [Step(0, memory, pointer_span)])[0][0]

    # A pointer span of 5 reaches 4 frames back.
    assert same(followed_with((0, 2, 4), 5), followed_with((0, 1, 2), 3))
    assert not same(followed_with((0, 2, 4), 5), followed_with((0, 2, 4), 3))


def test_sam_2_0_does_not_see_how_old_a_pointer_is() -> None:
    old = tiny_model(TINY_2_0)

    assert same(followed(USUAL, old), followed(replace(USUAL, distances=(9, 9, 9)), old))


def test_an_absent_object_is_remembered_as_such_only_since_sam_2_1() -> None:
    mask, there, gone = torch.zeros(1, 16, 16), torch.tensor([True]), torch.tensor([False])
    marks = {}
    for config in (TINY, TINY_2_0):
        model = tiny_model(config)
        features = features_of(model, pictures(1))
        seen = model.memorize(features, mask, there, prompted=False)
        unseen = model.memorize(features, mask, gone, prompted=False)
        marks[config.name] = unseen.float() - seen.float()

    mark = tiny_model().no_obj_embed_spatial[:, :, None, None].expand_as(marks["tiny"])
    torch.testing.assert_close(marks["tiny"], mark, atol=0.02, rtol=0)  # both are bfloat16
    assert not marks["tiny-2.0"].any()


def test_a_prompted_mask_is_remembered_as_certain_and_a_tracked_one_as_likely() -> None:
    model = tiny_model()
    features = features_of(model, pictures(1))
    mask = torch.linspace(-3, 3, 256).view(1, 16, 16)
    there = torch.tensor([True])

    def remembered(mask: Tensor, prompted: bool) -> Tensor:
        return model.memorize(features, mask, there, prompted)

    assert torch.equal(remembered(mask, True), remembered(4 * mask, True))
    assert not torch.equal(remembered(mask, False), remembered(4 * mask, False))
    assert remembered(mask, False).dtype == torch.bfloat16


# ---- objects that are not there


def test_an_absent_object_has_no_mask_and_the_pointer_for_nothing() -> None:
    model = tiny_model(score_shift=-100)
    features = features_of(model, pictures(3))

    found = [followed(USUAL, model)]
    found += [answer_points(model, features.rows([0]), p, SIZE) for p in (CLICK, CLICKS, BOX)]

    for mask in found:
        assert float(mask.score) < 0
        assert not mask.present
        assert (mask.mask == ABSENT).all()
        assert torch.equal(mask.pointer, model.no_obj_ptr[0])


def test_a_present_object_has_a_mask_and_a_pointer_of_its_own() -> None:
    model = tiny_model(score_shift=100)

    found = followed(USUAL, model)

    assert found.present
    assert (found.mask.abs() < 100).all()
    assert not torch.isclose(found.pointer, model.no_obj_ptr[0]).any()


def test_the_absence_of_one_object_does_not_touch_another() -> None:
    model = tiny_model(score_shift=-2.5)
    features = features_of(model, pictures(3))
    steps = [Step(0, recollection(seed, 1, {1}, [1]), 6) for seed in range(12)]

    found = [mask for mask, _ in track(model, features, steps)]

    present = [bool(mask.present) for mask in found]
    assert any(present)
    assert not all(present)
    assert [bool((mask.mask != ABSENT).all()) for mask in found] == present


# ---- prompts


def first_frame(model: Sam2) -> FrameFeatures:
    return features_of(model, pictures(1))


def test_one_click_takes_the_most_promising_of_three_masks() -> None:
    model = tiny_model(score_shift=100)
    masks, ious = segment_still(
        model, first_frame(model), stack_prompts([CLICK], *SIZE, model), multimask=True
    )

    found = answer_points(model, first_frame(model), CLICK, SIZE)

    assert float(found.iou) == float(ious.max())
    assert torch.equal(found.mask, masks[0, ious[0].argmax()])


@pytest.mark.parametrize("prompt", [CLICKS, BOX], ids=["two clicks", "box"])
def test_a_clear_prompt_takes_the_single_mask(prompt: PointPrompt) -> None:
    model = tiny_model(score_shift=100)
    masks, ious = segment_still(
        model, first_frame(model), stack_prompts([prompt], *SIZE, model), multimask=False
    )

    found = answer_points(model, first_frame(model), prompt, SIZE)

    assert torch.equal(found.mask, masks[0, 0])
    assert torch.equal(found.iou, ious[0, 0])


def test_a_correction_starts_from_the_mask_before_it() -> None:
    model = tiny_model(score_shift=100)
    features = first_frame(model)
    before = answer_points(model, features, CLICK, SIZE).mask

    def answer(previous: Tensor | None) -> FrameMask:
        return answer_points(model, features, CLICKS, SIZE, previous=previous)

    assert change(answer(None), answer(before)) > 1e-2
    assert same(answer(before * 1000), answer((before * 1000).clamp(-32, 32)))


def test_a_prompt_on_a_tracked_frame_reads_memory() -> None:
    model = tiny_model(score_shift=100)
    features = first_frame(model)

    plain = answer_points(model, features, CLICK, SIZE)
    remembering = answer_points(model, features, CLICK, SIZE, memory=Step(0, USUAL, 6))

    assert change(plain, remembering) > 1e-2


def drawn_mask(size: int) -> Tensor:
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[size // 4 : size // 2, size // 4 : size * 3 // 4] = True
    return mask


@pytest.mark.parametrize("size", [TINY.image_size, TINY.image_size * 2])
def test_a_drawn_mask_is_taken_as_it_is(size: int) -> None:
    model = tiny_model()

    found = answer_mask(model, first_frame(model), MaskPrompt(drawn_mask(size)))

    assert torch.equal(found.mask > 0, drawn_mask(TINY.mask_size))
    assert float(found.mask.max()) == pytest.approx(10)
    assert float(found.mask.min()) == pytest.approx(-10)
    assert (float(found.score), float(found.iou)) == (10, 1)


def test_an_empty_mask_says_that_the_object_is_not_there() -> None:
    model = tiny_model(score_shift=100)

    found = answer_mask(model, first_frame(model), MaskPrompt(torch.zeros(48, 64, dtype=bool)))

    assert float(found.score) == -10
    torch.testing.assert_close(found.mask, torch.full_like(found.mask, -10))
    assert torch.equal(found.pointer, model.no_obj_ptr[0])


def test_the_decoder_may_doubt_a_drawn_mask_and_then_its_pointer_is_that_for_nothing() -> None:
    model = tiny_model(score_shift=-100)

    found = answer_mask(model, first_frame(model), MaskPrompt(drawn_mask(64)))

    assert float(found.score) == 10
    assert torch.equal(found.pointer, model.no_obj_ptr[0])


def test_the_memory_of_a_prompt_is_of_its_frame_and_carries_its_pointer() -> None:
    model = tiny_model()
    found = answer_points(model, first_frame(model), BOX, SIZE)

    memory = memorize_prompted(model, first_frame(model), 7, found)

    assert memory.frame == 7
    assert memory.features.shape == (TINY.memory_channels, TINY.grid, TINY.grid)
    assert memory.pointer is found.pointer


# ---- which of the decoder's masks


def decoded(ious: list[float], logits: list[float]) -> Decoded:
    """Four flat masks of one object, and tokens that tell their numbers."""
    return Decoded(
        masks=torch.tensor(logits).view(1, 4, 1, 1).expand(1, 4, 8, 8),
        ious=torch.tensor([ious]),
        tokens=torch.arange(4.0).view(1, 4, 1),
        score=torch.ones(1, 1),
    )


def test_an_ambiguous_prompt_never_takes_mask_zero_and_of_equals_the_first() -> None:
    mask, iou, token = choose(TINY, decoded([0.9, 0.2, 0.7, 0.7], [1, 2, 3, 4]), ambiguous=True)

    assert (float(mask[0, 0, 0]), float(token)) == (3, 2)
    assert float(iou) == pytest.approx(0.7)


def test_a_clear_prompt_takes_mask_zero_when_that_is_firm() -> None:
    mask, iou, token = choose(TINY, decoded([0.1, 0.2, 0.7, 0.6], [1, 2, 3, 4]), ambiguous=False)

    assert (float(mask[0, 0, 0]), float(token)) == (1, 0)
    assert float(iou) == pytest.approx(0.1)


def test_a_mask_zero_that_hangs_on_its_threshold_gives_way_but_keeps_its_token() -> None:
    mask, iou, token = choose(TINY, decoded([0.1, 0.2, 0.7, 0.6], [0.01, 2, 3, 4]), ambiguous=False)

    assert (float(mask[0, 0, 0]), float(token)) == (3, 0)
    assert float(iou) == pytest.approx(0.7)


def test_a_model_may_trust_mask_zero_always() -> None:
    trusting = replace(TINY, stability_threshold=0)

    mask, _, _ = choose(trusting, decoded([0.1, 0.2, 0.7, 0.6], [0.01, 2, 3, 4]), ambiguous=False)

    assert float(mask[0, 0, 0]) == pytest.approx(0.01)


def test_stability_is_the_share_of_a_mask_that_survives_a_stricter_threshold() -> None:
    masks = torch.full((3, 10, 10), -1.0)
    masks[0, 0] = 1.0  # firm
    masks[1, 0] = 0.0  # all of it doubtful
    masks[1, 1, :5] = 1.0

    torch.testing.assert_close(stability(masks, offset=0.05), torch.tensor([1.0, 5 / 15, 1.0]))


@pytest.mark.parametrize("ambiguous", [True, False])
def test_a_model_without_readings_answers_all_by_mask_zero(ambiguous: bool) -> None:
    plain = replace(TINY, readings=False)

    mask, iou, token = choose(plain, decoded([0.1, 0.2, 0.7, 0.6], [0.01, 2, 3, 4]), ambiguous)

    assert (float(mask[0, 0, 0]), float(token)) == (pytest.approx(0.01), 0)
    assert float(iou) == pytest.approx(0.1)
