"""A run on a cluster that grows: it starts before its first worker is there, and uses the next."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import ray

from pipeline.masklets import read_masklets
from tests.chaos.gateway import free_port
from tests.chaos.job import job, write_manifest

pytestmark = pytest.mark.chaos

HOST = ray.util.get_node_ip_address()  # where the workers of this cluster look for its head
ROOT = Path(__file__).parents[2]
CLUSTER: dict[str, Any] = {
    "cluster_name": "grows",
    "max_workers": 2,
    "idle_timeout_minutes": 5,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,  # all nodes are this machine
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "auth": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 2, "GPU": 1}, "node_config": {}, "max_workers": 2},
    },
}


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """That of a cluster whose head has no GPU, and which starts up to two workers at need."""
    # As ray.cluster_utils.AutoscalingCluster does it, which would stop every other Ray here.
    folder, port = Path("/tmp") / f"masklet-grow-{os.getpid()}", free_port()
    folder.mkdir()
    provider = CLUSTER["provider"] | {"gcs_address": f"{HOST}:{port}"}
    config = tmp_path / "autoscaling.json"
    config.write_text(json.dumps(CLUSTER | {"provider": provider}))
    environment = os.environ | {
        "RAY_TMPDIR": str(folder),
        "RAY_ADDRESS": f"{HOST}:{port}",
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    start = ["ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
    where = [f"--node-ip-address={HOST}", f"--port={port}", "--include-dashboard=false"]
    more = ["--object-store-memory=100000000", f"--autoscaling-config={config}"]
    with (tmp_path / "head.log").open("wb") as log:
        words = [sys.executable, "-m", *start, *where, *more]
        head_node = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    yield environment
    head_node.send_signal(signal.SIGTERM)
    head_node.wait(timeout=60)
    with suppress(ProcessLookupError):
        os.killpg(head_node.pid, signal.SIGKILL)  # the workers outlive their head
    shutil.rmtree(folder, ignore_errors=True)


def ask(environment: dict[str, str], program: str) -> str:
    """What a program says on the cluster, once there is one."""
    words = [sys.executable, "-c", f"import ray; ray.init(logging_level='ERROR'); {program}"]
    for _ in range(30):
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
        time.sleep(1)
    raise AssertionError(done.stderr)


def test_a_run_grows_onto_the_nodes_that_join(environment: dict[str, str], tmp_path: Path) -> None:
    nodes = "print(sum('GPU' in node['Resources'] for node in ray.nodes()))"
    (tmp_path / "videos").mkdir()
    entries = job(tmp_path / "videos", videos=6, objects=2, n_frames=80)
    manifest = write_manifest(entries, tmp_path / "videos.jsonl")
    out = tmp_path / "out"
    assert ask(environment, nodes) == "0"

    settings = ["actors=1", "max_actors=2", "gpus_per_actor=1", "threads=1"]
    chosen = [word for setting in settings for word in ("--set", f"cluster.{setting}")]
    words = [sys.executable, "-m", "jobs.run", "--manifest", manifest, "--out", out, *chosen]
    subprocess.run(
        [*words, "--set", "device=cpu"], cwd=ROOT, env=environment, check=True, timeout=300
    )

    assert ask(environment, nodes) == "2"
    found = list(read_masklets(str(out)))
    assert len(found) == 12
    assert {row.status for row in found} == {"ok"}
