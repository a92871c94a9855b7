"""Faster ways to compute the same masks: how far they are from the published figures."""

import pytest
import torch
from torch import Tensor

from sam2.checkpoint import load_model
from sam2.config import ModelConfig, Precision
from sam2.memory import FrameMemory, MemoryBank
from sam2.model import Sam2
from sam2.precision import fast_at_bfloat16
from sam2.prompts import PointPrompt
from sam2.tracking import Step, answer_points, memorize_prompted, track
from tests.sam2.tiny import SIZE, TINY, TINY_2_0, features_of, pictures, tiny_model

CLICK = PointPrompt(points=((20, 20),), labels=(1,))

pytestmark = pytest.mark.usefixtures("no_gradients")


def prepared(precision: Precision, config: ModelConfig = TINY) -> Sam2:
    return tiny_model(config, score_shift=4.0, precision=precision)


def tracked(model: Sam2, frames: int = 6) -> list[Tensor]:
    """Logits of a clicked object on every frame of the clip."""
    features = features_of(model, pictures(frames))
    found = answer_points(model, features.rows([0]), CLICK, (SIZE, SIZE))
    memory = memorize_prompted(model, features.rows([0]), 0, found)
    bank, masks = MemoryBank().remember_prompted(memory), [found.mask]
    for frame in range(1, frames):
        step = Step(frame, bank.recall(frame, model.config.memory_span, frames), frames)
        ((found, remembered),) = track(model, features, [step])
        bank = bank.remember(FrameMemory(frame, remembered, found.pointer))
        masks.append(found.mask)
    return masks


def overlap(one: Tensor, other: Tensor) -> float:
    one, other = one > 0, other > 0
    return float((one & other).sum() / (one | other).sum())


def test_exact_is_the_model_as_it_was() -> None:
    plain, exact = tracked(tiny_model(score_shift=4.0)), tracked(prepared("exact"))

    assert all(torch.equal(a, b) for a, b in zip(plain, exact, strict=True))


@pytest.mark.parametrize("config", [TINY, TINY_2_0], ids=lambda config: config.name)
def test_float32_is_exact_but_for_rounding(config: ModelConfig) -> None:
    exact, fast = (tracked(prepared(p, config)) for p in ("exact", "float32"))

    for a, b in zip(exact, fast, strict=True):
        # Memories are rounded to bfloat16: a last bit of float32 may become a step of those.
        torch.testing.assert_close(a, b, atol=0.05, rtol=0)
    torch.testing.assert_close(exact[0], fast[0], atol=1e-4, rtol=0)


def test_bfloat16_draws_nearly_the_same_masks() -> None:
    exact, rounded = tracked(prepared("exact")), tracked(prepared("bfloat16"))

    assert all(mask.dtype == torch.float32 for mask in rounded)
    overlaps = [overlap(a, b) for a, b in zip(exact, rounded, strict=True)]
    assert sum(overlaps) / len(overlaps) > 0.95
    assert not torch.equal(exact[0], rounded[0])


def test_the_float32_blocks_go_through_the_map_in_bands_and_the_others_at_once() -> None:
    for precision in ("exact", "float32", "bfloat16"):
        blocks = prepared(precision).image_encoder.trunk.blocks
        kept = sum(TINY.trunk.blocks[: TINY.float32_stages])
        banded = {"exact": 0, "float32": len(blocks), "bfloat16": kept}[precision]
        assert [block.band > 0 for block in blocks] == [n < banded for n in range(len(blocks))]


def test_scores_and_norms_stay_float32_in_a_model_of_bfloat16() -> None:
    model = prepared("bfloat16")

    assert model.memory_attention.layers[0].linear1.weight.dtype == torch.bfloat16
    for name, weight in model.named_parameters():
        if "norm" in name or "head" in name or ("embed" in name and "patch_embed" not in name):
            assert weight.dtype == torch.float32, name


def test_the_first_two_stages_of_the_trunk_stay_float32() -> None:
    trunk = prepared("bfloat16").image_encoder.trunk

    kept = sum(TINY.trunk.blocks[:2])
    kinds = [block.attn.qkv.weight.dtype for block in trunk.blocks]
    assert kinds == [torch.float32] * kept + [torch.bfloat16] * (len(kinds) - kept)
    assert trunk.patch_embed.proj.weight.dtype == torch.float32


def test_the_trunk_of_nano_stays_float32_in_bfloat16() -> None:
    model = load_model("nano", precision="bfloat16")

    assert all(w.dtype == torch.float32 for w in model.image_encoder.parameters())
    assert model.memory_attention.layers[0].linear1.weight.dtype == torch.bfloat16


def test_auto_is_what_the_device_is_fast_at() -> None:
    weight = load_model("nano", precision="auto").memory_attention.layers[0].linear1.weight

    fast = fast_at_bfloat16(torch.device("cpu"))
    assert weight.dtype == (torch.bfloat16 if fast else torch.float32)
