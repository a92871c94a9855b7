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
from pipeline.training.fit import Curriculum, Fit, Note
from pipeline.training.record import publish, starting_model
from sam2.checkpoint import SHIPPED, load_model
from sam2.training.trainer import Trainer, TrainingError

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


def train_here(config: TrainConfig, out: Path) -> None:
    """The same training in this process, without Ray."""
    before = torch.get_num_threads()
    torch.set_num_threads(config.workers.threads)
    try:
        model = starting_model(config)
        curriculum = Curriculum(config, model.config.image_size)
        fit = Fit(config, Trainer(model, config.recipe), curriculum)
        fit.run(lambda fit: publish(fit, str(out)), nothing)
    finally:
        torch.set_num_threads(before)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_worker_resumes_and_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []

    def kill_once(note: Note) -> None:
        if not killed and note["step"] >= 2:
            killed.append(note["step"])
            kill_worker()

    shutil.copy(SHIPPED["nano"], tmp_path / "start.safetensors")
    monkeypatch.chdir(tmp_path)  # the worker has to find the weights from here
    monkeypatch.setattr("pipeline.training.fit.NOTE_EVERY", 2)
    config = CONFIG.model_copy(update={"checkpoint": "start.safetensors"})

    train_model(config, "killed", kill_once)
    train_here(config, tmp_path / "quiet")

    quiet, disturbed = (load_file(f"{name}/nano.safetensors") for name in ("quiet", "killed"))
    assert killed
    assert all(torch.equal(value, disturbed[key]) for key, value in quiet.items())
    lines = Path("killed/curves.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines][-1] == CONFIG.steps
    assert json.loads(Path("killed/train.json").read_text())["finished"]
    assert Path("killed/curves.png").stat().st_size > 1000
    assert load_model("nano", Path("killed/nano.safetensors")).config.name == "nano"

    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    train_model(config, "killed", nothing)  # finished: nothing is touched
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=r"other settings.*seed"):
        train_model(config.model_copy(update={"seed": 9}), "killed", nothing)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    wild = CONFIG.model_copy(update={"learning_rate": 1e30, "warmup": 1, "bfloat16": False})

    with pytest.raises(TrainingError, match=r"step \d.*the last checkpoint is good.*synthetic"):
        train_model(wild, str(tmp_path), nothing)

    assert not json.loads((tmp_path / "train.json").read_text())["finished"]
