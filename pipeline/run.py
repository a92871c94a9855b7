"""The job: a manifest planned, carried out and summed up; what an earlier run has done is kept."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pyarrow.fs import FileSystem

from pipeline import storage
from pipeline.bank_folder import forget_all_banks
from pipeline.commits import read_commits, reconcile
from pipeline.config import RunConfig
from pipeline.cost import TYPICAL, Cost
from pipeline.lease import Keeper, Lease, kept
from pipeline.manifest import VideoEntry
from pipeline.masklets import FAILED
from pipeline.plan import Task, make_plan, read_plan, write_plan
from pipeline.probe import probe_in_threads
from pipeline.progress import Tally
from pipeline.record import RunRecord
from pipeline.sink import Output
from pipeline.spine import carry_out, probe_on_cluster
from pipeline.weights import open_model

_MANY_VIDEOS = 500  # from here on a cluster probes them faster than this process
_USUAL_DEVICES = 4  # what a plan is made for where nothing is said


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended: rows by status, and what went wrong with those that failed."""

    run_id: str
    counts: Mapping[str, int]
    problems: Sequence[str]
    was_finished: bool = False  # before it was asked for again

    @property
    def rows(self) -> int:
        """Tasks that have a row."""
        return sum(count for name, count in self.counts.items() if name != "object_frames")

    @property
    def tally(self) -> Tally:
        """The same as progress."""
        return Tally(self.rows, self.counts.get("object_frames", 0))

    @property
    def failed(self) -> int:
        """Tasks without a masklet."""
        return sum(self.counts.get(status, 0) for status in FAILED)


def run(entries: Sequence[VideoEntry], out: str, config: RunConfig) -> Summary:
    """Labels the videos of a manifest, one masklet row per object under `out`.

    What an earlier, unfinished run of the same settings, manifest and model has done is kept, and a
    finished one is left as it is.
    Raises before anything is started: CheckpointError, ConfigError, PlanError, RecordError for an
    output of another run, StorageError, LeaseError where another driver works on it.
    """
    storage.use(config.storage)
    _, checkpoint_sha256 = open_model(config.model, config.checkpoint)
    asked = RunRecord.begin(config, entries, checkpoint_sha256)
    fs, folder = storage.reach(out)
    record = _earlier(asked, fs, folder)
    if record and record.finished:
        return replace(summarise(record, fs, folder), was_finished=True)
    planned = [] if record else plan_run(entries, config)  # wrong input is told before we write
    storage.preflight(out)
    with kept(Lease.take(fs, folder), fs, folder) as keeper:
        record = _earlier(asked, fs, folder)  # another driver may have come between
        if not record:
            record = asked
            write_plan(planned, fs, storage.join(folder, "tasks"))
            record.write(fs, folder)  # after the plan: where there is a record, the plan is whole
        summary = finish(record, keeper, fs, folder, config)
        if not record.finished:
            forget_all_banks(fs, folder)
            record.end(summary.counts, keeper.read().tracked).write(fs, folder)
    return summary


def plan_run(entries: Sequence[VideoEntry], config: RunConfig) -> list[Task]:
    """The tasks of a manifest in the order and the shards in which these settings do them."""
    on_cluster = partial(probe_on_cluster, settings=config.storage)
    probe = on_cluster if len(entries) > _MANY_VIDEOS else probe_in_threads
    cost = Cost.known(config.model, config.planned_device) or TYPICAL
    return make_plan(entries, probe, cost, config.cluster.actors or _USUAL_DEVICES)


def _earlier(asked: RunRecord, fs: FileSystem, folder: str) -> RunRecord | None:
    """The record of the same run, if it was begun before; raises RecordError if it was another."""
    record = RunRecord.read(fs, folder)
    if record:
        record.refuse_other(asked)
    return record


def finish(
    record: RunRecord, keeper: Keeper, fs: FileSystem, folder: str, config: RunConfig
) -> Summary:
    """Does all that is still to be done of a plan."""
    tasks = read_plan(fs, storage.join(folder, "tasks"))
    for trouble in reconcile(fs, folder, config.cluster.verify):
        print(f"{trouble}: its objects are tracked again", file=sys.stderr)
    done = summarise(record, fs, folder)
    if done.rows < len(tasks):
        tally = replace(done.tally, tracked=keeper.read().tracked)
        output = Output(fs, folder, record.run_id, record.checkpoint_sha256)
        carry_out(tasks, tally, keeper, output, config)
        done = summarise(record, fs, folder)
    if done.rows != len(tasks):
        raise RuntimeError(f"{folder} has {done.rows} rows for {len(tasks)} tasks: run it again")
    return done


def summarise(record: RunRecord, fs: FileSystem, folder: str) -> Summary:
    """What the rows written so far say of a run."""
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for commit in read_commits(fs, folder).values():
        counts.update(commit.counts)
        problems += commit.problems
    return Summary(record.run_id, counts, sorted(problems))
