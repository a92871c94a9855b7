"""Checkpoints: what is read, what is refused and why, and that no file runs code."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from sam2.checkpoint import (
    SHIPPED,
    CheckpointError,
    checkpoint_sha256,
    load_model,
    load_weights,
    read_weights,
)
from sam2.config import MODELS, UnknownModelError, model_config
from sam2.model import Sam2
from tests.sam2.tiny import TINY, features_of, pictures, tiny_model, weights

PUBLISHED = [name for name in MODELS if name != "nano"]


def saved(folder: Path, state: object, name: str = "model.pt") -> Path:
    path = folder / name
    torch.save(state, path)
    return path


def reading(path: Path) -> str:
    """What is said of a checkpoint that is refused."""
    with pytest.raises(CheckpointError) as caught:
        load_weights(Sam2(TINY), path)
    return str(caught.value)


# ---- what is read


@pytest.mark.parametrize(
    "save",
    [
        pytest.param(lambda state, path: torch.save({"model": state}, path), id="published"),
        pytest.param(lambda state, path: torch.save(state, path), id="bare"),
        pytest.param(
            lambda state, path: torch.save(
                {"model": state}, path, _use_new_zipfile_serialization=False
            ),
            id="old format",
        ),
        pytest.param(
            lambda state, path: save_file(state, path.with_suffix(".safetensors")), id="safetensors"
        ),
    ],
)
def test_every_format_gives_the_same_model(
    tmp_path: Path, save: Callable[[dict[str, Tensor], Path], None]
) -> None:
    save(weights(), tmp_path / "model.pt")
    (path,) = tmp_path.iterdir()
    model = Sam2(TINY).eval()

    load_weights(model, path)

    with torch.inference_mode():
        ours, wanted = (features_of(m, pictures(1)) for m in (model, tiny_model()))
    assert torch.equal(ours.image, wanted.image)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in weights().items())


def test_weights_saved_from_a_model_come_back(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": load_model("nano").state_dict()})

    again = load_model("nano", path)

    assert not again.training
    for key, value in load_model("nano").state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_without_a_checkpoint_the_weights_are_always_the_same_and_chance_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)

    one, other = load_model("sam2.1-tiny"), load_model("sam2.1-tiny")

    assert torch.equal(torch.rand(3), expected)
    for key, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def test_a_checkpoint_is_known_by_its_sha_256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")

    assert checkpoint_sha256(path).startswith("ba7816bf8f01cfea414140de5dae2223")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_size_has_the_keys_and_shapes_of_its_checkpoint(
    shared: Path, name: str
) -> None:
    file = name.replace("-", "_hiera_", 1).replace("-", "_") + ".json"
    published = json.loads((shared / "golden" / "keys" / file).read_text())

    with torch.device("meta"):
        ours = Sam2(model_config(name)).state_dict()

    assert {key: list(value.shape) for key, value in ours.items()} == published


# ---- what does not fit


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    state = weights()
    del state["no_obj_ptr"]

    message = reading(saved(tmp_path, {"model": state}))

    assert "1 weights are missing, 0 are unknown" in message
    assert "first: no_obj_ptr" in message
    assert "not a 'tiny' checkpoint" in message


def test_an_unknown_weight_is_named(tmp_path: Path) -> None:
    message = reading(saved(tmp_path, {"model": weights() | {"surprise": torch.zeros(1)}}))

    assert "0 weights are missing, 1 are unknown" in message
    assert "first: surprise" in message


def test_a_weight_of_another_shape_is_named(tmp_path: Path) -> None:
    message = reading(saved(tmp_path, {"model": weights() | {"no_obj_ptr": torch.zeros(1, 33)}}))

    assert "1 have another shape (first: no_obj_ptr)" in message


def test_nano_comes_with_weights_that_need_no_download_and_take_little_room() -> None:
    shipped = read_weights(SHIPPED["nano"])

    assert SHIPPED["nano"].stat().st_size < 10e6
    assert sum(value.numel() for value in shipped.values()) < 5e6
    for key, value in load_model("nano").state_dict().items():
        assert torch.equal(value, shipped[key].float()), key


@pytest.mark.parametrize("name", ["nano", "sam2-tiny", "sam2.1-base-plus"])
def test_weights_of_another_size_are_recognised(tmp_path: Path, name: str) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Sam2(model_config(name)).state_dict().items()}
    hollow = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}

    message = reading(saved(tmp_path, {"model": hollow}))

    assert f"weights are those of '{name}'" in message


def test_a_model_that_does_not_fit_is_left_as_it_was(tmp_path: Path) -> None:
    model = load_model("nano")
    before = {key: value.clone() for key, value in model.state_dict().items()}

    with pytest.raises(CheckpointError):
        load_weights(model, saved(tmp_path, {"model": weights()}))

    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(tmp_path: Path, value: float) -> None:
    state = weights()
    state["no_obj_ptr"][0, 5] = value

    message = reading(saved(tmp_path, {"model": state}))

    assert "damaged: 1 weights are not finite (first: no_obj_ptr)" in message


def test_an_unknown_model_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownModelError, match=r"no model 'sam3'.*nano.*sam2\.1-large"):
        load_model("sam3")


# ---- what is no checkpoint


class Bomb:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    "save",
    [
        pytest.param(lambda bomb, path: torch.save({"model": bomb}, path), id="zip"),
        pytest.param(
            lambda bomb, path: torch.save(
                {"model": bomb}, path, _use_new_zipfile_serialization=False
            ),
            id="old format",
        ),
        pytest.param(
            lambda bomb, path: path.write_bytes(pickle.dumps(bomb, protocol=2)), id="plain pickle"
        ),
    ],
)
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, save: Callable[[Bomb, Path], None]
) -> None:
    path, trace = tmp_path / "model.pt", tmp_path / "the code ran"
    save(Bomb(trace), path)

    message = reading(path)

    assert "a file that holds anything but weights is refused" in message
    assert not trace.exists()


def test_a_compressed_file_is_refused_before_it_is_unfolded(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": weights()})
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for entry in whole.namelist():
            out.writestr(entry, whole.read(entry))

    assert "is compressed, which no torch checkpoint is" in reading(packed)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"model": 3},
        {"model": {"a": 1}},
        {"model": {1: torch.ones(1), "a": torch.ones(1)}},
        {"epoch": 7},
        "text",
        None,
    ],
    ids=str,
)
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    assert "holds no state dict" in reading(saved(tmp_path, content))


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x80\x02.", b"PK\x03\x04", b"<html>404</html>" * 100]
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    assert f"{path} cannot be read as a checkpoint" in reading(path)


@pytest.mark.parametrize("name", ["nowhere.pt", "nowhere.safetensors", "."])
def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    assert "There is no checkpoint" in reading(tmp_path / name)


SMALL = {"model": {"a": torch.arange(6.0), "b": torch.ones(2, 3)}}


def small(folder: Path, kind: str) -> bytes:
    path = folder / "small.safetensors"
    if kind == "safetensors":
        save_file(SMALL["model"], path)
    else:
        torch.save(SMALL, path, _use_new_zipfile_serialization=kind == "zip")
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # which damage may seem to ask for
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.none() | st.integers(1, 255))
def test_a_file_that_was_cut_short_or_damaged_is_refused_or_read_but_never_a_crash(
    tmp_path: Path, kind: str, place: float, value: int | None
) -> None:
    content = bytearray(small(tmp_path, kind))
    at = int(place * len(content))
    if value is None:
        del content[at:]
    else:
        content[at] ^= value
    path = tmp_path / ("damaged.safetensors" if kind == "safetensors" else "damaged.pt")
    path.write_bytes(content)

    refusal, read = "", {}
    try:
        read = read_weights(path)
    except CheckpointError as error:
        refusal = str(error)

    assert bool(read) != bool(refusal)
    assert str(path) in refusal or value is not None, "a file cut short was read"
    assert all(isinstance(weight, Tensor) for weight in read.values())
