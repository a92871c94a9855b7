"""A session under the published keys of `inference_state`, as scripts read and write them.

The session holds everything; what a key gives is a view of it, so that deleting an old frame from
`non_cond_frame_outputs` frees its memory, and new `images` are read from then on.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from itertools import count
from types import MappingProxyType
from typing import Any

from sam2.frames import StreamFrames
from sam2.memory import FrameMemory, MemoryBank
from sam2.model import Sam2
from sam2.object_track import Track, Walks
from sam2.prompts import MaskPrompt, PointPrompt
from sam2.session import Session
from sam2.state_values import (
    ByObject,
    CachedFeatures,
    ObjectFrames,
    ObjectIds,
    ObjectPlaces,
    ReadOnly,
    StateError,
)
from sam2.tracking import FrameMask

Entry = Mapping[str, Any]  # what is known of one object on one frame, by the published keys
Kind = str  # of frames: one of the next two
CONDITIONING, TRACKED = "cond_frame_outputs", "non_cond_frame_outputs"
_ADOPTED = "masklet"  # the key under which a dict filled by hand keeps its state


class InferenceState(MutableMapping[str, Any]):
    """The published keys of one session; a program may add keys of its own."""

    def __init__(self, session: Session, own: Mapping[str, Any]) -> None:
        self.session = session
        self._own = dict(own)  # keys that are just kept

    def __getitem__(self, key: str) -> Any:
        return _READ[key](self.session) if key in _READ else self._own[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key in _WRITE:
            _WRITE[key](self.session, value)
        elif key in _READ:
            raise StateError(
                f"'{key}' follows from prompts and tracking and cannot be set: use the methods of "
                "the predictor (reset_state, remove_object, clear_all_prompts_in_frame)."
            )
        else:
            self._own[key] = value

    def __delitem__(self, key: str) -> None:
        """Drops what is kept under the key; those of the session then answer that there is none."""
        if key in _DROP:
            _DROP[key](self.session)
        elif key not in _READ:
            del self._own[key]

    def __iter__(self) -> Iterator[str]:
        return iter((*_READ, *self._own))

    def __len__(self) -> int:
        return len(_READ) + len(self._own)

    def clear(self) -> None:
        """Drops everything: objects, frames and the program's own keys."""
        for drop in _DROP.values():
            drop(self.session)
        self._own.clear()


def state_of(state: MutableMapping[str, Any], model: Sam2) -> InferenceState:
    """The state itself; or the one of a dict that a program filled by hand with published keys."""
    if isinstance(state, InferenceState):
        return state
    if _ADOPTED not in state:
        size = int(state["video_height"]), int(state["video_width"])
        storage = state.get("storage_device")
        session = Session(model, state["images"], size, storage=storage)
        state[_ADOPTED] = InferenceState(session, {})
    own: InferenceState = state[_ADOPTED]
    if state["images"] is not own["images"]:
        own["images"] = state["images"]
    own["num_frames"] = state["num_frames"]
    show(state)
    return own


def show(state: MutableMapping[str, Any]) -> None:
    """Puts what is known now into a dict that a program filled by hand."""
    if not isinstance(state, InferenceState):
        own: InferenceState = state[_ADOPTED]
        state.update({key: own[key] for key in _READ if key not in _WRITE})


class ObjectOutputs(ByObject):
    """What is known of the objects, by their places in the logits."""

    def __init__(self, session: Session, pending: bool) -> None:
        super().__init__(session)
        self.pending = pending

    def _at(self, index: int) -> dict[Kind, "FrameOutputs"]:
        return {k: FrameOutputs(self, index, k) for k in (CONDITIONING, TRACKED)}

    def clear(self) -> None:
        """Forgets all of it, but not the objects."""
        for object_id, known in self.session.tracks.items():
            self.session.tracks[object_id] = (
                replace(known, answers={})
                if self.pending
                else replace(known, found={}, walked=Walks(), bank=MemoryBank())
            )


