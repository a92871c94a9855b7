"""S3 that fails on purpose, through a proxy that drops, refuses and cuts requests."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest import VideoEntry
from pipeline.masklets import Masklet
from pipeline.run import run
from tests.chaos.gateway import free_port
from tests.chaos.job import config, job, rows, undisturbed_rows

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@dataclass(frozen=True)
class Proxy:
    """The proxy in front of the S3 server, and its knobs."""

    url: str

    def ask(self, path: str, data: object = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        with urllib.request.urlopen(f"{self.url}/__{path}__", body) as answer:
            return json.loads(answer.read())

    def puts(self) -> int:
        """Requests that write."""
        return sum(seen["method"] in ("PUT", "POST", "DELETE") for seen in self.ask("log"))


@pytest.fixture
def proxy(
    shared: Path, s3_endpoint: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Proxy]:
    port = free_port()
    tool = shared / "tools" / "s3_faults.py"
    upstream = s3_endpoint.removeprefix("http://")
    words = [sys.executable, str(tool), "--listen", str(port), "--upstream", upstream]
    process = subprocess.Popen(words)
    proxy = Proxy(f"http://127.0.0.1:{port}")
    for _ in range(200):
        try:
            proxy.ask("log")
            break
        except OSError:
            time.sleep(0.05)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    yield proxy
    process.kill()
    process.wait()


TROUBLE = {
    "requests dropped before and after they reach the server": [
        {"method": "PUT", "match": "masklets", "do": "drop_before", "times": 1},
        {"method": "PUT", "match": "masklets", "do": "drop_after", "times": 1},
        {"method": "PUT", "match": "commits", "do": "drop_after", "times": 1},
        {"method": "PUT", "match": "checkpoint", "do": "drop_after", "times": 1},
        {"method": "PUT", "match": "state", "do": "drop_before", "times": 2, "skip": 2},
        {"method": "PUT", "match": "lease/0", "do": "drop_after", "times": 1},
    ],
    "a server that is too busy and answers cut short": [
        {"method": "PUT", "match": "masklets|commits", "do": "status", "times": 8},
        {"method": "GET", "match": "tasks/", "do": "status", "times": 3},
        {"method": "GET", "match": "tasks/", "do": "truncate", "times": 1},
    ],
}


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[VideoEntry]:
    return job(tmp_path_factory.mktemp("videos"), objects=2)


@pytest.fixture(scope="module")
def undisturbed(
    entries: Sequence[VideoEntry], tmp_path_factory: pytest.TempPathFactory
) -> list[Masklet]:
    return undisturbed_rows(entries, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_with_storage_changes_no_row_and_a_finished_run_writes_nothing(
    trouble: str,
    entries: Sequence[VideoEntry],
    undisturbed: Sequence[Masklet],
    proxy: Proxy,
    s3_bucket: str,
) -> None:
    proxy.ask("faults", TROUBLE[trouble])

    run(entries, f"{s3_bucket}/out", config())

    assert all(rule.get("fired") for rule in proxy.ask("faults"))
    assert rows(f"{s3_bucket}/out") == undisturbed
    proxy.ask("clear")
    run(entries, f"{s3_bucket}/out", config())
    assert proxy.puts() == 0
