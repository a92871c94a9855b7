"""The Ray cluster that a run works on: joined or started, and how its devices are shared out."""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from pipeline.config import ConfigError, RunConfig, cores

# CPUs that Ray Data needs beside our actors, or a resumed run waits for ever: one for the actor
# that leaves out what is done, one for the tasks that read the plan and write the rows.
_DATA_CPUS = 2
# One heap for all threads of a worker: of many, what one thread takes and another gives back lies
# about, and a long run slowly grows. glibc reads this when a process starts.
ONE_HEAP: Mapping[str, str] = {"MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True, slots=True)
class Pool:
    """How many actors there are, and what each may use."""

    actors: int
    most: int  # actors, once more nodes have joined
    gpus: float
    cpus: float


def size_pool(config: RunConfig, resources: Mapping[str, float], shards: int | None = None) -> Pool:
    """One actor per GPU, or per share of the CPUs where there is none; some CPUs stay free."""
    cluster = config.cluster
    cpus, gpus = resources.get("CPU", 1), resources.get("GPU", 0)
    per_actor = cluster.gpus_per_actor if cluster.gpus_per_actor is not None else min(gpus, 1)
    free = max(cpus - _DATA_CPUS, 0)
    fitting = _shares(gpus, per_actor) if per_actor else free // config.threads
    actors = cluster.actors or max(int(fitting), 1)
    actors = min(actors, shards or actors)
    wanted = cluster.max_actors or actors
    most = max(actors, min(wanted, shards or wanted))
    return Pool(actors, most, per_actor, min(config.threads, free / actors))


def _shares(gpus: float, share: float) -> int:
    """Actors that find room on so many GPUs; no share lies on two of them."""
    almost = 1e-9  # five fifths are one
    return int(gpus) * int(1 / share + almost) if share < 1 else int(gpus / share + almost)


@contextmanager
def ray_session(environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """A Ray cluster: the one this program is part of or RAY_ADDRESS names, or one of our own.

    Workers of a cluster that is joined have this environment: set later, it would miss the clients
    that tasks bring along. Those of our own have this process's.
    Raises ConfigError where RAY_ADDRESS names a cluster that cannot be joined.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its warnings are about our settings
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address := os.environ.get("RAY_ADDRESS"):
        _join_named(address, {**ONE_HEAP, **(environment or {})})
    else:
        _start_own()
    try:
        yield
    finally:
        ray.shutdown()


def _join_named(address: str, environment: Mapping[str, str]) -> None:
    try:
        join(address, logging_level=logging.WARNING, runtime_env={"env_vars": environment})
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"RAY_ADDRESS={address} cannot be joined: {str(error).splitlines()[0]}. Check it, "
            "and RAY_AUTH_MODE=token with the cluster's RAY_AUTH_TOKEN; or unset it, and a "
            "run starts a cluster of its own here"
        ) from error


def _start_own() -> None:
    # Ray's core complains of how Ray Data starts its actors; its logs keep what matters.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for name, value in ONE_HEAP.items():
        os.environ.setdefault(name, value)
    ray.init(
        "local",  # not one that somebody has started here for something else
        num_cpus=cores() + _DATA_CPUS,  # those two have little to do
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",  # nothing outside this machine may reach it
    )


def join(address: str, **how: Any) -> Any:
    """Joins the cluster that RAY_ADDRESS names; gives what `ray.init` gives.

    Raises ConnectionError at once where nobody answers, for Ray would try for a quarter of an hour;
    else what Ray says of it, a ConnectionError, RuntimeError or ValueError.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:  # not `auto`, or what else Ray can resolve
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except OSError as error:
            raise ConnectionError(f"nobody answers at {address} ({error})") from error
    return ray.init(**how)
