"""The same calls do the same on the local disk, on S3, and on what fsspec knows."""

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest
from pyarrow.fs import LocalFileSystem

from pipeline import storage
from pipeline.config import StorageConfig
from pipeline.storage import StorageError


@pytest.fixture(params=["path", "file", "s3", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder, as a user would name it."""
    if request.param == "path":
        return str(tmp_path)
    if request.param == "file":
        return tmp_path.as_uri()
    if request.param == "memory":
        return f"memory://{uuid4().hex}"
    return str(request.getfixturevalue("s3_bucket"))


def test_a_file_comes_back_as_it_was_put(folder: str) -> None:
    fs, path = storage.filesystem(storage.join(folder, "deep", "er", "a b.gz"))

    assert not storage.exists(fs, path)
    storage.put(fs, path, b"first")
    storage.put(fs, path, b"second")

    assert storage.exists(fs, path)
    assert storage.read_bytes(fs, path) == b"second"


def test_a_folder_lists_its_own_files_only_and_in_order(folder: str) -> None:
    fs, path = storage.filesystem(folder)
    for name in ("b", "a", "below/c"):
        storage.put(fs, storage.join(path, name), b"")

    names = [found.rpartition("/")[2] for found in storage.list_files(fs, path)]

    assert names == ["a", "b"]


def test_a_folder_that_does_not_exist_has_no_files(folder: str) -> None:
    fs, path = storage.filesystem(storage.join(folder, "nothing"))

    assert storage.list_files(fs, path) == []
    assert not storage.exists(fs, path)


def test_a_folder_can_be_listed_while_another_makes_it(tmp_path: Path) -> None:
    fs = LocalFileSystem()

    def race(number: int) -> list[str]:
        made, start = tmp_path / str(number), Barrier(3)

        def look(_: int) -> list[str]:
            start.wait()
            return [name for _ in range(5) for name in storage.list_files(fs, str(made))]

        with ThreadPoolExecutor(3) as pool:
            looks = [pool.submit(look, n) for n in range(2)]
            pool.submit(lambda: (start.wait(), made.mkdir())).result()
            return [name for one in looks for name in one.result()]

    assert not any(race(number) for number in range(200))


def test_a_missing_file_cannot_be_read(folder: str) -> None:
    fs, path = storage.filesystem(storage.join(folder, "nothing"))

    with pytest.raises(FileNotFoundError):
        storage.read_bytes(fs, path)


def test_preflight_leaves_no_file_behind(folder: str) -> None:
    out = storage.join(folder, "out")

    storage.preflight(out)

    assert storage.list_files(*storage.filesystem(out)) == []


def test_a_big_file_is_whole_on_s3(s3_bucket: str) -> None:
    data = bytes(range(256)) * 50_000  # more than one part of an upload
    fs, path = storage.filesystem(f"{s3_bucket}/big")

    storage.put(fs, path, data)

    assert storage.read_bytes(fs, path) == data


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    fs, path = storage.filesystem(str(tmp_path / "a"))
    storage.put(fs, path, b"old")

    with pytest.raises(TypeError):
        storage.put(fs, path, "no bytes")  # type: ignore[arg-type]

    assert storage.read_bytes(fs, path) == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_draft_that_a_killed_process_left_is_no_file_and_can_be_removed(tmp_path: Path) -> None:
    fs, folder = storage.filesystem(str(tmp_path))
    storage.put(fs, f"{folder}/a", b"")
    (tmp_path / ".0123.tmp").write_text("half of a fi")
    (tmp_path / ".hidden").touch()

    assert storage.list_files(fs, folder) == [f"{folder}/.hidden", f"{folder}/a"]
    storage.remove_drafts(fs, folder)
    assert sorted(os.listdir(tmp_path)) == [".hidden", "a"]


def test_a_local_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    storage.put(LocalFileSystem(), str(tmp_path / "ours"), b"")

    ours, usual = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "usual"))

    assert ours == usual


def test_a_relative_path_is_taken_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert storage.filesystem("out/run")[1] == f"{tmp_path}/out/run"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://KEY:SECRET@bucket/out",
        "s3://SECRET@bucket/out",
        "https://user:SECRET@example.com/a.mp4",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(StorageError, match="credentials in it") as caught:
        storage.filesystem(uri)

    assert "SECRET" not in str(caught.value)


def test_a_uri_of_a_file_is_a_path_of_this_machine() -> None:
    assert storage.filesystem("file:///data/run%20%232#3")[1] == "/data/run #2#3"
    assert storage.filesystem("file://localhost/data/run")[1] == "/data/run"
    with pytest.raises(StorageError, match=r"file://data/run: .*begins with file:///"):
        storage.filesystem("file://data/run")


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(StorageError, match="nope"):
        storage.filesystem("nope://out")


def test_preflight_names_a_bucket_that_does_not_exist(s3_bucket: str) -> None:
    with pytest.raises(StorageError, match=r"s3://masklet-none/out.*bucket does not exist"):
        storage.preflight("s3://masklet-none/out")


def test_preflight_names_the_right_that_is_missing(
    s3_bucket: str, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pytestconfig.getoption("s3") != "moto":
        pytest.skip("only moto lets us make a user without rights so easily")
    import boto3

    iam = boto3.client("iam")
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0.0)  # now rights count

    with pytest.raises(StorageError, match=r"write to s3://.*s3:PutObject"):
        storage.preflight(f"{s3_bucket}/out")


def test_preflight_says_that_a_server_does_not_answer(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")

    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL"):
        storage.preflight(f"{s3_bucket}/out")


def test_an_output_that_cannot_be_reached_is_told_at_once(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")

    with pytest.raises(StorageError, match=r"cannot read s3://.*AWS_ENDPOINT_URL"):
        storage.reach(f"{s3_bucket}/out")


def test_the_setting_of_an_endpoint_comes_before_the_environment(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("MASKLET_STORAGE_PATIENCE_S", "1")

    storage.use(StorageConfig(endpoint=here, patience_s=1))

    fs, path = storage.filesystem(f"{s3_bucket}/a")
    storage.put(fs, path, b"here")
    assert storage.read_bytes(fs, path) == b"here"


def test_preflight_names_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match=f"cannot write to {tmp_path}/file/out"):
        storage.preflight(f"{tmp_path}/file/out")


def test_workers_elsewhere_hear_of_the_endpoint_in_this_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://here:9000")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)

    assert storage.environment(StorageConfig())["AWS_ENDPOINT_URL"] == "http://here:9000"
    there = storage.environment(StorageConfig(endpoint="http://there"))
    assert there["AWS_ENDPOINT_URL"] == there["AWS_ENDPOINT_URL_S3"] == "http://there"


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_disk_without_links_lets_one_of_two_make_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(storage.os, "link", refuse)
    fs, path = LocalFileSystem(), str(tmp_path / "file")

    assert storage.create(fs, path, b"first")
    assert not storage.create(fs, path, b"second")
    assert storage.list_files(fs, str(tmp_path)) == [path]


def test_preflight_names_a_path_that_is_none(s3_bucket: str) -> None:
    with pytest.raises(StorageError, match=f"cannot write to {s3_bucket}//out"):
        storage.preflight(f"{s3_bucket}//out")
