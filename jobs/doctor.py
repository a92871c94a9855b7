"""Checks what a run needs: versions, devices, storage, cluster, and how fast it will be.

python -m jobs.doctor --out s3://bucket/out
"""

import sys
from typing import Annotated

import rich
import typer
from rich.markup import escape

from jobs import options
from pipeline.doctor import Finding, examine
from pipeline.survey import survey


def doctor(
    out: Annotated[str | None, typer.Option(help="A folder or URI that should be usable.")] = None,
    model: options.Model = None,
    checkpoint: options.Checkpoint = None,
    config: options.ConfigFile = None,
    setting: options.Settings = None,
) -> None:
    """Check what a run needs; exit code 1 if it would fail, and what to do."""
    with options.told():
        settings = options.configured(config, setting, model=model, checkpoint=checkpoint)
        well = True
        for finding in examine(settings, out, survey):
            _tell(finding)
            well &= finding.ok
    raise typer.Exit(options.DONE if well else options.SOME_FAILED)


def _tell(finding: Finding) -> None:
    mark = "ok" if finding.ok and not finding.advice else "but" if finding.ok else "NO"
    colour = {"ok": "green", "but": "yellow", "NO": "red"}[mark]
    text = f"[{colour}]{mark:3}[/] {finding.check:9} {escape(finding.text)}"
    rich.get_console().print(text, soft_wrap=True)
    if finding.advice:
        rich.get_console().print(f"{'':14}→ {escape(finding.advice)}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(options.main(doctor))
