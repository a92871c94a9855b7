"""Builds models by their published config names, with the published settings; no Hydra."""

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import yaml

from sam2.checkpoint import SHIPPED, CheckpointError, load_weights
from sam2.config import MODELS, ModelConfig
from sam2.model import Sam2
from sam2.modeling.sam2_base import SAM2Base, Settings

if TYPE_CHECKING:
    from sam2.sam2_video_predictor import SAM2VideoPredictor

Model = TypeVar("Model", bound=SAM2Base)
Value = bool | int | float | str | None
Device = str | torch.device

_SIZES = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}

# Config names, which may end in .yaml, and the model each stands for; our own names stand for
# themselves.
CONFIGS: dict[str, str] = {
    **{f"configs/sam2.1/sam2.1_hiera_{c}": f"sam2.1-{size}" for size, c in _SIZES.items()},
    **{f"configs/sam2/sam2_hiera_{c}": f"sam2-{size}" for size, c in _SIZES.items()},
    **{f"sam2_hiera_{c}": f"sam2-{size}" for size, c in _SIZES.items()},
    **{name: name for name in MODELS},
}

HF_MODEL_ID_TO_FILENAMES: dict[str, tuple[str, str]] = {
    f"facebook/{family}-hiera-{size}": (
        f"configs/{family}/{family}_hiera_{letter}.yaml",
        f"{family}_hiera_{size.replace('-', '_')}.pt",
    )
    for family in ("sam2", "sam2.1")
    for size, letter in _SIZES.items()
}

_DECODER = "sam_mask_decoder_extra_args.dynamic_multimask"
# The published models start without these three, ...
_PLAIN = (
    f"++model.{_DECODER}_via_stability=false",
    "++model.binarize_mask_from_pts_for_mem_enc=false",
    "++model.fill_hole_area=0",
)
# ... and `apply_postprocessing` adds them. The last word on a name counts: these win over the
# user's.
_STABLE = (
    f"++model.{_DECODER}_via_stability=true",
    f"++model.{_DECODER}_stability_delta=0.05",
    f"++model.{_DECODER}_stability_thresh=0.98",
)
_STABLE_VIDEO = (
    *_STABLE,
    "++model.binarize_mask_from_pts_for_mem_enc=true",
    "++model.fill_hole_area=8",
)

# Names that may be overridden, with the kind of value each takes ...
_OPEN: dict[str, type] = {
    "image_size": int,
    "num_maskmem": int,
    "max_obj_ptrs_in_encoder": int,
    "compile_image_encoder": bool,
    f"{_DECODER}_via_stability": bool,
    f"{_DECODER}_stability_delta": float,
    f"{_DECODER}_stability_thresh": float,
    **{f.name: type(f.default) for f in fields(Settings)},
}
# ... and names whose one value is built in.
_BUILT_IN: dict[str, Value] = {
    "multimask_output_for_tracking": True,
    "multimask_max_pt_num": 1,
    "pred_obj_scores": True,
    "memory_temporal_stride_for_eval": 1,
    "clear_non_cond_mem_around_input": False,
}


class MissingConfigException(OSError):
    """A config name that is none of ours; the message lists those that are.

    It is called as Hydra's is.
    """


class OverrideError(ValueError):
    """An override that cannot be applied; the message says why."""


def build_sam2(
    config_file: str | Path,
    ckpt_path: str | Path | None = None,
    device: Device = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    **kwargs: Any,
) -> SAM2Base:
    """The model that a published config name stands for, with the weights in `ckpt_path`.

    Without a checkpoint `nano` has the weights that ship with it; those of the others are random.
    Unknown keywords have no effect.
    """
    overrides = [*hydra_overrides_extra, *(_STABLE if apply_postprocessing else ())]
    return _build(SAM2Base, config_file, ckpt_path, device, mode, overrides)


def build_sam2_video_predictor(
    config_file: str | Path,
    ckpt_path: str | Path | None = None,
    device: Device = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **kwargs: Any,
) -> "SAM2VideoPredictor":
    """The same with the methods of a video session; `vos_optimized` compiles its parts."""
    # Late: tools replace sam2.utils.misc.load_video_frames before the predictor takes it.
    from sam2 import sam2_video_predictor as video

    kind = video.SAM2VideoPredictorVOS if vos_optimized else video.SAM2VideoPredictor
    overrides = [*hydra_overrides_extra, *(_STABLE_VIDEO if apply_postprocessing else ())]
    return _build(kind, config_file, ckpt_path, device, mode, overrides)


def build_sam2_hf(model_id: str, **kwargs: Any) -> SAM2Base:
    """The model of a Hugging Face id, its weights downloaded."""
    config_name, path = _hf_download(model_id)
    return build_sam2(config_file=config_name, ckpt_path=path, **kwargs)


def build_sam2_video_predictor_hf(model_id: str, **kwargs: Any) -> "SAM2VideoPredictor":
    """The video predictor of a Hugging Face id, its weights downloaded."""
    config_name, path = _hf_download(model_id)
    return build_sam2_video_predictor(config_file=config_name, ckpt_path=path, **kwargs)


