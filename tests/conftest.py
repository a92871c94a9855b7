"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("MASKLET_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of clips and reference data beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: set MASKLET_SHARED to the folder of test data")
    return SHARED
