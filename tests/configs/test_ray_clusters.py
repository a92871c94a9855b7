"""A cluster of real Ray processes on this machine: jobs with and without the token."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.masklets import read_masklets
from tests.configs.cluster_files import FOLDER, ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOKEN = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Shell:
    """How processes of a cluster of our own are started, apart from every other Ray here."""

    environment: dict[str, str]
    folder: Path
    port: int

    def start(self, name: str, *command: str | Path, **more: str) -> subprocess.Popen[bytes]:
        """Starts a program; what it says goes to a log."""
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=self.environment | more, stdout=log, stderr=log
            )

    def run(self, *command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    @property
    def address(self) -> str:
        """Where the head answers."""
        return f"127.0.0.1:{self.port}"


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """An environment whose Ray has a folder, a port and a token of its own."""
    folder = Path("/tmp") / f"masklet-ray-{os.getpid()}"  # short, for Ray puts sockets into it
    programs = folder / "bin"
    programs.mkdir(parents=True)
    ray = programs / "ray"
    ray.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ray.scripts.scripts "$@"\n')
    ray.chmod(0o755)
    port, dashboard = free_ports(2)
    known = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    ours = {
        "PATH": f"{programs}:{known['PATH']}",
        "RAY_TMPDIR": str(folder),
        "RAY_PORT": str(port),
        "RAY_DASHBOARD_PORT": str(dashboard),
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    yield Shell(known | ours, folder, port)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ended(*processes: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends the processes with the block, the later ones first."""
    try:
        yield
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(timeout=60)


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something has become true within a time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


@dataclass(frozen=True)
class Pair:
    """A cluster of two nodes, whose command runs for as long as a file is there."""

    head: subprocess.Popen[bytes]
    other: subprocess.Popen[bytes]
    goes_on: Path


@pytest.fixture(scope="module")
def pair(shell: Shell) -> Iterator[Pair]:
    """Two machines' parts of a cluster, played by this one."""
    goes_on = shell.folder / "goes-on"
    goes_on.touch()
    script = FOLDER / "node.sh"
    wait = f'touch "{goes_on}.started"; while [ -e "{goes_on}" ]; do sleep 0.2; done; exit 3'
    other = shell.start("other", script, "1", "127.0.0.1", "unused")
    head = shell.start("head", script, "0", "127.0.0.1", "sh", "-c", wait)
    with ended(head, other):
        assert until(Path(f"{goes_on}.started").exists, 120), (
            shell.folder / "head.log"
        ).read_text()
        yield Pair(head, other, goes_on)


def dashboard(shell: Shell) -> str:
    """The address of the head's dashboard."""
    program = "import ray; print(ray.init(logging_level='ERROR').dashboard_url)"
    for _ in range(10):
        found = shell.run(sys.executable, "-c", program, RAY_ADDRESS=shell.address)
        assert found.returncode == 0, found.stderr
        url = found.stdout.split()[-1]
        if url != "None":  # it starts after the node does
            return f"http://{url}"
    raise AssertionError("the head has no dashboard")


@pytest.mark.usefixtures("pair")
def test_a_job_is_taken_with_the_token_and_labels_a_clip(
    shell: Shell, clip: Path, tmp_path: Path
) -> None:
    job = [sys.executable, "-m", "jobs.run", "--video", clip, "--box", "0:8,20,32,44"]
    here = ["--set", "cluster.actors=1", "--set", "cluster.threads=1", "--out", tmp_path]

    submit = ["ray", "job", "submit", "--address", shell.address, "--", *job, *here]
    done = shell.run(*submit)
    for _ in range(30):  # the agent that takes jobs starts after the node does
        if "No available agent" not in done.stdout + done.stderr:
            break
        time.sleep(2)
        done = shell.run(*submit)

    assert done.returncode == 0, done.stdout + done.stderr
    (masklet,) = read_masklets(str(tmp_path))
    assert masklet.status == "ok"


@pytest.mark.usefixtures("pair")
def test_settings_of_storage_reach_the_workers_of_a_cluster_that_runs(shell: Shell) -> None:
    program = """
import os, ray
from pipeline.cluster import ray_session
with ray_session({"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}):
    names = ("AWS_REQUEST_CHECKSUM_CALCULATION", "MALLOC_ARENA_MAX")
    ask = ray.remote(lambda: [os.environ[name] for name in names])
    print(*ray.get(ask.remote()))
"""

    done = shell.run(sys.executable, "-c", program, RAY_ADDRESS=shell.address)

    assert done.stdout.split() == ["when_required", "1"], done.stderr  # and one heap each


@pytest.mark.usefixtures("pair")
def test_a_stranger_without_the_token_is_turned_away(shell: Shell) -> None:
    url = dashboard(shell)
    job = json.dumps({"entrypoint": "id"}).encode()

    assert url.startswith("http://127.0.0.1:")
    for path, body in (("/api/version", None), ("/api/jobs/", job), ("/metrics", None)):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{url}{path}", data=body, timeout=30)
        assert refusal.value.code == 401, path


def test_the_cluster_ends_with_its_command_and_its_code(pair: Pair) -> None:
    pair.goes_on.unlink()

    assert pair.head.wait(timeout=60) == 3
    assert pair.other.wait(timeout=60) == 0
