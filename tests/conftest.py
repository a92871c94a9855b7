"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from pyarrow.fs import S3FileSystem

from tests.chaos.faults import disarm, faulty
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
def armed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which faults wait to happen on the Ray cluster."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture
def faults(armed: Path) -> Iterator[Path]:
    """The same folder; afterwards nothing goes wrong any more."""
    yield armed
    disarm(armed)


@pytest.fixture(scope="session")
def ray_cluster(armed: Path) -> Iterator[None]:
    """A local Ray cluster with two pretended GPUs, one for all tests."""
    import ray  # slow to import, and few tests need it

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Workers have the environment of this moment; the test's S3 server takes any key.
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    ray.init(
        "local",
        num_cpus=4,
        num_gpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        runtime_env=faulty(armed),
    )
    yield
    ray.shutdown()


_numbers = count(1)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of the server, one for all tests."""
    from moto.server import ThreadedMotoServer  # slow to import, and few tests need it

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty bucket of its own; the environment leads every S3 client to it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"masklet-test-{next(_numbers)}"
    s3 = S3FileSystem(endpoint_override=s3_endpoint, allow_bucket_creation=True)
    s3.create_dir(name)
    return f"s3://{name}"
