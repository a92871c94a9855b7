"""Probing: a look at the head of a file, however far away it lies."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import av
import numpy as np
import pytest

from pipeline import probe, storage
from pipeline.probe import probe_in_threads, probe_video


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of some 10 megabytes, because noise cannot be compressed."""
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    noise = np.random.default_rng(0)
    with av.open(path, "w") as container:
        options = {"preset": "ultrafast", "qp": "10"}
        stream = container.add_stream("libx264", rate=12, options=options)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for _ in range(30):
            pixels = noise.integers(0, 255, (480, 640, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


def remuxed(clip: Path, to: Path) -> Path:
    """The same frames in another container."""
    with av.open(clip) as source, av.open(to, "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return to


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_every_container_tells_size_and_length(
    long_clip: Path, tmp_path: Path, ending: str
) -> None:
    info = probe_video(str(remuxed(long_clip, tmp_path / f"clip.{ending}")))

    assert info
    assert (info.width, info.height) == (640, 480)
    assert info.n_frames == pytest.approx(30, abs=2)


def test_a_large_file_is_not_read_to_its_end(
    long_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    class Counting:
        """A file that knows how much of it was read."""

        def __init__(self, file: IO[bytes]) -> None:
            self.file = file
            self.seek, self.tell = file.seek, file.tell

        def read(self, size: int) -> bytes:
            nonlocal read
            data = self.file.read(size)
            read += len(data)
            return data

    @contextmanager
    def counted(uri: str) -> Iterator[Counting]:
        with Path(uri).open("rb") as file:
            yield Counting(file)

    monkeypatch.setattr(probe, "_open", counted)

    info = probe_video(str(long_clip))

    assert info
    assert info.n_frames == 30
    assert 0 < read < long_clip.stat().st_size / 4


def test_videos_on_s3_are_probed_in_their_order(
    clip: Path, long_clip: Path, s3_bucket: str
) -> None:
    for source in (clip, long_clip):
        fs, path = storage.filesystem(f"{s3_bucket}/{source.name}")
        storage.put(fs, path, source.read_bytes())
    uris = [f"{s3_bucket}/{name}" for name in (long_clip.name, "gone.mp4", clip.name)]

    infos = list(probe_in_threads(uris))

    assert [info and info.n_frames for info in infos] == [30, None, 6]


def test_what_is_no_video_is_none(tmp_path: Path) -> None:
    page = tmp_path / "page.mp4"
    page.write_text("<Error>NoSuchKey</Error>")
    shutil.copy(page, tmp_path / "again.mkv")

    assert probe_video(str(page)) is None
    assert probe_video(str(tmp_path / "again.mkv")) is None
    assert probe_video(str(tmp_path / "nothing.mp4")) is None
