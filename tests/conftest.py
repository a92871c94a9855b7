"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.clips import write_clip

settings.register_profile("masklet", deadline=None)  # a busy machine is no bug
settings.load_profile("masklet")

SHARED = Path(os.environ.get("MASKLET_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of clips and reference data beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: set MASKLET_SHARED to the folder of test data")
    return SHARED


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of six frames, 96 wide and 64 high."""
    return write_clip(tmp_path_factory.mktemp("clips") / "square.mp4")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray cluster with two pretended GPUs, one for all tests."""
    import ray  # slow to import, and few tests need it

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Workers have the environment of this moment; the test's S3 server takes any key.
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()
