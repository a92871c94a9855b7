"""A driver on a cluster of three nodes, one of which vanishes when the first rows are written."""

import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from pipeline.manifest import read_manifest
from pipeline.run import run
from tests.chaos.job import config


def main(manifest: str, out: str) -> None:
    """Runs the job and removes a node on which an actor is at work."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    workers = [cluster.add_node(num_cpus=2, num_gpus=1) for _ in range(2)]
    ray.init(address=cluster.address)

    def remove() -> None:
        while not list((Path(out) / "checkpoint").glob("*[!g].parquet")):
            time.sleep(0.05)
        cluster.remove_node(workers[1], allow_graceful=False)
        (Path(out) / "removed").touch()

    thread = threading.Thread(target=remove, daemon=True)
    thread.start()
    run(read_manifest(manifest), out, config(actors=2))
    thread.join()
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
