"""The training job: workers that Ray Train starts, restarts and keeps in step."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
import torch
from ray import train
from ray.train.torch import TorchTrainer, get_device, prepare_model

from pipeline.cluster import ray_session
from pipeline.training.config import TrainConfig
from pipeline.training.fit import Curriculum, Fit, Note
from pipeline.training.labelled import SourceError
from pipeline.training.record import TrainRecord, publish, starting_model
from sam2.training.trainer import Teacher, Trainer, TrainingError

_STATE = "state.pt"
_RETRIES = 3  # after workers that die; a loss that is no number is no such case
_POLL = 2.0  # seconds between two looks at the board


def train_model(config: TrainConfig, out: str, tell: Callable[[Note], None]) -> None:
    """Trains under `out`: checkpoints on the way, weights and curves at each of them.

    What an earlier, unfinished training of the same settings did is kept, and a finished one is
    left as it is. `tell` hears every new point of the curves.
    Raises TrainingError, SourceError or CheckpointError before anything is overwritten.
    """
    size = starting_model(config).config.image_size
    Curriculum(config, size).open_sources()  # wrong weights and clips are told before Ray starts
    record = TrainRecord.open(config, out)
    if record.finished:
        return
    workers = config.workers
    with ray_session():
        board: Any = ray.remote(_Board).options(num_cpus=0).remote()
        trainer = TorchTrainer(
            _work,
            train_loop_config={"config": config, "out": out, "board": board, "home": os.getcwd()},
            scaling_config=train.ScalingConfig(
                num_workers=workers.count,
                use_gpu=workers.gpus > 0,
                resources_per_worker={"CPU": workers.threads, "GPU": workers.gpus},
            ),
            run_config=train.RunConfig(
                name="checkpoints",
                storage_path=out if "://" in out else str(Path(out).absolute()),
                failure_config=train.FailureConfig(max_failures=_RETRIES),
                checkpoint_config=train.CheckpointConfig(num_to_keep=2),
            ),
        )
        with _told(board, tell):
            try:
                trainer.fit()
            except train.TrainingFailedError as error:
                broken = ray.get(board.broken.remote())
                raise TrainingError(f"{out}: {broken or _reason(error)}") from error
        if broken := ray.get(board.broken.remote()):
            raise TrainingError(f"{out}: {broken}")
    record.end(out)


def _work(settings: Mapping[str, Any]) -> None:
    """What each worker does."""
    config: TrainConfig = settings["config"]
    if Path(settings["home"]).is_dir():  # Ray Train puts workers elsewhere; paths may be relative
        os.chdir(settings["home"])
    rank = train.get_context().get_world_rank()
    device = get_device()
    torch.set_num_threads(config.workers.threads)
    model = starting_model(config).to(device)
    # Not every lesson has a use for every weight.
    teacher = prepare_model(
        Teacher(model), parallel_strategy_kwargs={"find_unused_parameters": True}
    )
    curriculum = Curriculum(config, model.config.image_size, rank, str(device))
    fit = Fit(config, Trainer(model, config.recipe, teacher), curriculum)
    if checkpoint := train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            fit.restore(torch.load(Path(folder) / _STATE, map_location=device, weights_only=True))
    board = settings["board"]
    try:
        if rank == 0:
            fit.run(partial(_save, out=settings["out"]), board.write.remote)
            publish(fit, settings["out"])  # again, for whoever was restarted after the last step
        else:
            fit.run(lambda fit: train.report({}), lambda note: None)
    except (TrainingError, SourceError) as error:  # to try again would not help
        ray.get(board.breaks.remote(str(error)))
        if isinstance(error, SourceError) and config.workers.count > 1:
            raise  # or the others, who have no such clip, would wait for this worker's gradients


def _save(fit: Fit, out: str) -> None:
    """Gives Ray Train a checkpoint, and the world the weights and the curves so far."""
    with TemporaryDirectory(prefix="masklet-") as folder:
        torch.save(fit.state(), Path(folder) / _STATE)
        last = fit.curves[-1] if fit.curves else {}
        train.report(last, checkpoint=train.Checkpoint.from_directory(folder))
    publish(fit, out)


class _Board:
    """Where the first worker writes its notes; lives in an actor of its own."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.reason = ""

    def write(self, note: Note) -> None:
        self.notes.append(note)

    def read(self) -> list[Note]:
        """The notes since the last time."""
        notes, self.notes = self.notes, []
        return notes

    def breaks(self, reason: str) -> None:
        self.reason = reason

    def broken(self) -> str:
        """Why the training cannot go on, if so."""
        return self.reason


@contextmanager
def _told(board: Any, tell: Callable[[Note], None]) -> Iterator[None]:
    """Passes on what comes to the board as long as the block lasts."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL):
            for note in ray.get(board.read.remote()):
                tell(note)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for note in ray.get(board.read.remote()):
            tell(note)


def _reason(error: BaseException) -> str:
    """The last line of what a worker died of: Ray wraps it in traces of its own."""
    return str(error).strip().splitlines()[-1]