class FrameOutputs(MutableMapping[int, Entry]):
    """The frames of one kind on which something is known of one object; they can be deleted."""

    def __init__(self, objects: ObjectOutputs, index: int, kind: Kind) -> None:
        self.objects = objects
        self.index = index
        self.kind = kind

    def __getitem__(self, frame: int) -> Entry:
        found, memory = self._frames()[frame]
        return _entry(self.objects.session, found, memory)

    def __setitem__(self, frame: int, entry: Entry) -> None:
        raise StateError(
            "Outputs can be read and deleted, but not written: to carry them from one session to "
            "another, use the predictor's save_state and load_state."
        )

    def __delitem__(self, frame: int) -> None:
        if frame not in self._frames():
            raise KeyError(frame)
        object_id, known = self._track()
        pending = self.objects.pending
        after = known.without_answer(frame) if pending else known.forget(frame)
        self.objects.session.tracks[object_id] = after

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames())

    def __len__(self) -> int:
        return len(self._frames())

    def _track(self) -> tuple[Hashable, Track]:
        return [*self.objects.session.tracks.items()][self.index]

    def _frames(self) -> dict[int, tuple[FrameMask, FrameMemory | None]]:
        _, known = self._track()
        conditioning = self.kind == CONDITIONING
        if self.objects.pending:
            answers = known.answers.items()
            return {f: (a.found, None) for f, a in answers if a.conditioning == conditioning}
        memories = known.bank.prompted if conditioning else known.bank.tracked
        return {m.frame: (known.found[m.frame], m) for m in memories}


def _entry(session: Session, found: FrameMask, memory: FrameMemory | None) -> Entry:
    values = {
        "maskmem_features": memory and memory.features[None],
        "maskmem_pos_enc": memory and [session.model.memory_positions[None]],
        "pred_masks": found.mask[None, None],
        "obj_ptr": found.pointer[None],
        "object_score_logits": found.score.view(1, 1),
    }
    return MappingProxyType(values)  # a write would be lost, so it must not look as if it worked


# ---- what each key reads, writes and drops


def _num_frames(session: Session) -> int:
    if isinstance(session.frames, StreamFrames):
        return session.frames.seen
    return session.length or 0


def _points(session: Session, known: Track) -> dict[int, Entry]:
    model = session.model
    size, device = model.config.image_size, model.device

    def entry(prompt: PointPrompt) -> Entry:
        places, labels = prompt.to_model(*session.frame_size, size, device)
        # The padding point at the end belongs to the prompt encoder.
        return ReadOnly(point_coords=places[:, :-1], point_labels=labels[:, :-1].int())

    return {f: entry(p) for f, p in known.prompts.items() if isinstance(p, PointPrompt)}


def _masks(session: Session, known: Track) -> dict[int, Any]:
    size, device = session.model.config.image_size, session.model.device
    masks = {f: p for f, p in known.prompts.items() if isinstance(p, MaskPrompt)}
    return {f: mask.to_model(size, device) for f, mask in masks.items()}


def _walked(session: Session, known: Track) -> dict[int, Entry]:
    return {f: ReadOnly(reverse=reverse) for f, reverse in known.walked.frames().items()}


def _set_images(session: Session, images: Any) -> None:
    session.frames = images
    session.features.clear()


def _set_num_frames(session: Session, number: int) -> None:
    session.length = int(number)


def _set_height(session: Session, height: int) -> None:
    session.frame_size = int(height), session.frame_size[1]


def _set_width(session: Session, width: int) -> None:
    session.frame_size = session.frame_size[0], int(width)


def _set_features(session: Session, features: Any) -> None:
    session.features.clear()  # what a program would put there is made again when it is needed


_READ: dict[str, Callable[[Session], Any]] = {
    "images": lambda session: session.frames,
    "num_frames": _num_frames,
    "video_height": lambda session: session.frame_size[0],
    "video_width": lambda session: session.frame_size[1],
    "device": lambda session: session.model.device,
    "storage_device": lambda session: session.storage_device,
    "obj_ids": ObjectIds,
    "obj_id_to_idx": lambda session: ObjectPlaces(session, zip(session.tracks, count())),
    "obj_idx_to_id": lambda session: ObjectPlaces(session, enumerate(session.tracks)),
    "output_dict_per_obj": lambda session: ObjectOutputs(session, pending=False),
    "temp_output_dict_per_obj": lambda session: ObjectOutputs(session, pending=True),
    "point_inputs_per_obj": lambda session: ObjectFrames(session, _points),
    "mask_inputs_per_obj": lambda session: ObjectFrames(session, _masks),
    "frames_tracked_per_obj": lambda session: ObjectFrames(session, _walked),
    "cached_features": CachedFeatures,
}

_WRITE: dict[str, Callable[[Session, Any], None]] = {
    "images": _set_images,
    "num_frames": _set_num_frames,
    "video_height": _set_height,
    "video_width": _set_width,
    "cached_features": _set_features,
}

_DROP: dict[str, Callable[[Session], None]] = {
    "images": lambda session: _set_images(session, []),
    "cached_features": lambda session: session.features.clear(),
    "output_dict_per_obj": lambda session: session.reset(),
}
