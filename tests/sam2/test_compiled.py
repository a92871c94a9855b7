"""Compiled parts: the same model, and nothing is compiled once everything has been met."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from sam2.attention import attend_narrow
from sam2.compiled import compile_parts
from sam2.config import ModelConfig, Precision
from sam2.engine import Engine
from sam2.memory_attention import MemoryAttentionLayer
from sam2.model import Sam2
from sam2.prompts import PointPrompt, Prompt
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.task import Direction, TrackTask, VideoTask
from sam2.walk import FrameResult
from tests.sam2.published import published_tiny
from tests.sam2.tiny import TINY, FakeClip, pictures, tiny_model

SIZE = (48, 80)
CLICK = PointPrompt(points=((20, 20),), labels=(1,))
CLICKS = PointPrompt(points=((20, 20), (70, 30), (5, 5)), labels=(1, 0, 0))
BOX = PointPrompt(box=(10, 10, 40, 30))


@pytest.fixture(autouse=True)
def where_batches_pay(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is done on a GPU, done here."""
    for module in ("devices", "tracking", "engine"):
        monkeypatch.setattr(f"sam2.{module}.batches_pay", lambda device: True)
    yield
    torch._dynamo.reset()


def compiled_model(precision: Precision = "exact", config: ModelConfig = TINY) -> Sam2:
    """As a GPU has it, but for the kernels."""
    model = deepcopy(tiny_model(config, precision=precision))
    for module in model.modules():
        if isinstance(module, MemoryAttentionLayer) and precision == "bfloat16":
            module.cross_attn_image.attend = attend_narrow
    compile_parts(model, backend="eager")
    return model


def video(
    frames: int, *prompts: dict[int, Prompt], direction: Direction = "forward", seed: int = 0
) -> VideoTask:
    tasks = [TrackTask(key, prompt, direction) for key, prompt in enumerate(prompts)]
    return VideoTask(FakeClip(pictures(frames, seed)), SIZE, tasks, (0, frames))


def found(model: Sam2, videos: list[VideoTask], max_batch: int = 4) -> dict[object, torch.Tensor]:
    engine, masks = Engine(model, max_batch), {}
    for one in videos:
        engine.add(one)
    while engine.busy:
        for event in engine.step():
            if isinstance(event, FrameResult):
                number = videos.index(event.video)
                masks |= {(number, event.frame, k): m.mask for k, m in event.found.items()}
            else:
                assert event.error is None
    return masks


# With bfloat16 there is one mask for every answer: of three readings two may promise so nearly the
# same that rounding alone, in plain code as in compiled, decides which it is.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "config", "least"),
    [("exact", TINY, 0.999), ("bfloat16", replace(TINY, readings=False), 0.99)],
    ids=["exact", "bfloat16"],
)
def test_compiled_parts_find_what_plain_ones_find(
    precision: Precision, config: ModelConfig, least: float
) -> None:
    videos = [video(5, {0: CLICK}, {2: BOX}), video(3, {1: CLICKS}, direction="both", seed=1)]

    compiled = found(compiled_model(precision, config), videos)

    plain = found(tiny_model(config, precision=precision), videos)
    assert compiled.keys() == plain.keys()
    alike = [((compiled[key] > 0) == (mask > 0)).float().mean() for key, mask in plain.items()]
    assert torch.stack(alike).mean() >= least


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["exact", "bfloat16"])
def test_once_warm_nothing_is_compiled_whatever_comes(precision: Precision) -> None:
    model = compiled_model(precision)
    for frames in (1, 2, 4):
        with torch.inference_mode():
            model.look(model.encode(torch.zeros(frames, 3, TINY.image_size, TINY.image_size)))
    for objects in (1, 2):
        found(model, [video(3, *[{0: CLICK}] * objects)])

    videos = [
        video(20, {0: CLICK}, {3: BOX, 9: CLICKS}, {19: CLICK}, direction="both"),
        video(12, {11: CLICKS}, direction="reverse", seed=1),
        video(9, {0: CLICK, 2: BOX, 4: CLICK, 6: CLICKS, 8: BOX}, seed=2),
    ]
    with torch.compiler.set_stance("fail_on_recompile"):
        masks = found(model, videos, max_batch=2)

    assert len(masks) == 3 * 20 + 12 + 9


def test_a_new_size_of_batch_is_compiled() -> None:
    model = compiled_model()
    found(model, [video(3, {0: CLICK})])

    with (
        torch.compiler.set_stance("fail_on_recompile"),
        pytest.raises(RuntimeError, match="recompile"),
    ):
        found(model, [video(3, {0: CLICK}, {0: BOX})])


@pytest.mark.slow
def test_a_model_meets_as_many_sizes_in_another_thread_than_its_own() -> None:
    look = compiled_model().memory_attention.look

    def met(frames: int) -> int:
        image = torch.zeros(frames, TINY.grid**2, TINY.channels)
        with torch.inference_mode():
            return len(look(image, image[:1]))

    with ThreadPoolExecutor(1) as other:
        assert list(other.map(met, range(1, 13))) == [*range(1, 13)]


def test_published_callers_name_their_arguments() -> None:
    model = deepcopy(published_tiny())
    compile_parts(model, backend="eager")
    box = np.array([5, 5, 20, 20])
    answers = []

    for one in (model, published_tiny()):
        predictor = SAM2ImagePredictor(one)
        predictor.set_image(np.zeros((40, 40, 3), np.uint8))
        answers.append(predictor.predict(box=box))

    for compiled, plain in zip(*answers, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=1e-4)