def _hf_download(model_id: str) -> tuple[str, str]:
    """The config name of a Hugging Face id, and where its weights now lie."""
    if model_id not in HF_MODEL_ID_TO_FILENAMES:
        known = ", ".join(HF_MODEL_ID_TO_FILENAMES)
        raise KeyError(f"There is no model id '{model_id}'. Choose one of: {known}.")
    config_name, filename = HF_MODEL_ID_TO_FILENAMES[model_id]
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ImportError(
            f"Downloading '{model_id}' needs huggingface_hub (pip install huggingface_hub). Or "
            f"give the file {filename} as ckpt_path to build_sam2('{config_name}', ...)."
        ) from error
    return config_name, hub.hf_hub_download(repo_id=model_id, filename=filename)


def _load_checkpoint(model: Sam2, ckpt_path: str | Path | None) -> None:
    """Fills `model` with the weights in `ckpt_path`, if there is one; strictly."""
    if ckpt_path is None:
        return
    if not Path(ckpt_path).is_file():
        raise FileNotFoundError(f"There is no checkpoint {ckpt_path}.")
    try:
        load_weights(model, Path(ckpt_path))
    except CheckpointError as error:
        raise RuntimeError(str(error)) from error


def _build(
    kind: type[Model],
    config_file: str | Path,
    ckpt_path: str | Path | None,
    device: Device,
    mode: str,
    overrides: Sequence[str],
) -> Model:
    values = _parse([*_PLAIN, *overrides], kind)
    model = kind(_configured(_find_config(str(config_file)), values), _settings(values))
    _load_checkpoint(model, ckpt_path or SHIPPED.get(model.config.name))
    model = _to_device(model, torch.device(device))
    if values.get("compile_image_encoder"):
        model.image_encoder.compile()
    return model.eval() if mode == "eval" else model


def _to_device(model: Model, device: torch.device) -> Model:
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("There is no CUDA device here: build the model with device='cpu'.")
    return model.to(device)


def _find_config(name: str) -> ModelConfig:
    if model := CONFIGS.get(name.removesuffix(".yaml")):
        return MODELS[model]
    if name.startswith(("/", "file:")):
        raise MissingConfigException(
            f"'{name}' is a config file of your own, and those are not read here. Choose the "
            "published config it was made from and put what differs into hydra_overrides_extra; "
            "or build SAM2Base(ModelConfig(...)) and load your weights with _load_checkpoint."
        )
    known = ", ".join(f"{c}.yaml" if c not in MODELS else c for c in CONFIGS)
    raise MissingConfigException(f"There is no config '{name}'. Choose one of: {known}.")


# ---- overrides


def _parse(overrides: Sequence[str], kind: type[SAM2Base]) -> dict[str, Value]:
    """Values by name from `++model.NAME=VALUE`; of several for one name the last counts."""
    values = {}
    for override in overrides:
        match = re.fullmatch(r"\+{0,2}model\.([\w.]+)=(.*)", override)
        if not match:
            raise OverrideError(f"The override '{override}' is not of the form ++model.NAME=VALUE.")
        name, value = match[1], yaml.safe_load(match[2])
        if name in _BUILT_IN or name == "_target_":
            _check_built_in(name, value, kind)
        else:
            values[name] = _typed(name, value)
    return values


def _check_built_in(name: str, value: Value, kind: type[SAM2Base]) -> None:
    if name != "_target_" and value != _BUILT_IN[name]:
        raise OverrideError(
            f"model.{name}={value} is not supported: here it is always {_BUILT_IN[name]}."
        )
    if name == "_target_" and value != f"{kind.__module__}.{kind.__qualname__}":
        raise OverrideError(
            f"model._target_={value} is not supported: models are not built by the name of their "
            "class. Make your class from the built model's config and weights: "
            "MyClass(model.config), then load_state_dict(model.state_dict())."
        )


def _typed(name: str, value: Value) -> Value:
    if name not in _OPEN:
        known = ", ".join(sorted({*_OPEN, *_BUILT_IN, "_target_"}))
        raise OverrideError(f"There is no setting model.{name}. Known are: {known}.")
    kind = _OPEN[name]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise OverrideError(f"model.{name}={value!r}: the value must be of type {kind.__name__}.")
    return value


def _configured(config: ModelConfig, values: Mapping[str, Any]) -> ModelConfig:
    size = values.get("image_size", config.image_size)
    if size < 32 or size % 32:
        raise OverrideError(f"model.image_size={size}: the size must be a multiple of 32.")
    return replace(
        config,
        image_size=size,
        memory_span=values.get("num_maskmem", config.memory_span + 1) - 1,
        pointer_span=values.get("max_obj_ptrs_in_encoder", config.pointer_span),
        stability_offset=values.get(f"{_DECODER}_stability_delta", config.stability_offset),
        stability_threshold=values.get(f"{_DECODER}_stability_thresh", config.stability_threshold)
        if values[f"{_DECODER}_via_stability"]
        else 0.0,
    )


def _settings(values: Mapping[str, Any]) -> Settings:
    return Settings(**{f.name: values[f.name] for f in fields(Settings) if f.name in values})
