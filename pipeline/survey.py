"""The Ray cluster that a run would work on, as one that joins it sees it."""

import logging
import os
from collections.abc import Mapping

import ray

from pipeline.cluster import join
from pipeline.doctor import Cluster


def survey() -> Cluster | None:
    """Joins the cluster that RAY_ADDRESS names and looks round; None if it names none.

    Raises ConnectionError, RuntimeError or ValueError where it cannot be joined.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        return None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    context = join(address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        return Cluster(
            address=address,
            nodes=len(nodes),
            cpus=resources.get("CPU", 0.0),
            gpus=resources.get("GPU", 0.0),
            dashboard=context.dashboard_url or "",
        )
    finally:
        ray.shutdown()
