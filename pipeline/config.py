"""The settings of a run: defaults, then a YAML file, then --set key=value."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.complaints import Place, explain
from sam2.config import Precision

Settings = TypeVar("Settings", bound=BaseModel)


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it."""


class ClusterConfig(BaseModel):
    """Where the run happens. Changes nothing in its results, so a resumed run may differ in it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    actors: int | None = Field(default=None, ge=1)  # models at work; None: as many as fit
    max_actors: int | None = Field(default=None, ge=1)  # as nodes join; None: no more than those
    gpus_per_actor: float | None = Field(default=None, ge=0)  # None: one where there are GPUs
    threads: int | None = Field(default=None, ge=1)  # of an actor's CPU work; None: see RunConfig
    # That share an actor's model at once, at most; None: 8, and on a GPU as many as fill a batch.
    open_videos: int | None = Field(default=None, ge=1)
    save_every_s: float = Field(default=60.0, gt=0)  # how often an actor saves what is under way
    verify: Literal["sha256", "size"] = "sha256"  # how a resumed run checks what is written


class StorageConfig(BaseModel):
    """How storage is spoken to. Credentials have no place here: they come from the environment."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    endpoint: str | None = None  # of an S3 that is not Amazon's; None: AWS_ENDPOINT_URL
    checksums: Literal["when_supported", "when_required"] | None = None  # of uploads to S3
    patience_s: float = Field(default=120.0, ge=0)  # with a store that has trouble


class RunConfig(BaseModel):
    """What a run does with its manifest."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model: str = "nano"
    checkpoint: str | None = None  # a path or URI; None: nano's own, or a downloaded one
    # auto: cuda where an actor has a GPU
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    precision: Precision = "auto"  # bfloat16, float32, exact, or auto: the fastest of the first two
    max_batch: int = Field(default=16, ge=1)  # objects that go through the model together
    cluster: ClusterConfig = ClusterConfig()
    storage: StorageConfig = StorageConfig()

    @property
    def planned_device(self) -> str:
        """The device that a plan reckons with: it is made where there may be no GPU."""
        return "cpu" if self.device == "auto" else self.device

    @property
    def threads(self) -> int:
        """CPU threads of an actor. Two would only wait for each other in a model as small as nano.

        With any other model they are the cores of this machine, at most four.
        """
        suitable = 1 if self.model == "nano" else min(4, cores())
        return self.cluster.threads or suitable


def cores() -> int:
    """The CPU cores that this process may use: a container or a job may have few of many."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with suppress(OSError, ValueError):  # "max", or no such limit here
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        allowed = min(allowed or 1, max(quota // period, 1))
    return allowed or 1


class _Yaml(yaml.SafeLoader):
    """YAML as people write it: for YAML 1.1 a number without a dot, such as 3e-4, is a text."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_config(
    path: Path | None = None,
    settings: Iterable[str] = (),
    overrides: Mapping[str, object] | None = None,
) -> RunConfig:
    """The configuration of a run from a YAML file, then `key=value` settings, then overrides.

    Keys of a nested part are written with a dot (`cluster.actors=2`), and so is the position in a
    list (`sources.0.share=1`). Raises ConfigError.
    """
    return load_settings(RunConfig, path, settings, overrides)


def load_settings(
    kind: type[Settings],
    path: Path | None = None,
    settings: Iterable[str] = (),
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Settings of any kind, as `load_config` does it; raises ConfigError."""
    values: dict[str, Any] = _read(path) if path else {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting}: write key=value, such as cluster.actors=2")
        _put(values, key.split("."), _value(setting, text))
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    try:
        # By way of JSON: YAML has no tuples, and strict models take lists for them in JSON alone.
        # What YAML takes for a date is one to nobody here.
        return kind.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        lines = explain(error, lambda place: _known_keys(kind, place))
        raise ConfigError("\n".join(f"setting {line}" for line in lines)) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(), _Yaml)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict | None):
        raise ConfigError(f"{path} must hold settings such as 'model: nano', one on a line.")
    return values or {}


def _value(setting: str, text: str) -> object:
    try:
        return yaml.load(text, _Yaml)
    except (yaml.YAMLError, ValueError) as error:  # the latter of a day that no month has
        raise ConfigError(f"--set {setting}: the value is no YAML: {error}") from error


def _put(values: dict[str, Any], path: list[str], value: object) -> None:
    """Sets one value among nested ones."""
    *parents, last = path
    name = ".".join(path)
    part: Any = values
    for parent in parents:
        if isinstance(part, dict):
            part = part.setdefault(parent, {})
        else:
            part = part[_place(name, part, parent)]
        if not isinstance(part, dict | list):
            raise ConfigError(f"--set {name}: {parent} is a setting, not a part of several.")
    part[last if isinstance(part, dict) else _place(name, part, last)] = value


def _place(name: str, entries: list[Any], key: str) -> int:
    if key.isdecimal() and int(key) < len(entries):
        return int(key)
    raise ConfigError(
        f"--set {name}: {key} is no place in a list of {len(entries)}; 0 is the first"
    )


def _known_keys(kind: type[BaseModel], place: Place) -> tuple[str, list[str]]:
    """The key at a place of the settings, and the names that it could have there."""
    *parents, key = place
    for parent in parents:
        if isinstance(parent, str):
            kind = _part(kind.model_fields[parent].annotation)
    return str(key), [*_names(kind)]


def _part(annotation: Any) -> type[BaseModel]:
    """The settings that a field holds, or a list of them."""
    inside: type[BaseModel] = next(iter(get_args(annotation)), annotation)
    return inside


def _names(kind: type[BaseModel]) -> Iterable[str]:
    """What can be set, parts of parts with a dot."""
    for key, field in kind.model_fields.items():
        yield key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{key}.{name}" for name in _names(field.annotation))
