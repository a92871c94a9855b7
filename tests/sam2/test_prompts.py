"""Prompts on their way into the model: places, labels, order, and what they become."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam2.modeling.sam2_base import SAM2Base
from sam2.prompt_encoder import BOTTOM_RIGHT, NOT_A_POINT, TOP_LEFT, FourierCode
from sam2.prompts import MaskPrompt, PointPrompt
from tests.sam2.stills import stack_prompts
from tests.sam2.tiny import TINY, tiny_model

CPU = torch.device("cpu")
PLACE = st.tuples(st.floats(0, 4000), st.floats(0, 4000))
CLICKS = st.lists(st.tuples(PLACE, st.sampled_from([0, 1])), max_size=4)


def point_prompt(clicks: list[tuple[tuple[float, float], int]]) -> PointPrompt:
    return PointPrompt(tuple(place for place, _ in clicks), tuple(label for _, label in clicks))


@given(CLICKS, st.integers(1, 4000), st.integers(1, 4000))
def test_places_are_scaled_to_the_model_and_one_padding_point_ends_them(
    clicks: list[tuple[tuple[float, float], int]], height: int, width: int
) -> None:
    places, labels = point_prompt(clicks).to_model(height, width, 1024, CPU)

    assert places.shape == (1, len(clicks) + 1, 2)
    assert labels[0].tolist() == [*(label for _, label in clicks), NOT_A_POINT]
    for ours, ((x, y), _) in zip(places[0].tolist(), clicks, strict=False):
        assert ours == pytest.approx([x / width * 1024, y / height * 1024], rel=1e-5)


def test_the_corners_of_a_box_come_before_the_points() -> None:
    prompt = PointPrompt(points=((5, 6),), labels=(0,), box=(1, 2, 3, 4))

    places, labels = prompt.to_model(64, 64, 64, CPU)

    assert places[0].tolist() == [[1, 2], [3, 4], [5, 6], [0, 0]]
    assert labels[0].tolist() == [TOP_LEFT, BOTTOM_RIGHT, 0, NOT_A_POINT]


def test_a_box_counts_as_two_points() -> None:
    assert PointPrompt().count == 0
    assert PointPrompt(points=((1, 1),), labels=(1,)).count == 1
    assert PointPrompt(box=(0, 0, 1, 1)).count == 2
    assert PointPrompt(((1, 1),), (0,), (0, 0, 1, 1)).count == 3


@given(CLICKS, CLICKS)
def test_an_extended_prompt_holds_the_points_of_both_and_the_first_box(
    first: list[tuple[tuple[float, float], int]], second: list[tuple[tuple[float, float], int]]
) -> None:
    box = (1.0, 2.0, 3.0, 4.0)
    start = PointPrompt(point_prompt(first).points, point_prompt(first).labels, box)

    both = start.extended(point_prompt(second))

    assert both == PointPrompt(
        point_prompt(first + second).points, point_prompt(first + second).labels, box
    )


def test_prompts_with_equally_many_points_make_one_batch() -> None:
    prompts = [PointPrompt(((x, 1),), (1,)) for x in range(3)]

    places, labels = stack_prompts(prompts, 64, 64, tiny_model())

    assert places[:, 0].tolist() == [[0, 1], [1, 1], [2, 1]]
    assert labels.tolist() == [[1, NOT_A_POINT]] * 3


# ---- masks


def test_a_mask_of_the_right_size_is_left_alone() -> None:
    mask = torch.rand(64, 64) > 0.5

    assert torch.equal(MaskPrompt(mask).to_model(64, CPU), mask[None, None].float())


@pytest.mark.parametrize("size", [(48, 80), (128, 128), (300, 17)])
@pytest.mark.parametrize("full", [False, True])
def test_a_full_or_empty_mask_stays_so_at_any_size(size: tuple[int, int], full: bool) -> None:
    mask = MaskPrompt(torch.full(size, full)).to_model(64, CPU)

    assert mask.shape == (1, 1, 64, 64)
    assert torch.equal(mask, torch.full_like(mask, full))


def test_a_scaled_mask_is_of_zeros_and_ones() -> None:
    mask = MaskPrompt(torch.ones(100, 130).tril().bool()).to_model(64, CPU)

    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert float(mask.mean()) == pytest.approx(100 / 130 / 2, abs=0.01)


# ---- tokens


def tokens_of(*labels: int, place: tuple[float, float] = (20, 30)) -> torch.Tensor:
    encoder = tiny_model().sam_prompt_encoder
    with torch.inference_mode():
        return encoder.encode_points(torch.tensor([[place] * len(labels)]), torch.tensor([labels]))


def test_a_label_adds_its_meaning_to_the_place() -> None:
    embeddings = [e.weight[0] for e in tiny_model().sam_prompt_encoder.point_embeddings]

    tokens = tokens_of(0, 1, 2, 3)[0]

    for label in range(4):
        expected = embeddings[label] - embeddings[0]
        torch.testing.assert_close(tokens[label] - tokens[0], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("places", [torch.int64, torch.float64])
@pytest.mark.parametrize("marks", [torch.int32, torch.float32, torch.float64])
def test_points_may_be_numbers_of_any_type(places: torch.dtype, marks: torch.dtype) -> None:
    encoder = tiny_model().sam_prompt_encoder
    points, labels = torch.tensor([[[20, 30], [0, 0]]]), torch.tensor([[1, NOT_A_POINT]])

    with torch.inference_mode():
        expected = encoder.encode_points(points.float(), labels)
        tokens = encoder.encode_points(points.to(places), labels.to(marks))

    assert torch.equal(tokens, expected)


def test_the_published_call_takes_boxes_in_double_precision_beside_points() -> None:
    encoder = SAM2Base(TINY).sam_prompt_encoder
    points, labels = torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1.0]])
    boxes = torch.tensor([[1.0, 2.0, 3.0, 4.0]])

    with torch.inference_mode():
        expected, _ = encoder((points, labels), boxes)
        tokens, _ = encoder((points.double(), labels), boxes.double())

    assert tokens.dtype == torch.float32
    assert torch.equal(tokens, expected)


def test_a_padding_point_has_no_place() -> None:
    here, there = tokens_of(NOT_A_POINT), tokens_of(NOT_A_POINT, place=(1, 2))

    assert torch.equal(here, there)
    assert torch.equal(here[0], tiny_model().sam_prompt_encoder.not_a_point_embed.weight)


def test_a_point_in_the_middle_of_a_cell_has_the_code_of_that_cell() -> None:
    encoder = tiny_model().sam_prompt_encoder
    cell = 16
    with torch.inference_mode():
        of_cells = encoder.image_positions()[0]  # (C, grid, grid)
        # Half a pixel is added to points, so that whole numbers are middles of pixels.
        token = tokens_of(1, place=(2 * cell + cell / 2 - 0.5, cell + cell / 2 - 0.5))[0, 0]

    code = token - encoder.point_embeddings[1].weight[0]
    torch.testing.assert_close(code, of_cells[:, 1, 2], atol=1e-5, rtol=0)


def test_opposite_places_have_opposite_sines_and_equal_cosines() -> None:
    code = FourierCode(TINY.channels)

    sines, cosines = code(torch.tensor([[0.1, 0.8], [0.9, 0.2]])).chunk(2, dim=-1)

    torch.testing.assert_close(sines[0], -sines[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(cosines[0], cosines[1], atol=1e-5, rtol=0)


def test_without_a_mask_the_dense_prompt_is_the_same_everywhere() -> None:
    dense = tiny_model().sam_prompt_encoder.no_mask(3)

    assert dense.shape == (3, TINY.channels, TINY.grid, TINY.grid)
    assert torch.equal(dense, dense[:1, :, :1, :1].expand_as(dense))
