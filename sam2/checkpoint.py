"""Checkpoints: published `.pt` files as they are, and safetensors; strict, and running no code."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from sam2.config import MODELS, ModelConfig, Precision, model_config
from sam2.model import Sam2
from sam2.precision import set_precision

# Models that need no download. How they were trained stands beside their weights.
SHIPPED = {"nano": Path(__file__).parent / "weights" / "nano.safetensors"}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says why and what to do."""


def load_model(
    name: str,
    checkpoint: Path | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "exact",
) -> Sam2:
    """The model called `name` with the weights of `checkpoint`, ready to run.

    Without a checkpoint `nano` has the weights that ship with it; those of the others are random,
    always the same. Raises CheckpointError.
    """
    config = model_config(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # of the CPU alone: others' chances stay theirs
        model = Sam2(config)
    if path := checkpoint or SHIPPED.get(name):
        load_weights(model, path)
    return set_precision(model.to(device).eval(), precision)


def load_weights(model: Sam2, path: Path) -> None:
    """Fills `model` with the weights in `path`; each must be there, finite and of its shape.

    Raises CheckpointError, which names those that are not.
    """
    weights = read_weights(path)
    own = model.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    misshapen = sorted(
        key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape
    )
    if missing or unknown or misshapen:
        raise CheckpointError(
            f"{path} is not a '{model.config.name}' checkpoint: {len(missing)} weights are "
            f"missing, {len(unknown)} are unknown and {len(misshapen)} have another shape "
            f"(first: {[*missing, *unknown, *misshapen][0]}). {_advice(weights)}"
        )
    if broken := [key for key, value in weights.items() if not value.isfinite().all()]:
        raise CheckpointError(
            f"{path} is damaged: {len(broken)} weights are not finite (first: {broken[0]}). "
            "Copy or download the file again."
        )
    model.load_state_dict(weights, strict=True)


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a `.safetensors` file, or under the key `model` of a published `.pt`.

    Raises CheckpointError for a file that holds none.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return _read_pickled(path)
    except CheckpointError:
        raise
    except Exception as error:  # torch raises whatever a damaged pickle leads it to
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends early"
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({reason}). Expected is a published SAM 2 .pt "
            "file or .safetensors; a file that holds anything but weights is refused."
        ) from error


def checkpoint_sha256(path: Path) -> str:
    """The SHA-256 of the file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_pickled(path: Path) -> Mapping[str, Tensor]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(e.compress_type != zipfile.ZIP_STORED for e in archive.infolist()):
                # torch never compresses; a small file could unfold to fill the memory.
                raise CheckpointError(f"{path} is compressed, which no torch checkpoint is.")
    content = torch.load(path, map_location="cpu", weights_only=True)
    weights = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    ):
        raise CheckpointError(f"{path} holds no state dict, neither at the top nor under 'model'.")
    return weights


def _advice(weights: Mapping[str, Tensor]) -> str:
    shapes = {key: value.shape for key, value in weights.items()}
    for name, config in MODELS.items():
        if shapes == _shapes(config):
            return f"Its weights are those of '{name}': set the model to that."
    return "Set the model to the one in the file's name, or give another checkpoint."


def _shapes(config: ModelConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in Sam2(config).state_dict().items()}
