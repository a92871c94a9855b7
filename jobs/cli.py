"""The command `masklet`: every job under one name."""

import typer

from jobs import checkpoint
from jobs.evaluate import evaluate
from jobs.plan import plan
from jobs.run import run
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
app.command()(evaluate)
app.add_typer(checkpoint.app, name="checkpoint")


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
