"""The settings of a run: defaults, then a YAML file, then --set key=value."""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.manifest import explain


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it."""


class ClusterConfig(BaseModel):
    """Where the run happens. Changes nothing in its results, so a resumed run may differ in it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    actors: int | None = Field(default=None, ge=1)  # models at work; None: as many as fit
    gpus_per_actor: float | None = Field(default=None, ge=0)  # None: one where there are GPUs
    threads: int = Field(default=min(4, os.cpu_count() or 1), ge=1)  # of an actor's CPU work


class RunConfig(BaseModel):
    """What a run does with its manifest."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model: str = "nano"
    checkpoint: str | None = None  # a path or URI; None: the weights that ship with the model
    device: str = "auto"  # cpu, cuda, or auto: cuda where an actor has a GPU
    max_batch: int = Field(default=16, ge=1)  # objects that go through the model together
    cluster: ClusterConfig = ClusterConfig()


def load_config(
    path: Path | None = None,
    settings: Iterable[str] = (),
    overrides: Mapping[str, object] | None = None,
) -> RunConfig:
    """The configuration from a YAML file, then `key=value` settings, then overrides.

    Keys of a nested part are written with a dot (`cluster.actors=2`). Raises ConfigError.
    """
    values: dict[str, Any] = _read(path) if path else {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting}: write key=value, such as cluster.actors=2")
        _put(values, key.split("."), yaml.safe_load(text))
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(error))) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict | None):
        raise ConfigError(f"{path} must hold settings such as 'model: nano', one on a line.")
    return values or {}


def _put(values: dict[str, Any], path: list[str], value: object) -> None:
    *parents, key = path
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(
                f"--set {'.'.join(path)}: {parent} is a setting, not a part of several."
            )
    values[key] = value


def _explained(error: ValidationError) -> Iterable[str]:
    known = [*RunConfig.model_fields, *(f"cluster.{key}" for key in ClusterConfig.model_fields)]
    for detail, text in zip(error.errors(), explain(error), strict=True):
        if detail["type"] != "extra_forbidden":
            yield f"setting {text}"
            continue
        key = ".".join(map(str, detail["loc"]))
        near = get_close_matches(key, known, n=1)
        guess = f"did you mean '{near[0]}'? " if near else ""
        yield f"setting {key}: there is none of this name; {guess}Known: {', '.join(known)}"
