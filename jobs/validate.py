"""Checks a manifest without opening its videos, and tells all that is wrong with it.

python -m jobs.validate --manifest videos.jsonl
"""

import sys

import typer

from jobs import options
from pipeline.manifest import ManifestError, read_manifest


def validate(manifest: options.Manifest, setting: options.Settings = None) -> None:
    """Check a manifest; exit code 2 if a run would refuse it."""
    with options.told():
        options.configured(None, setting)
        try:
            entries = read_manifest(manifest)
        except ManifestError as error:
            print(f"error: in {manifest}:", *error.problems, sep="\n  ", file=sys.stderr)
            raise typer.Exit(options.WRONG_INPUT) from error
    objects = sum(len(entry.objects or ()) for entry in entries)
    print(f"{manifest}: {len(entries)} videos, {objects} objects; nothing is wrong")


if __name__ == "__main__":
    sys.exit(options.main(validate))
