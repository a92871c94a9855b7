"""Scores masks against the truth (J and F), or tracks from the first true masks and scores that.

python -m jobs.evaluate --truth DAVIS --predictions masks/ --rules davis --json scores.json
python -m jobs.evaluate --truth DAVIS --frames DAVIS --rules davis --model sam2.1-tiny --out out/
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import rich
import typer

from jobs import options
from pipeline.config import ConfigError, RunConfig
from pipeline.evaluation import Rules, Scores, score
from pipeline.evaluation.plot import plot
from pipeline.evaluation.track import track_and_score

_SHOWN = 10


def evaluate(
    truth: Annotated[Path, typer.Option(help="A data set, or a folder of true masks.")],
    rules: Annotated[str, typer.Option(help="davis or sav.")],
    predictions: Annotated[Path | None, typer.Option(help="The masks to score.")] = None,
    frames: Annotated[
        Path | None, typer.Option(help="Instead of masks: the pictures to track in.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="With --frames: a folder or URI for the results.")
    ] = None,
    model: options.Model = None,
    checkpoint: options.Checkpoint = None,
    config: options.ConfigFile = None,
    setting: options.Settings = None,
    sequences: Annotated[
        Path | None, typer.Option(help="A file with the names of those to score, one a line.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="A file for the scores.")] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", help="A PNG for J and F of every frame.")
    ] = None,
) -> None:
    """Score masks by the rules of DAVIS 2017 or SA-V; with --frames, track first."""
    with options.told(resumable=True):
        names = _names(sequences)
        settings = options.configured(config, setting, model=model, checkpoint=checkpoint)
        _make_room(json_file, plot_file)
        if predictions and not (frames or out or model or checkpoint or config or setting):
            scores = score(truth, predictions, _rules(rules), names)
        elif frames and out and not predictions:
            scores = _tracked(truth, frames, _rules(rules), out, settings, names)
        else:
            raise ConfigError(
                "give either --predictions DIR, or --frames DIR and --out URI (with which go "
                "--model, --checkpoint, --config and --set)"
            )
        _write(scores, json_file, plot_file)
    rich.print(scores.table())


def _tracked(
    truth: Path,
    frames: Path,
    rules: Rules,
    out: str,
    settings: RunConfig,
    names: Sequence[str] | None,
) -> Scores:
    """Ends the command with SOME_FAILED if an object could not be tracked."""
    summary, scores = track_and_score(truth, frames, rules, out, settings, names)
    if scores is None:
        print(f"{summary.failed} objects could not be tracked, so there is no score:")
        for problem in summary.problems[:_SHOWN]:
            print(f"  {problem}")
        raise typer.Exit(options.SOME_FAILED)
    print(f"masklets: {out.rstrip('/')}/masklets, as PNGs: {out.rstrip('/')}/predictions")
    return scores


def _make_room(*files: Path | None) -> None:
    """Makes the folders of files to come, lest hours of tracking be for nothing."""
    try:
        for path in filter(None, files):
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the scores cannot be written: {error}") from error


def _write(scores: Scores, json_file: Path | None, plot_file: Path | None) -> None:
    try:
        if json_file:
            json_file.write_text(json.dumps(scores.to_json(), indent=2, ensure_ascii=False) + "\n")
        if plot_file:
            plot(scores).save(plot_file, format="PNG")
    except OSError as error:
        raise ConfigError(f"the scores cannot be written: {error}") from error


def _rules(name: str) -> Rules:
    if name in ("davis", "sav"):
        return name  # type: ignore[return-value]  # it is one of the two
    raise ConfigError(f"--rules is davis or sav, not '{name}'")


def _names(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        names = [name for line in path.read_text().splitlines() if (name := line.strip())]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--sequences {path} cannot be read: {error}") from error
    if not names:
        raise ConfigError(f"--sequences {path} has no names in it")
    return names


if __name__ == "__main__":
    sys.exit(options.main(evaluate))
