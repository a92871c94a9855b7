"""The command `evaluate` as a person meets it: files, messages and exit codes."""

import json
from pathlib import Path

import pytest
from PIL import Image

from jobs import evaluate as job
from jobs import options
from tests.pipeline.evaluation.data import moving, write_masks


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Two sequences, and predictions that miss object 2 of `dog`."""
    for name, ids in (("cat", [1]), ("dog", [1, 2])):
        write_masks(tmp_path / "truth" / name, moving(ids, 5))
        write_masks(tmp_path / "masks" / name, moving([1], 5))
    return tmp_path / "truth"


def evaluate(truth: Path, *more: str | Path) -> int:
    return options.main(job.evaluate, ["--truth", str(truth), "--rules", "davis", *map(str, more)])


def test_scores_of_masks_are_shown_and_written(
    truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks, file = truth.parent / "masks", truth.parent / "new/scores.json"
    picture = truth.parent / "new/scores.png"

    code = evaluate(truth, "--predictions", masks, "--json", file, "--plot", picture)

    assert code == 0
    assert "dog/2" in capsys.readouterr().out
    scores = json.loads(file.read_text())
    assert scores["objects"]["cat/1"] == {"J": 1.0, "F": 1.0, "J&F": 1.0}
    assert scores["objects"]["dog/2"] == {"J": 0.0, "F": 0.0, "J&F": 0.0}
    assert scores["sequences"]["dog"]["J&F"] == 0.5
    assert scores["mean"]["J"] == pytest.approx(2 / 3)
    with Image.open(picture) as opened:
        assert opened.format == "PNG"


def test_only_the_sequences_of_a_list_are_scored(truth: Path) -> None:
    chosen, file = truth.parent / "val.txt", truth.parent / "scores.json"
    chosen.write_text("cat\n")

    code = evaluate(
        truth, "--predictions", truth.parent / "masks", "--sequences", chosen, "--json", file
    )

    assert code == 0
    assert list(json.loads(file.read_text())["objects"]) == ["cat/1"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give either --predictions DIR, or --frames DIR and --out URI"),
        (["--predictions", "{masks}", "--frames", "{masks}"], "give either"),
        (["--predictions", "{masks}", "--model", "nano"], "give either"),
        (["--frames", "{masks}"], "give either"),
        (["--predictions", "nowhere"], "nowhere: there is no such folder"),
        (["--predictions", "{masks}", "--rules", "vos"], "--rules is davis or sav, not 'vos'"),
        (["--predictions", "{masks}", "--sequences", "none.txt"], "none.txt cannot be read"),
        (["--predictions", "{masks}", "--json", "{masks}/cat"], "the scores cannot be written"),
        (["--frames", "{masks}", "--out", "{out}", "--set", "modle=nano"], "did you mean 'model'"),
        (["--frames", "{masks}", "--out", "{out}", "--model", "huge"], "no model 'huge'"),
        (["--frames", "nowhere", "--out", "{out}"], "nowhere: there is no such folder"),
    ],
)
def test_wrong_input_is_told_and_nothing_is_started(
    truth: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    places = {"masks": str(truth.parent / "masks"), "out": str(truth.parent / "out")}

    code = evaluate(truth, *(flag.format(**places) for flag in flags))

    assert code == 2
    assert message in capsys.readouterr().err
    assert not (truth.parent / "out").exists()


def test_a_missing_flag_is_wrong_input(truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert options.main(job.evaluate, ["--truth", str(truth)]) == 2
    assert "--rules" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_tracking_from_the_first_masks_ends_in_scores(truth: Path) -> None:
    data, out, file = truth.parent / "data", truth.parent / "out", truth.parent / "scores.json"
    write_masks(data / "Annotations/dog", moving([1], 4))
    (data / "JPEGImages/dog").mkdir(parents=True)
    for name, labels in moving([1], 4).items():
        Image.fromarray(labels * 200).save(data / "JPEGImages/dog" / name.replace("png", "jpg"))
    flags = ["--frames", data, "--model", "nano", "--out", out, "--json", file]
    settings = ["--set", "cluster.actors=1", "--set", "cluster.threads=1"]

    assert evaluate(data, *flags, *settings) == 0

    assert list(json.loads(file.read_text())["objects"]) == ["dog/1"]
    assert len(list((out / "predictions/dog").iterdir())) == 4
    assert (out / "run.json").is_file()
