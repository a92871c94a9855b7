"""Ceph's gateway in real trouble while a run writes to it: the rows stay as they are."""

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest
from pyarrow.fs import FileSelector

from pipeline import storage
from pipeline.commits import read_commits
from pipeline.manifest import VideoEntry
from pipeline.masklets import Masklet
from pipeline.run import run
from pipeline.storage import StorageError
from tests.chaos.gateway import Gateway
from tests.chaos.job import config, job, rows, undisturbed_rows

pytestmark = [pytest.mark.ceph, pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[VideoEntry]:
    return job(tmp_path_factory.mktemp("videos"), videos=2, objects=2, n_frames=20)


@pytest.fixture(scope="module")
def undisturbed(
    entries: Sequence[VideoEntry], tmp_path_factory: pytest.TempPathFactory
) -> list[Masklet]:
    return undisturbed_rows(entries, tmp_path_factory.mktemp("undisturbed"))


@contextmanager
def in_the_middle(out: str, trouble: Callable[[], None]) -> Iterator[threading.Event]:
    """Makes trouble once the first bank of the run is saved; the event tells that it is over."""
    fs, folder = storage.filesystem(out)
    given_up, over = threading.Event(), threading.Event()

    def make() -> None:
        banks = FileSelector(f"{folder}/state", recursive=True, allow_not_found=True)
        while not any(info.is_file for info in fs.get_file_info(banks)):
            if given_up.wait(0.05):
                return
        trouble()
        over.set()

    thread = threading.Thread(target=make)
    thread.start()
    try:
        yield over
    finally:
        given_up.set()
        thread.join()


OUTAGES = {
    "a gateway that is killed and comes back": ("kill-gateway", 10, "start-gateway"),
    "a store that hangs": ("freeze", 20, "thaw"),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_is_waited_for(
    outage: str,
    gateway: Gateway,
    entries: Sequence[VideoEntry],
    undisturbed: Sequence[Masklet],
    s3_bucket: str,
) -> None:
    begin, seconds, end = OUTAGES[outage]

    def trouble() -> None:
        gateway.tell(begin)
        time.sleep(seconds)
        gateway.tell(end)

    with in_the_middle(f"{s3_bucket}/out", trouble) as over:
        run(entries, f"{s3_bucket}/out", config())

    assert over.is_set()
    assert rows(f"{s3_bucket}/out") == undisturbed


def test_a_full_bucket_stops_the_run_which_can_go_on_when_there_is_room(
    gateway: Gateway,
    entries: Sequence[VideoEntry],
    undisturbed: Sequence[Masklet],
    s3_bucket: str,
) -> None:
    out = f"{s3_bucket}/out"
    try:
        with (
            in_the_middle(out, lambda: gateway.tell("quota", "1")) as over,
            pytest.raises(Exception, match="QuotaExceeded"),
        ):
            run(entries, out, config())
        assert over.is_set()
        assert read_commits(*storage.filesystem(out)) == {}
        with pytest.raises(StorageError, match="is full"):
            run(entries, out, config())
    finally:
        gateway.tell("quota", "-1")

    run(entries, out, config())

    assert rows(out) == undisturbed


def test_a_gateway_that_is_too_busy_is_waited_for(
    gateway: Gateway,
    entries: Sequence[VideoEntry],
    undisturbed: Sequence[Masklet],
    s3_bucket: str,
) -> None:
    with busy(gateway):
        run(entries, f"{s3_bucket}/out", config())

    bucket = s3_bucket.removeprefix("s3://")
    refused = [line for line in access_log(gateway) if f"/{bucket}/" in line and " 503 " in line]
    assert refused
    assert rows(f"{s3_bucket}/out") == undisturbed


@contextmanager
def busy(gateway: Gateway) -> Iterator[None]:
    """The gateway takes few requests at once, and others send them all the time."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.01):
            with suppress(OSError):
                urllib.request.urlopen(gateway.endpoint, timeout=10).close()

    gateway.limit_requests(1)
    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        yield
    finally:
        over.set()
        for asker in askers:
            asker.join()
        gateway.limit_requests(1024)


def access_log(gateway: Gateway) -> list[str]:
    """What the gateway noted of each request: who, what, and its answer."""
    texts = [path.read_text(errors="replace") for path in (gateway.folder / "log").glob("*rgw*")]
    return [line for text in texts for line in text.splitlines() if "beast: " in line]


def test_an_older_store_says_which_setting_it_needs_and_takes_it(
    entries: Sequence[VideoEntry],
    undisturbed: Sequence[Masklet],
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION")

    with pytest.raises(StorageError, match="AWS_REQUEST_CHECKSUM_CALCULATION=when_required"):
        run(entries, f"{s3_bucket}/one", config())
    chosen = config().model_copy(
        update={"storage": config().storage.model_copy(update={"checksums": "when_required"})}
    )
    run(entries, f"{s3_bucket}/two", chosen)

    assert rows(f"{s3_bucket}/two") == undisturbed


def test_a_wrong_secret_is_told_and_not_repeated(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")

    with pytest.raises(StorageError, match="secret key is wrong") as caught:
        storage.preflight(f"{s3_bucket}/out")

    assert "another-secret" not in str(caught.value)
