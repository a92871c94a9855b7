"""The files that start clusters: as their services want them, and closed to strangers."""

import json
import re
import subprocess
import sys
import tomllib
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from jobs.cli import app
from tests.configs.cluster_files import FOLDER, ROOT, commands, load, walk

LAUNCHERS = ["aws.yaml", "gcp.yaml"]
KUBERNETES = ["kuberay.yaml", "kueue.yaml"]


def ray_schema() -> dict[str, Any]:
    spec = find_spec("ray")
    assert spec
    assert spec.origin
    schema: dict[str, Any] = json.loads(
        (Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text()
    )
    return schema


def strict(schema: Any) -> Any:
    """A schema of Kubernetes as plain JSON Schema that refuses keys it does not know."""
    if isinstance(schema, list):
        return [strict(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(inner) for key, inner in schema.items()}
    if closed.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    if "properties" in closed and isinstance(schema["properties"], dict):
        closed.setdefault("additionalProperties", False)
    return closed


def faults(values: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """What breaks the schema; the schema itself is not checked, which takes seconds."""
    return [e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(values)]


@pytest.fixture(scope="session")
def rayjob_schema(shared: Path) -> dict[str, Any]:
    """What a RayJob may say, from KubeRay's own definition."""
    definition = json.loads((shared / "schemas" / "ray.io_rayjobs.json").read_text())
    (version,) = (v for v in definition["spec"]["versions"] if v["name"] == "v1")
    schema: dict[str, Any] = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


@pytest.mark.parametrize("name", LAUNCHERS)
def test_rays_launcher_takes_its_files(name: str) -> None:
    config = load(name)

    assert faults(config, ray_schema()) == []

    assert config["head_node_type"] in config["available_node_types"]
    for key in ("setup_commands", "head_setup_commands"):
        assert key in config, "left out, Ray's own would install another Ray"


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launched_cluster_wants_its_token_and_shows_nothing_outside(name: str) -> None:
    config = load(name)
    start = " ".join(config["head_start_ray_commands"])

    assert config["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert "--dashboard-host=127.0.0.1" in start
    assert "--autoscaling-config=" in start


@pytest.mark.parametrize("name", LAUNCHERS)
def test_gpu_workers_are_spot_machines_that_come_with_the_work(name: str) -> None:
    gpu = load(name)["available_node_types"]["gpu"]

    assert gpu["min_workers"] == 0
    assert gpu["max_workers"] > 1
    assert {"MarketType": "spot"} in [value for _, value in walk(gpu)] or {
        "provisioningModel": "SPOT"
    } in gpu["node_config"]["scheduling"]


@pytest.mark.parametrize("name", KUBERNETES)
def test_kuberay_takes_its_files(name: str, rayjob_schema: dict[str, Any]) -> None:
    assert faults(load(name), rayjob_schema) == []


def test_a_misspelt_key_of_a_rayjob_would_be_noticed(rayjob_schema: dict[str, Any]) -> None:
    job = load("kuberay.yaml")
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    group["maxReplica"] = group["maxReplicas"]

    (fault,) = faults(job, rayjob_schema)
    assert "maxReplica" in fault


def test_the_job_for_kueue_is_the_other_with_a_queue_and_a_fixed_size() -> None:
    expected = deepcopy(load("kuberay.yaml"))
    expected["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "gpu-spot"}
    expected["spec"]["suspend"] = True
    cluster = expected["spec"]["rayClusterSpec"]
    eight, four = "cluster.actors=8", "cluster.actors=4"
    expected["spec"]["entrypoint"] = expected["spec"]["entrypoint"].replace(eight, four)
    del cluster["enableInTreeAutoscaling"], cluster["autoscalerOptions"]
    cluster["workerGroupSpecs"][0] |= {"replicas": 4, "minReplicas": 4, "maxReplicas": 4}

    assert load("kueue.yaml") == expected


def test_skypilot_takes_its_file(shared: Path) -> None:
    schema = json.loads((shared / "schemas" / "skypilot-task.json").read_text())

    assert faults(load("skypilot.yaml"), schema) == []


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "kuberay.yaml", "kueue.yaml"])
def test_the_head_only_drives(name: str) -> None:
    config = load(name)

    if "available_node_types" in config:
        assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}
    else:
        head = config["spec"]["rayClusterSpec"]["headGroupSpec"]
        assert head["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_every_command_in_the_files_is_one_that_masklet_knows(file: Path) -> None:
    known = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    lines = commands(file)

    assert lines or file.name == "node.sh"
    for arguments in lines:
        known.make_context("run", arguments)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launched_run_works_on_the_cluster_that_was_started_for_it(name: str) -> None:
    """Without the address it would start a Ray of its own, on a head without a GPU."""
    assert "'RAY_ADDRESS=auto masklet run " in (FOLDER / name).read_text()


@pytest.mark.parametrize("name", [*LAUNCHERS, *KUBERNETES, "anyscale.yaml"])
def test_where_workers_come_later_the_run_says_how_many_it_waits_for(name: str) -> None:
    sizes = {"max_workers", "maxReplicas", "max_nodes"}
    most = max(value for key, value in walk(load(name)) if key in sizes)  # type: ignore[type-var]

    for arguments in commands(FOLDER / name):
        assert f"cluster.actors={most}" in arguments
        assert "cluster.gpus_per_actor=1" in arguments


def test_one_version_of_ray_stands_everywhere() -> None:
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)

    assert f"FROM rayproject/ray:{pinned}-py312-cpu" in (ROOT / "Dockerfile").read_text()
    for name in KUBERNETES:
        assert load(name)["spec"]["rayClusterSpec"]["rayVersion"] == pinned


def test_the_image_installs_what_the_project_depends_on() -> None:
    recipe = (ROOT / "Dockerfile").read_text()
    (program,) = re.findall(r'RUN python -c "(.+)"', recipe)

    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert said.stdout.splitlines() == project["dependencies"]


def test_the_image_is_closed_by_default() -> None:
    recipe = (ROOT / "Dockerfile").read_text()

    assert "RAY_AUTH_MODE=token" in recipe
    assert "USER root" not in recipe


# What is given to a name like this.
SECRET = re.compile(r"(?i)(?:password|secret|access_key|token)\w*[ =:]+[\"']?([\w+/-]{12,})")


def secrets(text: str) -> list[str]:
    """What looks like one: no variable, and no command that makes one."""
    return [value for value in SECRET.findall(text) if not re.fullmatch(r"[A-Z_]+", value)]


def test_a_secret_would_be_found() -> None:
    assert secrets("AWS_SECRET_ACCESS_KEY: wJalrXUtnFEMI/K7MDENG")
    assert secrets('export RAY_AUTH_TOKEN="0123456789abcdef"')
    assert not secrets('--secret RAY_AUTH_TOKEN="$(openssl rand -hex 32)"')


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_no_file_holds_a_secret(file: Path) -> None:
    assert secrets(file.read_text()) == []
