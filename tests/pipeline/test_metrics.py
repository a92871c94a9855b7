"""What Prometheus gets to read of a run, from Ray's own exporter."""

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest
import ray
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

from pipeline.account import FIGURES
from pipeline.metrics import Metrics

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

ROOT = Path(__file__).parents[2]
ENDINGS = {"counter": "_total", "gauge": "", "share": "_bucket"}  # Ray's and Prometheus's own


class Actor:
    """Records each figure once."""

    def record(self) -> None:
        metrics = Metrics("nano")
        for name in FIGURES:
            metrics(name, 0.5)


def exported_name(name: str) -> str:
    """What Ray makes of the name of a figure."""
    return f"ray_masklet_{name}{ENDINGS[FIGURES[name].kind]}"


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """The names that the exporter of this node gives, once an actor has recorded every figure."""
    actor = ray.remote(Actor).remote()
    ray.get(actor.record.remote())
    wanted = {exported_name(name) for name in FIGURES}
    end = time.monotonic() + 90
    while not wanted <= (names := scraped()):
        assert time.monotonic() < end, wanted - names
        time.sleep(1)
    return names


def scraped() -> set[str]:
    """The names that the exporter gives now."""
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    token = Path.home() / ".ray" / "auth_token"
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}
    request = urllib.request.Request(address, headers=headers)
    text = urllib.request.urlopen(request, timeout=30).read().decode()
    return set(re.findall(r"^(\w+)", text, re.MULTILINE))


def test_every_figure_reaches_prometheus_under_its_name(exported: set[str]) -> None:
    assert {exported_name(name) for name in FIGURES} <= exported


def test_the_dashboard_shows_every_figure_and_nothing_that_does_not_exist(
    exported: set[str],
) -> None:
    board = json.loads((ROOT / "configs" / "monitoring" / "grafana.json").read_text())
    asked = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    named = set(re.findall(r"ray_\w+", asked))

    # Ray exports the use of GPUs only where there are some.
    assert named - {f"ray_{name}" for name in METRICS_GAUGES} <= exported
    assert all(f"ray_masklet_{name}" in asked for name in FIGURES)


def test_the_dashboard_can_be_imported() -> None:
    board = json.loads((ROOT / "configs" / "monitoring" / "grafana.json").read_text())

    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__range"} == variables
