"""The command `masklet`: every job under one name."""

import typer

from jobs import checkpoint
from jobs.bench import bench
from jobs.doctor import doctor
from jobs.evaluate import evaluate
from jobs.plan import plan
from jobs.retry import retry
from jobs.run import run
from jobs.status import status
from jobs.train import train
from jobs.validate import validate

app = typer.Typer(
    help="Label large video datasets with SAM 2 on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(validate)
app.command()(plan)
app.command()(run)
app.command()(status)
app.command()(retry)
app.command()(evaluate)
app.command()(train)
app.command()(doctor)
app.command()(bench)
app.add_typer(checkpoint.app, name="checkpoint")


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
