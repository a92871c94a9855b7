"""Who may import whom: sam2 knows nobody here, pipeline knows sam2, jobs know both."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The files of pipeline/ that may import Ray; keep this list short.
RAY_FILES = {
    "cluster.py",
    "metrics.py",
    "remote_ledger.py",
    "sink.py",
    "spine.py",
    "survey.py",
    "train.py",
}
OURS = {"sam2", "pipeline", "jobs", "bench", "examples"}
AV_FILES = {"video_file.py"}  # the one of sam2/ that reads video files; docs/decisions says why


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(source: Path) -> Iterator[str]:
    """The top-level packages a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(source.read_text(), str(source))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def trespasses(package: str, forbidden: set[str]) -> dict[str, set[str]]:
    """Each file that imports something it must not know, and what."""
    found = {file: forbidden & {*imported(file)} for file in sources(package)}
    return {str(f.relative_to(ROOT / package)): names for f, names in found.items() if names}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("sam2", {"pipeline", "jobs", "ray", "pyarrow"}),
        ("pipeline", {"jobs"}),
    ],
)
def test_a_layer_knows_only_those_below_it(package: str, forbidden: set[str]) -> None:
    assert trespasses(package, forbidden) == {}


def test_in_the_pipeline_only_a_few_files_know_ray() -> None:
    assert set(trespasses("pipeline", {"ray"})) <= RAY_FILES


def test_in_sam2_one_file_knows_video_files() -> None:
    assert set(trespasses("sam2", {"av"})) <= AV_FILES


def test_on_a_bare_gpu_machine_the_model_and_its_benchmarks_need_torch_alone() -> None:
    absent = "import sys; sys.modules |= dict.fromkeys(('ray', 'av', 'pyarrow', 'fsspec')); "
    wanted = "import sam2.engine, sam2.sam2_video_predictor, bench.gpu, bench.speed"

    done = subprocess.run([sys.executable, "-c", absent + wanted], cwd=ROOT, check=False)

    assert done.returncode == 0


def test_processes_without_a_model_start_without_torch() -> None:
    wanted = "import sys, pipeline, pipeline.sink, pipeline.remote_ledger, pipeline.any_video; "
    asked = "sys.exit('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", wanted + asked], cwd=ROOT, check=False)

    assert done.returncode == 0


@pytest.mark.parametrize(
    "file", sorted([*(ROOT / "bench").glob("*.py"), *(ROOT / "examples").glob("*.py")]), ids=str
)
def test_what_benchmarks_and_examples_import_of_us_is_there(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            module = importlib.import_module(str(node.module))
            assert [n.name for n in node.names if not hasattr(module, n.name)] == []


def test_an_import_inside_a_function_is_seen_too(tmp_path: Path) -> None:
    source = tmp_path / "late.py"
    source.write_text("def f():\n    from ray.data import Dataset\n    import av.video, os\n")

    assert set(imported(source)) == {"ray", "av", "os"}
