"""The published checkpoints: which there are, and a download that can be taken up again.

python -m jobs.checkpoint list
python -m jobs.checkpoint download sam2.1-tiny
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import rich
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from jobs import options
from sam2.downloads import PUBLISHED, cache_folder, cached, download, published

app = typer.Typer(
    help="Fetch the published checkpoints.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("list")
def show() -> None:
    """List the published checkpoints, and which of them are here."""
    table = Table("model", "file", "MB", "here")
    table.columns[2].justify = "right"
    for each in PUBLISHED.values():
        size = f"{each.size / 1e6:.0f}"
        table.add_row(each.model, each.file, size, "yes" if cached(each.model) else "")
    rich.print(table)
    print(f"in {cache_folder()}")


@app.command("download")
def fetch(model: Annotated[str, typer.Argument(help="A model, such as sam2.1-tiny.")]) -> None:
    """Download a checkpoint, going on where an earlier attempt broke off."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with options.told():
        wanted = published(model)
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task(wanted.file, total=wanted.size)
            path = download(
                wanted, cache_folder(), lambda there: progress.update(bar, completed=there)
            )
            progress.update(bar, completed=wanted.size)
    print(f"{path}\n--model {model} finds it there from now on")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    return options.exit_code(app, argv)


if __name__ == "__main__":
    sys.exit(main())
