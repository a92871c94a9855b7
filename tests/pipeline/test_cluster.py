"""Joining a cluster that is not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from pipeline.cluster import ray_session
from pipeline.config import ConfigError
from pipeline.survey import survey
from tests.chaos.gateway import free_port


def test_a_cluster_that_does_not_answer_is_told_at_once(clip: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    words = ["--video", str(clip), "--point", "0:48,32,1", "--out", str(tmp_path / "out")]

    run = subprocess.run(
        [sys.executable, "-m", "jobs.run", *words],
        env=os.environ | {"RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert run.returncode == 2
    assert f"error: RAY_ADDRESS={address} cannot be joined" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_doctor_is_told_at_once_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")

    with pytest.raises(ConnectionError, match="nobody answers"):
        survey()


def test_what_ray_says_of_a_cluster_that_it_cannot_join_is_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**_: object) -> None:
        raise ConnectionError("Authentication token is missing\nand more")

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)

    with pytest.raises(ConfigError, match=r"auto cannot be joined: Auth.* missing\. .*TOKEN"):
        ray_session().__enter__()
