"""The commands as a person meets them: messages and exit codes."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from pipeline import storage
from pipeline.config import StorageConfig
from sam2.checkpoint import load_model

runner = CliRunner()


def line(clip: Path, **change: object) -> str:
    prompts = [{"frame": 0, "points": [[20, 30]], "point_labels": [1]}]
    entry = {"video_id": "a", "uri": str(clip), "objects": [{"object_id": 1, "prompts": prompts}]}
    return json.dumps(entry | change)


@pytest.fixture
def manifest(clip: Path, tmp_path: Path) -> Path:
    file = tmp_path / "videos.jsonl"
    file.write_text(line(clip) + "\n")
    return file


def test_a_good_manifest_is_counted(manifest: Path) -> None:
    result = runner.invoke(app, ["validate", "--manifest", str(manifest)])

    assert result.exit_code == 0
    assert "1 videos, 1 objects" in result.output


def test_whoever_stops_a_run_is_told_that_it_can_go_on(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.run.run_pipeline", stopped)

    out = str(tmp_path / "out")
    result = runner.invoke(app, ["run", "--manifest", str(manifest), "--out", out])

    assert result.exit_code == 130
    assert "the same command goes on" in result.output


def test_every_mistake_in_a_manifest_comes_with_its_line(clip: Path, tmp_path: Path) -> None:
    file = tmp_path / "videos.jsonl"
    file.write_text("\n".join([line(clip, framse=[0, 4]), line(clip), "{"]))

    result = runner.invoke(app, ["validate", "--manifest", str(file)])

    assert result.exit_code == 2
    assert "line 1" in result.output
    assert "did you mean 'frames'" in result.output
    assert "line 3" in result.output


def test_all_mistakes_are_told_however_many(clip: Path, tmp_path: Path) -> None:
    file = tmp_path / "videos.jsonl"
    file.write_text("{\n" * 50)

    result = runner.invoke(app, ["validate", "--manifest", str(file)])

    assert result.exit_code == 2
    assert [f"line {number}:" in result.output for number in range(1, 51)] == [True] * 50


def test_a_manifest_that_a_run_would_refuse_is_not_called_good(clip: Path, tmp_path: Path) -> None:
    file = tmp_path / "videos.jsonl"
    file.write_text("\n".join([line(clip), line(clip, video_id="b", objects=None)]))

    result = runner.invoke(app, ["validate", "--manifest", str(file)])

    assert result.exit_code == 2
    assert "line 2: objects: give at least one with a prompt" in result.output


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_command_without_its_manifest_asks_for_it(command: str) -> None:
    result = runner.invoke(app, [command])

    assert result.exit_code == 2
    assert "--manifest" in result.output


def test_settings_of_storage_hold_in_every_command(
    clip: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.environ["AWS_ENDPOINT_URL"]
    there = ["--set", f"storage.endpoint={here}"]
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    storage.use(StorageConfig(endpoint=here))
    fs, path = storage.filesystem(f"{s3_bucket}/videos.jsonl")
    storage.put(fs, path, line(clip).encode())
    manifest = ["--manifest", f"{s3_bucket}/videos.jsonl"]
    commands = {
        "videos, 1 objects; nothing is wrong": ["validate", *manifest],
        "1 objects in 1 videos": ["plan", *manifest],
        "holds no run": ["status", f"{s3_bucket}/out"],
        "holds no run:": ["retry", f"{s3_bucket}/out"],
        "wrote, read, listed and deleted": ["doctor", "--out", f"{s3_bucket}/out"],
    }

    for told, command in commands.items():
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        result = runner.invoke(app, [*command, *there])
        assert told in " ".join(result.output.split()), (command, result.output)


def test_a_plan_shows_the_work_and_names_videos_that_cannot_be_read(
    clip: Path, tmp_path: Path
) -> None:
    file = tmp_path / "videos.jsonl"
    gone = line(clip, video_id="gone", uri=str(tmp_path / "gone.mp4"))
    file.write_text("\n".join([line(clip), gone]))

    result = runner.invoke(app, ["plan", "--manifest", str(file)])

    assert result.exit_code == 0
    assert "2 objects in 2 videos and 2 shards, at most 6 object-frames" in result.output
    assert "1 videos cannot be read and will fail: gone" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "either --manifest FILE or --video CLIP"),
        (["--manifest", "{manifest}", "--direction", "both"], "go with --video"),
        (["--video", "{clip}", "--box", "0:1,2,3,4", "--frames", "a:b"], "FIRST:STOP"),
        (["--manifest", "gone.jsonl"], "gone.jsonl"),
        (["--manifest", "{manifest}", "--model", "sam3"], "There is no model 'sam3'"),
        (["--manifest", "{manifest}", "--model", "sam2.1-tiny"], "needs its weights"),
        (["--manifest", "{manifest}", "--checkpoint", "gone.pt"], "There is no checkpoint gone.pt"),
        (["--manifest", "{manifest}", "--set", "actors=2"], "unknown key"),
        (["--manifest", "{manifest}", "--box", "0:1,2,3,4"], "go with --video"),
        (["--video", "{clip}", "--box", "0:1,2,3"], "FRAME:X1,Y1,X2,Y2"),
        (["--video", "{clip}", "--box", "0:1,2,3,4", "--direction", "up"], "forward, reverse"),
        (["--video", "{clip}"], "not discovered yet"),
        (["--video", "gone.mp4", "--box", "0:1,2,3,4"], "--video gone.mp4: no such file"),
        (["--video", "file:///gone.mp4", "--box", "0:1,2,3,4"], "file:///gone.mp4: no such"),
    ],
)
def test_wrong_input_is_told_before_anything_starts(
    options: list[str], message: str, manifest: Path, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    known = {"manifest": manifest, "clip": clip}
    given = [option.format(**known) for option in options]

    result = runner.invoke(app, ["run", "--out", str(out), *given])

    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not out.exists()


def test_a_checkpoint_of_another_size_is_refused_and_the_right_model_named(
    manifest: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    weights = tmp_path / "weights.safetensors"
    save_file(load_model("nano").state_dict(), weights)
    options = ["--manifest", str(manifest), "--model", "sam2.1-tiny", "--checkpoint", str(weights)]

    result = runner.invoke(app, ["run", "--out", str(tmp_path / "out"), *options])

    assert result.exit_code == 2
    assert "those of 'nano'" in result.output


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_one_clip_is_labelled_without_a_manifest(clip: Path, tmp_path: Path) -> None:
    marks = ["--box", "0:8,20,32,44", "--point", "2@3:50,30,1", "--frames", "0:5"]

    command = ["run", "--video", str(clip), *marks, "--out", str(tmp_path)]
    result, again = runner.invoke(app, command), runner.invoke(app, command)

    assert result.exit_code == again.exit_code == 0
    assert "2 ok; 7 object-frames" in result.output
    assert "nothing was left to do" not in result.output
    assert "nothing was left to do" in again.output
    assert "2 ok; 7 object-frames" in again.output


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_run_with_a_failed_object_ends_with_1_and_says_why(clip: Path, tmp_path: Path) -> None:
    marks = ["--box", "0:8,20,32,44", "--box", "99:8,20,32,44"]

    result = runner.invoke(app, ["run", "--video", str(clip), *marks, "--out", str(tmp_path)])

    assert result.exit_code == 1
    assert "1 failed, 1 ok" in result.output
    assert "frame 99 is outside" in " ".join(result.output.split())
