"""Checks a manifest without opening its videos, and tells all that is wrong with it.

python -m jobs.validate --manifest videos.jsonl
"""

import typer

from jobs import options


def validate(manifest: options.Manifest = None) -> None:
    """Check a manifest; exit code 2 if anything is wrong with it."""
    with options.told():
        entries = options.wanted(manifest, None, None, None, "forward", None)
    objects = sum(len(entry.objects or ()) for entry in entries)
    print(f"{manifest}: {len(entries)} videos, {objects} objects; nothing is wrong")


if __name__ == "__main__":
    typer.run(validate)
