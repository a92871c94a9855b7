"""Options that several commands share, and how their errors reach a person."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pipeline import storage
from pipeline.command_line import one_video
from pipeline.config import ConfigError, RunConfig, load_config
from pipeline.evaluation import EvaluationError
from pipeline.lease import LeaseError
from pipeline.manifest import Direction, ManifestError, VideoEntry, read_manifest
from pipeline.plan import PlanError
from pipeline.record import RecordError
from pipeline.storage import StorageError
from pipeline.training.labelled import SourceError
from sam2.checkpoint import CheckpointError
from sam2.config import UnknownModelError

DONE, SOME_FAILED, WRONG_INPUT = 0, 1, 2

Out = Annotated[str, typer.Argument(metavar="OUT", help="The folder or URI of a run's results.")]
_MANIFEST = typer.Option("--manifest", help="A .jsonl, .json or .parquet file of videos.")
Manifest = Annotated[str, _MANIFEST]
OptionalManifest = Annotated[str | None, _MANIFEST]
Clip = Annotated[str | None, typer.Option("--video", help="One video, instead of a manifest.")]
Boxes = Annotated[
    list[str] | None, typer.Option("--box", help="FRAME:X1,Y1,X2,Y2 of a new object.")
]
Points = Annotated[
    list[str] | None, typer.Option("--point", help="FRAME:X,Y,LABEL; label 1 is on the object.")
]
Way = Annotated[
    str | None, typer.Option("--direction", help="forward (as if left out), reverse or both.")
]
Frames = Annotated[str | None, typer.Option(help="FIRST:STOP, the part of --video to look at.")]
Model = Annotated[str | None, typer.Option(help="nano, sam2.1-tiny, sam2.1-large, …")]
Checkpoint = Annotated[str | None, typer.Option(help="A .pt or .safetensors path or URI.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A YAML file of settings.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, such as cluster.actors=2.")
]

_WRONG = (
    CheckpointError,
    ConfigError,
    EvaluationError,
    LeaseError,
    ManifestError,
    PlanError,
    RecordError,
    SourceError,
    StorageError,
    UnknownModelError,
)


def main(command: Callable[..., None], argv: Sequence[str] | None = None) -> int:
    """Runs the command line of one command; gives its exit code."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    return exit_code(app, argv)


def exit_code(app: typer.Typer, argv: Sequence[str] | None) -> int:
    """Runs a command line and gives its exit code, where typer would end the program."""
    try:
        app(argv)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@contextmanager
def told(resumable: bool = False) -> Iterator[None]:
    """Ends the command with WRONG_INPUT and a readable message where the input is to blame.

    Whoever stops a `resumable` one is told what that means.
    """
    try:
        yield
    except KeyboardInterrupt:
        if resumable:
            print("stopped: what is saved is kept; the same command goes on", file=sys.stderr)
        raise
    except _WRONG as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(WRONG_INPUT) from error


def configured(
    config: Path | None, setting: list[str] | None, **overrides: str | None
) -> RunConfig:
    """The settings of a command; from here on its files are read and written by them."""
    settings = load_config(config, setting or (), overrides)
    storage.use(settings.storage)
    return settings


def wanted(
    manifest: str | None,
    video: str | None,
    boxes: list[str] | None,
    points: list[str] | None,
    direction: str | None,
    frames: str | None,
) -> list[VideoEntry]:
    """The videos that --manifest lists, or the one that --video, --box and --point describe."""
    if (manifest is None) == (video is None):
        raise ConfigError("give either --manifest FILE or --video CLIP")
    if manifest is not None:
        if boxes or points or frames or direction:
            raise ConfigError(
                "--box, --point, --direction and --frames go with --video, not with --manifest"
            )
        return read_manifest(manifest)
    assert video is not None
    try:
        way = _direction(direction or "forward")
        return [one_video(video, boxes or (), points or (), way, frames)]
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _direction(name: str) -> Direction:
    if name in ("forward", "reverse", "both"):
        return name  # type: ignore[return-value]  # it is one of the three
    raise ConfigError(f"--direction is forward, reverse or both, not '{name}'")
