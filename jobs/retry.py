"""Tracks again what failed in a finished run, and replaces its rows.

ray job submit --working-dir . -- python -m jobs.retry s3://bucket/out
"""

import sys

import typer

from jobs import options
from jobs.run import tell
from pipeline.retry import retry as retry_failed
from pipeline.retry import settings_of


def retry(
    out: options.Out,
    checkpoint: options.Checkpoint = None,
    setting: options.Settings = None,
) -> None:
    """Do again what failed or crashed, with the settings of the run; good rows stay as they are."""
    with options.told(resumable=True):
        options.configured(None, setting)  # the output is read by them already
        settings = [*settings_of(out), *(setting or ())]
        summary = retry_failed(out, options.configured(None, settings, checkpoint=checkpoint))
    tell(summary, out)
    raise typer.Exit(options.SOME_FAILED if summary.failed else options.DONE)


if __name__ == "__main__":
    sys.exit(options.main(retry))
