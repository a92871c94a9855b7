"""Position codes, number by number against the formulas they come from."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam2.memory_attention import Rotary
from sam2.position import rotary_turns, rotate, sine_distance, sine_map

CHANNELS = 32
CELL = st.tuples(st.integers(0, 7), st.integers(0, 7))  # row, column
CHANNEL = st.integers(0, CHANNELS - 1)


def wave(i: int, place: float, width: int) -> float:
    """Feature i of `width`: even ones sines, odd ones cosines, each frequency twice."""
    angle = place * 10_000 ** -(2 * (i // 2) / width)
    return math.cos(angle) if i % 2 else math.sin(angle)


@given(CELL, CHANNEL)
def test_a_map_is_coded_by_its_rows_and_then_by_its_columns(
    cell: tuple[int, int], channel: int
) -> None:
    row, column = cell
    half = CHANNELS // 2
    place = row if channel < half else column

    code = sine_map(CHANNELS, 8)[channel, row, column]

    expected = wave(channel % half, (place + 1) / (8 + 1e-6) * 2 * math.pi, half)
    assert float(code) == pytest.approx(expected, abs=1e-5)


@given(st.floats(-1, 40), CHANNEL)
def test_a_distance_is_coded_by_all_sines_and_then_all_cosines(
    distance: float, channel: int
) -> None:
    half = CHANNELS // 2
    angle = distance * 10_000 ** -(2 * (channel % half // 2) / half)

    code = sine_distance(torch.tensor([distance]), CHANNELS)[0, channel]

    expected = math.sin(angle) if channel < half else math.cos(angle)
    assert float(code) == pytest.approx(expected, abs=1e-5)


def test_distances_of_any_shape_are_coded() -> None:
    assert sine_distance(torch.zeros(2, 3), CHANNELS).shape == (2, 3, CHANNELS)


@given(CELL, st.integers(0, CHANNELS // 2 - 1))
def test_the_first_pairs_turn_with_the_column_and_the_others_with_the_row(
    cell: tuple[int, int], pair: int
) -> None:
    row, column = cell
    quarter = CHANNELS // 4
    place = column if pair < quarter else row
    angle = place * 10_000 ** (-4 * (pair % quarter) / CHANNELS)

    turn = rotary_turns(CHANNELS, 8)[row * 8 + column, pair]

    assert turn.tolist() == pytest.approx([math.cos(angle), math.sin(angle)], abs=1e-5)


def turned(x: torch.Tensor, cell: tuple[int, int]) -> torch.Tensor:
    row, column = cell
    return rotate(x, rotary_turns(CHANNELS, 16)[row * 16 + column][None])


@given(CELL, CELL, st.integers(0, 8), st.integers(0, 8), st.integers(0, 99))
def test_attention_sees_how_far_two_cells_are_apart_and_not_where_they_are(
    one: tuple[int, int], other: tuple[int, int], down: int, right: int, seed: int
) -> None:
    q, k = torch.randn(2, 1, 1, CHANNELS, generator=torch.Generator().manual_seed(seed))

    here = (turned(q, one) * turned(k, other)).sum()
    there = (
        turned(q, (one[0] + down, one[1] + right)) * turned(k, (other[0] + down, other[1] + right))
    ).sum()

    assert float(here) == pytest.approx(float(there), abs=1e-3)


@given(CELL)
def test_turning_changes_no_length(cell: tuple[int, int]) -> None:
    x = torch.arange(float(CHANNELS)).view(1, 1, CHANNELS)

    assert float(turned(x, cell).norm()) == pytest.approx(float(x.norm()), rel=1e-5)


def test_turning_keeps_the_kind_of_number() -> None:
    x = torch.ones(1, 64, CHANNELS, dtype=torch.bfloat16)

    assert rotate(x, rotary_turns(CHANNELS, 8)).dtype == torch.bfloat16


def test_turning_compiled_gives_the_same_bits() -> None:
    x, turns = torch.randn(2, 64, CHANNELS), rotary_turns(CHANNELS, 8)

    assert torch.equal(torch.compile(rotate, backend="eager")(x, turns), rotate(x, turns))


def test_each_map_is_turned_as_if_it_lay_over_the_picture_and_pointers_are_not_turned() -> None:
    rotary = Rotary(CHANNELS, grid=4)
    maps, pointers = torch.randn(2, 32, CHANNELS), torch.randn(2, 5, CHANNELS)

    out = rotate(torch.cat((maps, pointers), dim=1), rotary(maps=2, rest=5))

    assert torch.equal(out[:, :16], rotate(maps[:, :16], rotary.turns))
    assert torch.equal(out[:, 16:32], rotate(maps[:, 16:], rotary.turns))
    assert torch.equal(out[:, 32:], pointers)
