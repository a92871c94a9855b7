"""First weights: a click is looked for where it is, and a cell of the picture where it was."""

import pytest
import torch

from sam2.config import model_config
from sam2.model import Sam2
from sam2.position import rotate
from sam2.prompt_encoder import POSITIVE
from sam2.training.losses import FEATURE_SCALE, scale_loss
from sam2.training.start import set_first_weights


@pytest.fixture(scope="module")
def beginner() -> Sam2:
    torch.manual_seed(0)
    model = Sam2(model_config("nano"))
    set_first_weights(model)
    return model


@torch.no_grad()
def test_a_clicks_token_looks_at_the_cell_of_the_click(beginner: Sam2) -> None:
    encoder, grid = beginner.sam_prompt_encoder, beginner.config.grid
    cells = torch.tensor([[3, 4], [8, 8], [14, 1]])  # x, y
    clicks = (cells + 0.5) * 16
    tokens = encoder.encode_points(clicks[None], torch.full((1, 3), POSITIVE))[0]
    places = encoder.image_positions().flatten(2)[0].T
    look = beginner.sam_mask_decoder.transformer.layers[0].cross_attn_token_to_image

    seen = look.q_proj(tokens) @ look.k_proj(places).T  # (3, h*w)

    assert seen.argmax(dim=1).tolist() == (cells[:, 1] * grid + cells[:, 0]).tolist()


@torch.no_grad()
def test_a_cell_begins_by_reading_its_own_place_in_memory(beginner: Sam2) -> None:
    attention = beginner.memory_attention.layers[0].cross_attn_image
    turns = beginner.memory_attention.rotary.turns
    nothing = torch.zeros(1, beginner.config.grid**2, beginner.config.channels)
    memory = nothing[..., : beginner.config.memory_channels]

    q, k = rotate(attention.q_proj(nothing), turns), rotate(attention.k_proj(memory), turns)

    assert (q @ k.mT)[0].argmax(dim=1).tolist() == list(range(beginner.config.grid**2))


@torch.no_grad()
def test_features_begin_near_their_scale(beginner: Sam2) -> None:
    image = beginner.encode(torch.randn(2, 3, 256, 256)).image

    assert FEATURE_SCALE / 3 < float(image.square().mean().sqrt()) < 3 * FEATURE_SCALE
    assert float(scale_loss(image * 100)) > float(scale_loss(image)) + 1
    assert float(scale_loss(torch.full((1, 4, 4), FEATURE_SCALE))) == pytest.approx(0, abs=1e-6)
