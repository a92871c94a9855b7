"""Sessions as files: saved in the middle of a video, and taken up again on another machine.

A file is safetensors: the tensors of masks and memories and, as JSON beside them, what they are.
Reading it runs no code.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from os import PathLike
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sam2.memory import FrameMemory, MemoryBank
from sam2.model import Sam2
from sam2.object_track import PendingAnswer, Track, Walks
from sam2.prompts import MaskPrompt, PointPrompt, Prompt
from sam2.session import Session
from sam2.tracking import FrameMask

_FORMAT = "masklet session 1"
_METADATA = "session"  # under this name the JSON stands


class SessionFileError(ValueError):
    """A file that is of no use to this session, or a session that no file can hold."""


def save_session(session: Session, path: str | PathLike[str]) -> None:
    """Writes what is known of all objects; neither the model, nor the frames, nor the settings."""
    packed = [_pack(*item) for item in session.tracks.items()]
    content = {
        "format": _FORMAT,
        "model": session.model.config.name,
        "model_sha256": model_sha256(session.model),
        "frame_size": session.frame_size,
        "frames": session.length,
        "objects": [entry for entry, _ in packed],
    }
    tensors = {
        f"{index}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for index, (_, named) in enumerate(packed)
        for name, tensor in named.items()
    }
    save_file(tensors, path, {_METADATA: json.dumps(content)})


def load_session(session: Session, path: str | PathLike[str]) -> None:
    """Puts what the file knows into a session with the same model and the same video.

    Raises SessionError where it is of others, or is no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {})[_METADATA])
            _check(session, content, path)
            objects = {
                entry["id"]: _unpack(entry, _Tensors(file.get_tensor, f"{index}", session))
                for index, entry in enumerate(content["objects"])
            }
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise SessionFileError(f"{path} holds no session, or is damaged ({error!r}).") from error
    session.tracks = objects


def model_sha256(model: Sam2) -> str:
    """What tells a model from every other: its configuration and all its weights."""
    digest = hashlib.sha256(json.dumps(asdict(model.config), sort_keys=True).encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {[*weight.shape]}".encode())
        digest.update(weight.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check(session: Session, content: Mapping[str, Any], path: str | PathLike[str]) -> None:
    if content["format"] != _FORMAT:
        raise SessionFileError(
            f"{path} is a {content['format']!r}: this version reads {_FORMAT!r}."
        )
    if content["model_sha256"] != model_sha256(session.model):
        raise SessionFileError(
            f"{path} was saved with another model ('{content['model']}'): memories can only be "
            "read by the weights and settings that made them."
        )
    height, width = content["frame_size"]
    if (height, width) != session.frame_size or content["frames"] != session.length:
        raise SessionFileError(
            f"{path} was saved for another video: {content['frames']} frames of {width} x {height} "
            f"pixels, and this one has {session.length} of {session.frame_size[1]} x "
            f"{session.frame_size[0]}."
        )


# ---- one object as JSON, and the tensors that belong to it


def _pack(object_id: Hashable, known: Track) -> tuple[dict[str, Any], dict[str, Tensor]]:
    entry = {
        "id": _plain(object_id),
        "prompts": {f: asdict(p) for f, p in known.prompts.items() if isinstance(p, PointPrompt)},
        "masks": [f for f, p in known.prompts.items() if isinstance(p, MaskPrompt)],
        "answers": {f: a.conditioning for f, a in known.answers.items()},
        "found": [*known.found],
        "walked": known.walked.spans,
        "prompted": [m.frame for m in known.bank.prompted],
        "tracked": [m.frame for m in known.bank.tracked],
    }
    tensors = {f"masks.{f}": p.mask for f, p in known.prompts.items() if isinstance(p, MaskPrompt)}
    masks = {f"found.{f}": m for f, m in known.found.items()}
    masks |= {f"answers.{f}": a.found for f, a in known.answers.items()}
    for name, mask in masks.items():
        tensors |= {f"{name}.{f.name}": getattr(mask, f.name) for f in fields(FrameMask)}
    for memory in (*known.bank.prompted, *known.bank.tracked):
        tensors[f"bank.{memory.frame}.features"] = memory.features
        tensors[f"bank.{memory.frame}.pointer"] = memory.pointer
    return entry, tensors


def _plain(object_id: Hashable) -> int | str:
    if isinstance(object_id, Integral) and not isinstance(object_id, bool):
        return int(object_id)
    if isinstance(object_id, str):
        return object_id
    raise SessionFileError(
        f"Object {object_id!r} cannot be saved: only numbers and strings can be read back as ids."
    )


@dataclass(frozen=True, slots=True)
class _Tensors:
    """The tensors of one object, each brought to where the session keeps such."""

    get: Callable[[str], Tensor]
    prefix: str
    session: Session

    def stored(self, name: str) -> Tensor:
        return self.get(f"{self.prefix}.{name}").to(self.session.storage_device)

    def near(self, name: str) -> Tensor:
        return self.get(f"{self.prefix}.{name}").to(self.session.model.device)

    def mask(self, name: str) -> FrameMask:
        iou, score, pointer = (self.near(f"{name}.{f}") for f in ("iou", "score", "pointer"))
        return FrameMask(self.stored(f"{name}.mask"), iou, score, pointer)

    def memory(self, frame: int) -> FrameMemory:
        name = f"bank.{frame}"
        return FrameMemory(frame, self.stored(f"{name}.features"), self.near(f"{name}.pointer"))


def _unpack(entry: Mapping[str, Any], tensors: _Tensors) -> Track:
    points = {int(f): _point_prompt(p) for f, p in entry["prompts"].items()}
    drawn = {int(f): MaskPrompt(tensors.stored(f"masks.{f}")) for f in entry["masks"]}
    prompts: dict[int, Prompt] = {**points, **drawn}
    return Track(
        prompts=prompts,
        answers={
            int(f): PendingAnswer(tensors.mask(f"answers.{f}"), bool(conditioning))
            for f, conditioning in entry["answers"].items()
        },
        found={f: tensors.mask(f"found.{f}") for f in entry["found"]},
        walked=Walks(tuple((first, last, reverse) for first, last, reverse in entry["walked"])),
        bank=MemoryBank(
            prompted=tuple(tensors.memory(f) for f in entry["prompted"]),
            tracked=tuple(tensors.memory(f) for f in entry["tracked"]),
        ),
    )


def _point_prompt(entry: Mapping[str, Any]) -> PointPrompt:
    points = tuple((x, y) for x, y in entry["points"])
    box = entry["box"]
    return PointPrompt(points, tuple(entry["labels"]), tuple(box) if box else None)
