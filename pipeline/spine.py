"""The spine: a plan read, segmented by a pool of actors and written, by Ray Data."""

import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray
import torch
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.data.checkpoint import CheckpointConfig

from pipeline import storage
from pipeline.account import settle, take_up
from pipeline.banks import SavedBanks
from pipeline.careful import segment_carefully
from pipeline.cluster import ray_session, size_pool
from pipeline.commits import CHECKPOINT
from pipeline.config import RunConfig, StorageConfig
from pipeline.lease import Keeper
from pipeline.masklets import schema_of
from pipeline.metrics import Metrics
from pipeline.plan import Task
from pipeline.probe import probe_video
from pipeline.progress import Tally, shown
from pipeline.remote_ledger import RemoteBook, start_ledger, tally
from pipeline.segmenter import Segmenter
from pipeline.sink import MaskletSink, Output
from pipeline.video import VideoInfo
from pipeline.weights import open_model
from sam2.checkpoint import CheckpointError
from sam2.devices import resolve_device
from sam2.model import Sam2
from sam2.session_file import model_sha256

_log = logging.getLogger(__name__)
# Actors in a row that may fail to start, as long as no other does: trouble that passes must not end
# the run, and weights that no node can read should end it soon. A node that stays broken, and alone
# is free, ends it too.
_INIT_DEATHS = 10


def carry_out(
    tasks: Sequence[Task], done: Tally, keeper: Keeper, output: Output, config: RunConfig
) -> None:
    """Segments the tasks that have no row yet; `done` is what earlier drivers have done."""
    shards = len({task.shard for task in tasks})
    total = Tally(len(tasks), sum(task.n_frames for task in tasks))
    session = ray_session(storage.environment(config.storage))
    with session, DataContext.current(_context(output)):
        ledger = start_ledger(done)
        plan = ray.data.read_parquet(
            storage.join(output.folder, "tasks"), filesystem=output.fs, override_num_blocks=shards
        )
        masklets = segment(plan, config, output, ledger, shards)
        sink = MaskletSink(output, keeper.lease, keeper.folder, config.storage)
        with keeper.telling(lambda: tally(ledger)), shown(keeper.newest, total):
            masklets.write_datasink(sink)


def probe_on_cluster(uris: Sequence[str], settings: StorageConfig) -> list[VideoInfo | None]:
    """What each of these videos is, in their order, as found by all machines together."""

    def probed(row: dict[str, Any]) -> dict[str, Any]:
        info = probe_video(row["uri"])
        return {"place": row["place"], "info": asdict(info) if info else None}

    with ray_session(storage.environment(settings)):
        rows = [{"place": place, "uri": uri} for place, uri in enumerate(uris)]
        found = ray.data.from_items(rows).map(probed).take_all()
    by_place = {row["place"]: row["info"] for row in found}
    return [VideoInfo(**info) if (info := by_place[i]) else None for i in range(len(uris))]


def segment(
    tasks: Dataset,
    config: RunConfig,
    output: Output | None = None,
    ledger: Any = None,
    shards: int | None = None,
) -> Dataset:
    """Masklet rows for task rows (pipeline.plan.TASKS), one for one: the job without its ends.

    Long tracks are saved under `output` while they are under way. `shards` is how many blocks there
    are, if known: more actors would have nothing to do.
    """
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    pool = size_pool(config, resources, shards)
    # With GPUs, the public map_batches wants a batch size and then glues shards together until they
    # have that many rows; a batch has to be a shard, or the objects of a video would part company.
    return tasks.map_batches_internal(
        SegmentShard,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_args=(config, output, ledger or start_ledger(Tally())),
        compute=ActorPoolStrategy(min_size=pool.actors, max_size=pool.most),
        num_gpus=pool.gpus,
        num_cpus=pool.cpus,
    )


class SegmentShard:
    """A segmenter as Ray Data wants it: a table of tasks in, a table of masklets out."""

    def __init__(self, config: RunConfig, output: Output | None, ledger: Any) -> None:
        storage.use(config.storage)
        torch.set_num_threads(config.threads)
        # Else a compiler has a process for each core of the machine, in every actor on it.
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(config.threads))
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        self.metrics = Metrics(config.model)
        device = resolve_device(config.device)
        model, checkpoint_sha256 = open_model(
            config.model, config.checkpoint, device, config.precision
        )
        if output and checkpoint_sha256 != output.checkpoint_sha256:
            raise CheckpointError(
                f"the weights on {socket.gethostname()} are not those that the run began with: "
                f"{config.checkpoint or config.model} has the SHA-256 {checkpoint_sha256[:12]}… "
                f"there, and not {output.checkpoint_sha256[:12]}…"
            )
        if device == "cpu" and ray.get_runtime_context().get_accelerator_ids()["GPU"]:
            _log.warning("Ray gave this actor a GPU that torch does not see: it works on the CPU")
        self.book = RemoteBook(ledger, self.metrics)
        self.segmenter = Segmenter(
            model,
            checkpoint_sha256,
            config.max_batch,
            config.threads,
            config.cluster.open_videos,
            self._banks(output, model, config) if output else None,
            measure=self.metrics,
        )
        self.schema = schema_of(output.run_id if output else "")

    def __call__(self, shard: pa.Table) -> pa.Table:
        """One masklet row for each task row, in their order: Ray matches a retry by position."""
        tasks = [Task.from_row(row) for row in shard.to_pylist()]
        take_up(tasks)
        try:
            masklets = segment_carefully(tasks, self.segmenter, self.book)
        except RuntimeError as error:
            if not is_of_device(error):
                raise
            # What is wrong with the device outlasts the error, but seldom the process. Ray starts
            # another one and gives it this shard again; after sys.exit it would not.
            names = sorted({task.video_id for task in tasks})
            print(f"an actor ends, because its device failed on {names}: {error}", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)
        settle(masklets, self.metrics)
        return pa.Table.from_pylist([m.to_row() for m in masklets], schema=self.schema)

    def _banks(self, output: Output, model: Sam2, config: RunConfig) -> SavedBanks:
        # Devices of another kind round in another way: they begin anew.
        where = f"{config.precision} on {model.device.type}"
        owner = f"run {output.run_id}, model {model_sha256(model)}, {where}"
        every_s = config.cluster.save_every_s
        return SavedBanks(output.fs, output.folder, owner, every_s, self.book.forgive)


def is_of_device(error: RuntimeError) -> bool:
    """Whether a GPU is in trouble: its libraries say so in errors of no kind of their own."""
    named = ("CUDA error", "CUDA driver error", "[CUDA]", "cuDNN", "CUBLAS_STATUS")
    return isinstance(error, torch.AcceleratorError) or any(text in str(error) for text in named)


def _context(output: Output) -> DataContext:
    """Ray Data's settings for long work that must not be lost or done twice."""
    context = DataContext.get_current().copy()
    context.checkpoint_config = CheckpointConfig(
        id_column="task_id",
        checkpoint_path=storage.join(output.folder, CHECKPOINT),
        override_filesystem=output.fs,
        delete_checkpoint_on_success=False,  # or the next run would do everything again
    )
    context.use_datasource_v2 = False  # the new reader packs small files, so shards, into one task
    context.target_max_block_size = None  # one block per shard: written and committed as a whole
    context.max_consecutive_actor_init_deaths = _INIT_DEATHS
    context.execution_no_progress_timeout_s = -1  # a long video may be silent for an hour
    context.enable_progress_bars = False  # ours counts what users count
    return context
