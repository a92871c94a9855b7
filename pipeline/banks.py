"""Saved banks: where a long track stands, so that another actor can go on in its middle.

A bank is a hint and no commit. It is written whole, its name carries the digest of its bytes, and
its content says for which run, task and model it is good; anything else is passed over with a note.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from pyarrow.fs import FileSystem
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipeline import storage
from pipeline.bank_folder import BANKS
from pipeline.footage import Unfinished
from pipeline.masklet_columns import MaskletColumns
from pipeline.plan import Task
from sam2.memory import FrameMemory, MemoryBank
from sam2.task import TrackState
from sam2.tracking import FrameMask

_KEPT = 2  # newest banks of a task; the older one is for when the newer is damaged


class SavedBanks:
    """The banks of one run with one model, as files under its output."""

    def __init__(
        self,
        fs: FileSystem,
        folder: str,
        owner: str,
        every_s: float,
        told: Callable[[int], None] = lambda task_id: None,
    ) -> None:
        self.fs = fs
        self.folder = folder
        self.owner = owner  # the run and the digest of its model: banks of others are none of ours
        self.every_s = every_s
        self.told = told  # hears of every task that has got further than ever

    def save(self, task: Task, unfinished: Unfinished) -> None:
        """Writes the bank and removes those before the last one; a failure costs only time."""
        data = _pack(unfinished, {"owner": self.owner, "task_id": task.task_id})
        n_frames = len(unfinished.found.frame_index)
        name = f"{n_frames:09d}-{hashlib.sha256(data).hexdigest()}.safetensors"
        try:
            storage.put(self.fs, storage.join(self._of(task), name), data)
            self._tidy(task, name)
        except OSError as error:
            print(f"task {task.task_id}: its bank is not saved: {error}", file=sys.stderr)
            return
        self.told(task.task_id)

    def _tidy(self, task: Task, newest: str) -> None:
        """Removes what this bank replaces, and any that looks newer: it was of no use to us."""
        files = self._newest_first(task)
        names = [PurePosixPath(path).name for path in files]
        if newest not in names:  # somebody else is further on, or done, and has removed it
            return
        place = names.index(newest)
        for path in (*files[:place], *files[place + _KEPT :]):
            self.fs.delete_file(path)

    def load(self, task: Task) -> Unfinished | None:
        """The newest bank of a task that is whole and ours, on the CPU."""
        try:
            paths = self._newest_first(task)
        except OSError as error:
            print(f"task {task.task_id} begins anew: {error}", file=sys.stderr)
            return None
        for path in paths:
            try:
                return self._read(task, path)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                print(f"{path} is passed over: {error}", file=sys.stderr)
        return None

    def _read(self, task: Task, path: str) -> Unfinished:
        data = storage.read_bytes(self.fs, path)
        if hashlib.sha256(data).hexdigest() != PurePosixPath(path).stem.partition("-")[2]:
            raise ValueError("its bytes are not those that were written")
        content, unfinished = _unpack(data)
        if content["owner"] != self.owner or content["task_id"] != task.task_id:
            raise ValueError("it belongs to another run or model")
        return unfinished

    def _of(self, task: Task) -> str:
        return storage.join(self.folder, BANKS, str(task.task_id))

    def _newest_first(self, task: Task) -> list[str]:
        files = storage.list_files(self.fs, self._of(task))
        return [path for path in reversed(files) if path.endswith(".safetensors")]


# ---- a track as safetensors: its tensors, and beside them as JSON what they are


def _pack(unfinished: Unfinished, content: Mapping[str, Any]) -> bytes:
    state = unfinished.state
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in (
            *_named_answers(state.answers),
            *_named_bank("bank", state.bank),
            *(_named_bank("turn", state.turn) if state.turn else ()),
        )
    }
    tensors["found"] = torch.from_numpy(
        np.frombuffer(json.dumps(asdict(unfinished.found)).encode(), dtype=np.uint8).copy()
    )
    told = {
        **content,
        "footage": unfinished.footage,
        "next_frame": state.next_frame,
        "reverse": state.reverse,
        "answers": [*state.answers],
        "bank": _frames(state.bank),
        "turn": _frames(state.turn) if state.turn else None,
    }
    return bytes(save(tensors, {"track": json.dumps(told)}))


def _unpack(data: bytes) -> tuple[dict[str, Any], Unfinished]:
    size = int.from_bytes(data[:8], "little")
    told = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["track"])
    tensors = load(data)
    state = TrackState(
        next_frame=told["next_frame"],
        reverse=told["reverse"],
        answers={frame: _answer(tensors, frame) for frame in told["answers"]},
        bank=_bank(tensors, "bank", told["bank"]),
        turn=_bank(tensors, "turn", told["turn"]) if told["turn"] else None,
    )
    found = MaskletColumns(**json.loads(tensors["found"].numpy().tobytes()))
    return told, Unfinished(state, found, told["footage"])


def _named_answers(answers: Mapping[int, FrameMask]) -> Iterator[tuple[str, Tensor]]:
    for frame, answer in answers.items():
        for name in FrameMask.__slots__:
            yield f"answer.{frame}.{name}", getattr(answer, name)


def _answer(tensors: Mapping[str, Tensor], frame: int) -> FrameMask:
    return FrameMask(*(tensors[f"answer.{frame}.{name}"] for name in FrameMask.__slots__))


def _named_bank(name: str, bank: MemoryBank) -> Iterator[tuple[str, Tensor]]:
    for kind in ("prompted", "tracked"):
        for memory in getattr(bank, kind):
            yield f"{name}.{kind}.{memory.frame}.features", memory.features
            yield f"{name}.{kind}.{memory.frame}.pointer", memory.pointer


def _frames(bank: MemoryBank) -> dict[str, list[int]]:
    return {
        "prompted": [memory.frame for memory in bank.prompted],
        "tracked": [memory.frame for memory in bank.tracked],
    }


def _bank(
    tensors: Mapping[str, Tensor], name: str, frames: Mapping[str, Sequence[int]]
) -> MemoryBank:
    def memories(kind: str) -> tuple[FrameMemory, ...]:
        key = f"{name}.{kind}"
        return tuple(
            FrameMemory(f, tensors[f"{key}.{f}.features"], tensors[f"{key}.{f}.pointer"])
            for f in frames[kind]
        )

    return MemoryBank(memories("prompted"), memories("tracked"))
