"""The settings of a training: what is trained, on which clips, and how."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sam2.training.trainer import Recipe
from sam2.training.walk import Kind


class Part(BaseModel):
    """A part of the settings: strict, closed and unchanging."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Source(Part):
    """Where clips come from: exactly one of the first three."""

    synthetic: Literal["easy", "medium", "hard", "wild"] | None = None
    masklets: str | None = None  # the --out of a run; its videos are read from where they were
    davis: str | None = None  # a folder in the layout of DAVIS: JPEGImages and Annotations
    pictures: str | None = None  # a folder of them, which synthetic clips are painted with
    share: float = Field(default=1.0, gt=0)  # of the clips, beside the other sources

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(kind is not None for kind in (self.synthetic, self.masklets, self.davis)) != 1:
            raise ValueError("give one of synthetic, masklets and davis")
        if self.pictures is not None and self.synthetic is None:
            raise ValueError("pictures: these are paint for synthetic clips; name a tier of those")
        return self


class Stage(Part):
    """Some of the steps, all on clips of one length."""

    steps: int = Field(ge=1)
    frames: int = Field(ge=1)
    size: int | None = Field(default=None, ge=64, multiple_of=32)  # side; None: the model's
    clips: int = Field(ge=1)  # per step and worker
    objects: int = Field(default=3, ge=1)  # of a clip, at most
    prompts: dict[Kind, float] = {"mask": 0.5, "click": 0.25, "box": 0.25}  # of the first frame
    corrected: float = Field(default=0.5, ge=0, le=1)  # chance of each of two corrective clicks
    rate: float = Field(default=1.0, gt=0)  # share of the learning rate
    balanced: bool = False  # an object, its neighbours and the ground count alike
    pixels: float = Field(default=0.0, ge=0)  # how much the lesson without prompts counts beside
    free_running: bool = False  # memories go by the model's own score of what shows, not the truth
    sources: tuple[Source, ...] = ()  # of this stage; none: those of the whole training


class Workers(Part):
    """Where the training happens."""

    count: int = Field(default=1, ge=1)
    gpus: float = Field(default=0, ge=0)  # of each
    threads: int = Field(default=1, ge=1)  # of each one's CPU work


class TrainConfig(Part):
    """What a training does."""

    model: str = "nano"
    checkpoint: str | None = None  # weights to start from; None: from nothing
    trained: Literal["all", "decoder-and-memory"] = "all"
    seed: int = 0
    stages: tuple[Stage, ...] = Field(min_length=1)
    sources: tuple[Source, ...] = ()
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=100, ge=1)  # steps
    weight_decay: float = Field(default=0.02, ge=0)
    clip: float = Field(default=5.0, gt=0)  # largest norm of a gradient
    average: float = Field(default=0.997, ge=0, lt=1)  # of the weights that are kept
    scale_weight: float = Field(default=0.0, ge=0)  # holds features at unit scale; 0: does not
    bfloat16: bool = True  # mixed precision, where the device is fast at it
    validation_clips: int = Field(default=8, ge=1)
    validate_every: int = Field(default=500, ge=1)  # steps
    save_every: int = Field(default=200, ge=1)  # steps
    workers: Workers = Workers()

    @model_validator(mode="after")
    def _has_clips(self) -> Self:
        if not self.sources and not all(stage.sources for stage in self.stages):
            raise ValueError("sources: say where clips come from, here or in every stage")
        return self

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def recipe(self) -> Recipe:
        """How weights follow gradients."""
        return Recipe(
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            steps=self.steps,
            weight_decay=self.weight_decay,
            clip=self.clip,
            average=self.average,
            scale_weight=self.scale_weight,
            bfloat16=self.bfloat16,
        )

    def stage_at(self, step: int) -> Stage:
        """The stage in which a step lies; the last one beyond the end."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]
