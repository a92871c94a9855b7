"""The training job on a real local cluster: a worker that dies costs nothing but time."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.config import ConfigError
from pipeline.train import train_model
from pipeline.training.config import Source, Stage, TrainConfig
from pipeline.training.fit import Note
from sam2.checkpoint import SHIPPED, load_model
from sam2.training.trainer import TrainingError

CONFIG = TrainConfig(
    stages=(
        Stage(steps=2, frames=1, clips=1, objects=1, prompts={"pixels": 1.0}),
        Stage(steps=2, frames=2, clips=1, objects=1),
    ),
    sources=(Source(synthetic="easy"),),
    validate_every=100,
    validation_clips=1,
    save_every=2,
)


def nothing(note: Note) -> None:
    """Hears a note."""


def kill_worker() -> None:
    """Kills the training worker of this process's own cluster."""
    (worker,) = (
        pid
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc")))
        if b"RayTrainWorker" in _read(pid, "cmdline") and os.getpid() in _ancestors(pid)
    )
    os.kill(worker, signal.SIGKILL)


def _ancestors(pid: int) -> set[int]:
    found = set()
    while pid > 1:
        pid = int(_read(pid, "stat").rpartition(b")")[2].split()[1])
        found.add(pid)
    return found


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b") x 0"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_worker_resumes_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_once(note: Note) -> None:
        if not killed and note["step"] >= 2:
            killed.append(note["step"])
            kill_worker()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.training.fit.NOTE_EVERY", 2)
        train_model(CONFIG, str(tmp_path / "quiet"), nothing)
        train_model(CONFIG, str(tmp_path / "killed"), kill_once)

    quiet, disturbed = (
        load_file(tmp_path / name / "nano.safetensors") for name in ("quiet", "killed")
    )
    assert killed
    assert all(torch.equal(value, disturbed[key]) for key, value in quiet.items())
    lines = (tmp_path / "killed" / "curves.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines][-1] == CONFIG.steps
    assert json.loads((tmp_path / "killed" / "train.json").read_text())["finished"]
    assert (tmp_path / "killed" / "curves.png").stat().st_size > 1000
    assert load_model("nano", tmp_path / "killed" / "nano.safetensors").config.name == "nano"

    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    train_model(CONFIG, str(tmp_path / "quiet"), nothing)  # finished: nothing is touched
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=r"other settings.*seed"):
        train_model(CONFIG.model_copy(update={"seed": 9}), str(tmp_path / "quiet"), nothing)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    wild = CONFIG.model_copy(update={"learning_rate": 1e30, "warmup": 1, "bfloat16": False})

    with pytest.raises(TrainingError, match=r"step \d.*the last checkpoint is good.*synthetic"):
        train_model(wild, str(tmp_path), nothing)

    assert not json.loads((tmp_path / "train.json").read_text())["finished"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_training_starts_from_weights_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(SHIPPED["nano"], tmp_path / "start.safetensors")
    monkeypatch.chdir(tmp_path)
    stage = Stage(steps=1, frames=1, clips=1, prompts={"click": 1.0})
    tuned = CONFIG.model_copy(update={"checkpoint": "start.safetensors", "stages": (stage,)})

    train_model(tuned, "out", nothing)

    assert (tmp_path / "out" / "nano.safetensors").is_file()
