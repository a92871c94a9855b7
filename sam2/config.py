"""The sizes of SAM 2 as data: `nano` and the eight published models."""

from dataclasses import dataclass, replace
from typing import Literal

# How exactly a model computes: docs/decisions/three-precisions.md.
Precision = Literal["auto", "bfloat16", "float32", "exact"]


class UnknownModelError(ValueError):
    """A model name that is none of ours; the message lists those that are."""


@dataclass(frozen=True, slots=True)
class TrunkConfig:
    """One Hiera trunk (SAM 2 paper, section 4 "Image encoder"; Hiera paper, table 1)."""

    width: int  # channels of the first stage; they double at each of the three later ones
    heads: int  # heads of the first stage; they double likewise
    blocks: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]  # counted from 0 over all stages
    position_grid: int  # side of the learnt background position map

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the four stages, finest first."""
        w = self.width
        return (w, 2 * w, 4 * w, 8 * w)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that tells one SAM 2 model from another."""

    name: str
    trunk: TrunkConfig
    image_size: int = 1024  # pixels; every frame is scaled to this square
    channels: int = 256  # of image features, tokens and object pointers
    memory_channels: int = 64
    memory_layers: int = 4
    feedforward: int = 2048
    memory_span: int = 6  # frames before the current one whose memory is read
    pointer_span: int = 16  # an object pointer is read up to this many frames (less one) away
    absent_memory: bool = True  # SAM 2.1 marks the memory of frames without the object
    pointer_positions: bool = True  # SAM 2.1 tells object pointers how old they are
    # Whether what is ambiguous, a lone click or a frame without a prompt, is answered by the most
    # promising of masks 1 to 3, its possible readings. If not, mask 0 answers everything.
    readings: bool = True
    # A clear prompt is answered by mask 0, unless that mask changes too much when its threshold
    # moves by the offset; stability is 0..1, and a threshold of 0 trusts mask 0 always.
    stability_offset: float = 0.05
    stability_threshold: float = 0.98
    # The trunk's first stages that precision "bfloat16" leaves in float32: their rounding moves
    # outlines most, and a small trunk gains little time by it anyway.
    float32_stages: int = 2

    @property
    def grid(self) -> int:
        """Side of the stride-16 feature grid on which memory lives."""
        return self.image_size // 16

    @property
    def mask_size(self) -> int:
        """Side of the low-resolution mask logits."""
        return self.image_size // 4


_TRUNKS = {
    "tiny": TrunkConfig(96, 1, (1, 2, 7, 2), (8, 4, 14, 7), (5, 7, 9), 7),
    "small": TrunkConfig(96, 1, (1, 2, 11, 2), (8, 4, 14, 7), (7, 10, 13), 7),
    "base-plus": TrunkConfig(112, 2, (2, 3, 16, 3), (8, 4, 14, 7), (12, 16, 20), 14),
    "large": TrunkConfig(144, 2, (2, 6, 36, 4), (8, 4, 16, 8), (23, 33, 43), 7),
}

_NANO = ModelConfig(
    name="nano",
    trunk=TrunkConfig(32, 1, (1, 2, 5, 2), (8, 4, 8, 8), (3, 5, 7), 8),
    image_size=256,
    channels=128,
    memory_channels=32,
    memory_layers=2,
    feedforward=512,
    readings=False,
    float32_stages=4,
)


def _published() -> list[ModelConfig]:
    new = [ModelConfig(f"sam2.1-{size}", trunk) for size, trunk in _TRUNKS.items()]
    old = [
        replace(c, name=c.name.replace("2.1", "2"), absent_memory=False, pointer_positions=False)
        for c in new
    ]
    return [*old, *new]


MODELS: dict[str, ModelConfig] = {c.name: c for c in [_NANO, *_published()]}


def model_config(name: str) -> ModelConfig:
    """The configuration called `name`; raises UnknownModelError."""
    if name not in MODELS:
        raise UnknownModelError(f"There is no model '{name}'. Choose one of: {', '.join(MODELS)}.")
    return MODELS[name]
