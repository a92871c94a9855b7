"""What a training leaves: its settings, its curves as lines and as a picture, and the weights."""

import io
import json
from dataclasses import dataclass
from hashlib import sha256

import torch
from safetensors.torch import save

from pipeline import storage
from pipeline.config import ConfigError
from pipeline.training.config import TrainConfig
from pipeline.training.curves import plot_curves
from pipeline.training.fit import Fit
from pipeline.weights import open_model
from sam2.config import model_config
from sam2.model import Sam2
from sam2.training.start import set_first_weights

RECORD, CURVES, PICTURE = "train.json", "curves.jsonl", "curves.png"


def starting_model(config: TrainConfig) -> Sam2:
    """The model as training finds it: from its checkpoint, or with the weights of a beginner.

    Raises CheckpointError for weights that cannot be used.
    """
    if config.checkpoint:
        model, _ = open_model(config.model, config.checkpoint)
    else:
        torch.manual_seed(config.seed)
        model = Sam2(model_config(config.model))
        set_first_weights(model)
    if config.trained == "decoder-and-memory":
        model.image_encoder.requires_grad_(False)
    return model.train()


@dataclass(frozen=True, slots=True)
class TrainRecord:
    """The settings of a training, and whether it has come to its end."""

    settings: str  # as JSON
    finished: bool = False

    @classmethod
    def open(cls, config: TrainConfig, out: str) -> "TrainRecord":
        """The record under `out`, or a new one; raises ConfigError if it is of other settings."""
        settings = config.model_dump_json(exclude={"workers"})
        fs, folder = storage.filesystem(out)
        path = storage.join(folder, RECORD)
        if not storage.exists(fs, path):
            storage.preflight(out)
            new = cls(settings)
            storage.put(fs, path, new.to_json())
            return new
        old = json.loads(storage.read_bytes(fs, path))
        theirs, ours = old["config"], json.loads(settings)
        if changed := sorted(key for key in ours if theirs.get(key) != ours[key]):
            raise ConfigError(
                f"{out} holds a training of other settings ({', '.join(changed)} differ): "
                "give another --out, or the settings in its train.json"
            )
        return cls(settings, old["finished"])

    def end(self, out: str) -> None:
        """Says that the training is over."""
        fs, folder = storage.filesystem(out)
        storage.put(fs, storage.join(folder, RECORD), TrainRecord(self.settings, True).to_json())

    def to_json(self) -> bytes:
        """The record as it is stored."""
        content = {
            "finished": self.finished,
            "digest": sha256(self.settings.encode()).hexdigest()[:12],
            "torch": torch.__version__,
            "config": json.loads(self.settings),
        }
        return json.dumps(content, indent=2).encode()


def publish(fit: Fit, out: str) -> None:
    """Writes the averaged weights in half precision, and the curves, under `out`."""
    fs, folder = storage.filesystem(out)
    weights = {
        name: value.detach().half().cpu().contiguous()
        for name, value in fit.trainer.average.state_dict().items()
    }
    lines = "".join(json.dumps(note) + "\n" for note in fit.curves)
    picture = io.BytesIO()
    plot_curves(fit.curves).save(picture, "PNG")
    name = f"{fit.config.model}.safetensors"
    storage.put(fs, storage.join(folder, name), save(weights))
    storage.put(fs, storage.join(folder, CURVES), lines.encode())
    storage.put(fs, storage.join(folder, PICTURE), picture.getvalue())
