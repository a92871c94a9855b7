"""The files of configs/cluster/, and what the tests ask of them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "cluster"


def load(name: str) -> dict[str, Any]:
    """A YAML file of configs/cluster/."""
    values: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return values


def walk(value: object) -> Iterator[tuple[str, object]]:
    """Every key with its value, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def commands(file: Path) -> list[list[str]]:
    """The arguments of every `masklet run …` in a file's comments and, of YAML, in its values."""
    text = file.read_text()
    if file.suffix == ".yaml":
        comments = re.findall(r"^ *#.*$", text, flags=re.MULTILINE)
        values = [value for _, value in walk(load(file.name)) if isinstance(value, str)]
        text = "\n".join([*comments, *values])
    bare = re.sub(r"^ *#| # .*$|'", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.partition("masklet run") for line in bare.splitlines()]
    return [shlex.split(found[2]) for found in lines if found[1]]
