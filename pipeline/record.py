"""run.json: what a run is, from what it came, and how far it got."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Self

from pyarrow.fs import FileSystem

from pipeline import __version__, storage
from pipeline.config import RunConfig
from pipeline.manifest import VideoEntry

_FILE = "run.json"
_LIBRARIES = ("torch", "ray", "pyarrow", "av", "pycocotools")


class RecordError(ValueError):
    """An output folder that belongs to another run; the message says what differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run. Its id follows from what decides its results: settings, manifest and model."""

    run_id: str
    config: Mapping[str, Any]
    manifest_sha256: str
    model: str
    checkpoint_sha256: str
    versions: Mapping[str, str]
    started: str
    finished: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    tracked: int = 0  # object-frames worked on; what exceeds those in `counts` was done again

    @classmethod
    def begin(
        cls, config: RunConfig, entries: Sequence[VideoEntry], checkpoint_sha256: str
    ) -> Self:
        """The record of a run about to start."""
        record = cls(
            run_id="",
            config=config.model_dump(mode="json"),
            manifest_sha256=_digest([entry.model_dump(mode="json") for entry in entries]),
            model=config.model,
            checkpoint_sha256=checkpoint_sha256,
            versions={"masklet": __version__, "python": platform.python_version()}
            | {name: version(name) for name in _LIBRARIES},
            started=_now(),
        )
        return record._named()

    def _named(self) -> Self:
        return replace(self, run_id=_digest(self._identity())[:16])

    def asked_again(self, config: RunConfig, checkpoint_sha256: str) -> Self:
        """The record that these settings and weights would have with the same manifest."""
        settings = config.model_dump(mode="json")
        return replace(self, config=settings, checkpoint_sha256=checkpoint_sha256)._named()

    def reopened(self) -> Self:
        """The record of the run while some of its tasks are done again."""
        return replace(self, finished=None)

    def end(self, counts: Mapping[str, int], tracked: int = 0) -> Self:
        """The record of the run when all its tasks have a row."""
        return replace(self, finished=_now(), counts=dict(counts), tracked=tracked)

    def refuse_other(self, asked: "RunRecord") -> None:
        """Raises RecordError if `asked` is not this run."""
        if asked.run_id == self.run_id:
            return
        here, there = self._identity(), asked._identity()
        differing = [k for k in sorted({*here, *there}) if here.get(k) != there.get(k)]
        told = [
            f"{k} ({here.get(k)} there, {there.get(k)} asked for)" if k in self.config else k
            for k in differing
        ]
        raise RecordError(
            f"The output folder holds run {self.run_id}, which differs in: "
            f"{', '.join(told)}. Choose another --out, or undo the change to go on with it."
        )

    def _identity(self) -> dict[str, Any]:
        """What decides the results."""
        # The digest of the weights stands for their place.
        elsewhere = ("cluster", "storage", "checkpoint")
        settings = {k: v for k, v in self.config.items() if k not in elsewhere}
        sources = {"manifest": self.manifest_sha256, "weights": self.checkpoint_sha256}
        return settings | sources

    def write(self, fs: FileSystem, folder: str) -> None:
        """Writes run.json."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        storage.put(fs, storage.join(folder, _FILE), text.encode())

    @classmethod
    def of(cls, fs: FileSystem, folder: str, out: str) -> Self:
        """The record of the run under `out`, which `fs` knows as `folder`; raises RecordError."""
        if record := cls.read(fs, folder):
            return record
        raise RecordError(f"{out} holds no run: its run.json is missing")

    @classmethod
    def read(cls, fs: FileSystem, folder: str) -> Self | None:
        """The record in a folder, or None if no run has started there."""
        path = storage.join(folder, _FILE)
        if not storage.exists(fs, path):
            return None
        try:
            return cls(**json.loads(storage.read_bytes(fs, path)))
        except (ValueError, TypeError) as error:
            raise RecordError(f"{path} is not the record of a run: {error}") from error


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
