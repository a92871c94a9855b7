"""The checks before a run: what they find, and what they say to do."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pipeline.config import load_config
from pipeline.doctor import Cluster, answers_strangers, cluster, devices, examine, storage_at


@contextmanager
def dashboard(code: int) -> Iterator[str]:
    """A web server on this machine that answers everybody with one code."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def joined(dashboard: str) -> Cluster:
    return Cluster("10.0.0.1:6379", nodes=3, cpus=24, gpus=2, dashboard=dashboard)


def test_a_good_machine_passes_every_check(tmp_path: Path) -> None:
    findings = list(examine(load_config(), str(tmp_path / "out"), lambda: None))

    checks = [finding.check for finding in findings]
    assert checks == ["versions", "devices", "storage", "cluster", "decoding", "tracking"]
    assert all(finding.ok for finding in findings)
    assert "object-frames/s, nano on" in findings[-1].text


def test_a_place_that_cannot_be_written_is_told_with_what_to_do(s3_bucket: str) -> None:
    finding = storage_at(f"{s3_bucket}-that-is-not-there/out")

    assert not finding.ok
    assert "the bucket does not exist" in finding.text
    assert "--out" in finding.advice


def test_a_check_of_storage_leaves_nothing_behind_and_touches_nothing(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()

    assert storage_at(str(tmp_path / "new" / "out")).ok
    assert storage_at(str(there)).ok

    assert list(tmp_path.rglob("*")) == [there]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_wanted_but_not_there_is_told() -> None:
    assert devices().ok
    assert not devices("cuda").ok


@pytest.mark.parametrize(("code", "open_to_all"), [(200, True), (401, False), (403, False)])
def test_a_dashboard_is_open_if_it_answers_without_a_token(code: int, open_to_all: bool) -> None:
    with dashboard(code) as address:
        assert answers_strangers(address) == open_to_all


def test_an_open_cluster_is_a_danger_unless_only_this_machine_reaches_it() -> None:
    near, far = (
        cluster(lambda at=at: joined(at), is_open=lambda at: True)
        for at in ("127.0.0.1:8265", "10.0.0.1:8265")
    )

    assert near.ok
    assert not far.ok
    assert "RAY_AUTH_MODE=token" in near.advice
    assert "RAY_AUTH_MODE=token" in far.advice


def test_a_cluster_with_a_token_is_counted() -> None:
    with dashboard(401) as address:
        finding = cluster(lambda: joined(address))

    assert finding.ok
    assert not finding.advice
    assert "3 nodes, 24 CPUs, 2 GPUs; wants its token" in finding.text


def test_a_cluster_that_does_not_let_us_in_is_told() -> None:
    def refused() -> Cluster:
        raise RuntimeError("AuthenticationError: the token is wrong")

    finding = cluster(refused)

    assert not finding.ok
    assert "the token is wrong" in finding.text
    assert "RAY_AUTH_TOKEN" in finding.advice
