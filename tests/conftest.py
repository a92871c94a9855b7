"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from pyarrow.fs import S3FileSystem

from tests.chaos.faults import disarm, faulty
from tests.chaos.gateway import KEY, SECRET, Gateway
from tests.clips import write_clip

settings.register_profile("masklet", deadline=None)  # a busy machine is no bug
settings.load_profile("masklet")

SHARED = Path(os.environ.get("MASKLET_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which server the tests of S3 speak to."""
    parser.addoption("--s3", choices=["moto", "ceph"], default="moto", help="a server for S3 tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that speak to S3, so that they can be run by themselves."""
    for item in items:
        chosen = item.callspec.params.values() if hasattr(item, "callspec") else ()
        names = [*getattr(item, "fixturenames", ()), *(x for x in chosen if isinstance(x, str))]
        if {"s3", "s3_bucket"} & {*names}:
            item.add_marker("s3")


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
def ray_cluster(armed: Path, s3_environment: dict[str, str]) -> Iterator[None]:
    """A local Ray cluster with two pretended GPUs, one for all tests."""
    import ray  # slow to import, and few tests need it

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ |= s3_environment  # workers have the environment of this moment
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
def s3_environment(pytestconfig: pytest.Config) -> dict[str, str]:
    """What every S3 client has to know of the server, besides its address."""
    known = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if pytestconfig.getoption("s3") == "ceph":  # of Debian 12, older than the newer checksums
        known["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
    return known


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of a server that plays S3 in this process."""
    from moto.server import ThreadedMotoServer  # slow to import, and few tests need it

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def gateway(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Ceph's gateway, one for all tests."""
    folder = tmp_path_factory.mktemp("ceph") / "c"  # paths of sockets must be short
    gateway = Gateway.start(shared, folder)
    yield gateway
    gateway.tell("stop")


@pytest.fixture(scope="session")
def s3_endpoint(request: pytest.FixtureRequest) -> str:
    """The address of the S3 server, one for all tests."""
    if request.config.getoption("s3") == "ceph":
        return str(request.getfixturevalue("gateway").endpoint)
    return str(request.getfixturevalue("moto"))


@pytest.fixture
def s3_bucket(
    s3_endpoint: str, s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URI of an empty bucket of its own; the environment leads every S3 client to it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    name = f"masklet-test-{next(_numbers)}"
    patient = {"request_timeout": 60}  # a gateway that was just killed owes answers for 30 s
    s3 = S3FileSystem(endpoint_override=s3_endpoint, allow_bucket_creation=True, **patient)
    s3.create_dir(name)
    return f"s3://{name}"
