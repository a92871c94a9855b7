from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
import torch
from av.filter import Graph
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sam2.frames import SizedFrames
from sam2.images import from_video_picture, normalise
from sam2.utils import misc
from sam2.utils.misc import _load_img_as_tensor, concat_points, load_video_frames
from tests.sam2.tiny import pictures

SIZE = 32
FRAMES = 40  # more than a walk in reverse holds at a time
DEMO = Path(__file__).parents[2] / "examples" / "demo" / "demo.mp4"


def load(video: object, **options: object) -> tuple[SizedFrames, int, int]:
    return load_video_frames(video, SIZE, True, **options)  # type: ignore[arg-type, return-value]


def expected(picture: Image.Image) -> Tensor:
    return normalise(from_video_picture(picture, SIZE)[None])[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose names sort otherwise than their numbers, and things that are none."""
    folder = tmp_path_factory.mktemp("frames")
    for number, picture in zip((2, 10, 100), pictures(3), strict=True):
        suffix = "JPEG" if number == 10 else "jpg"
        Image.fromarray(picture[:48]).save(folder / f"{number}.{suffix}", "JPEG", quality=95)
    (folder / "notes.txt").write_text("not a picture")
    (folder / "3.png").write_bytes(b"ignored")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with B-frames and several keyframes, so that order and seeking count."""
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "12", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in pictures(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture[:48].copy(), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def scaled_by_ffmpeg(path: Path, size: int = SIZE) -> list[Tensor]:
    """Every frame through the filters that published figures come from, one after another."""
    graph, frames = None, []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if graph is None:
                graph = Graph()
                source = graph.add_buffer(
                    width=frame.width,
                    height=frame.height,
                    format=frame.format,
                    time_base=Fraction(1, 25),
                )
                scale = graph.add("scale", f"{size}:{size}:flags=bilinear")
                sink = graph.add("buffersink")
                graph.link_nodes(source, scale, graph.add("format", "rgb24"), sink).configure()
            graph.vpush(frame)
            pixels = torch.from_numpy(graph.vpull().to_ndarray()).permute(2, 0, 1)
            frames.append(normalise(pixels[None])[0])
    return frames


# ---- folders and pictures


def test_a_folder_is_read_in_the_order_of_its_numbers(folder: Path) -> None:
    frames, height, width = load(str(folder))

    assert (len(frames), height, width) == (3, 48, 64)
    for frame, name in zip(frames, ("2.jpg", "10.JPEG", "100.jpg"), strict=True):
        assert torch.equal(frame, expected(Image.open(folder / name)))


def test_a_path_a_uri_and_another_storage_are_read_alike(folder: Path) -> None:
    storage = fsspec.filesystem("memory")
    for file in folder.iterdir():
        storage.pipe_file(f"/clips/dog/{file.name}", file.read_bytes())
    frames, *_ = load(folder)

    for uri in (f"file://{folder}", "memory://clips/dog"):
        others, height, width = load(uri)
        assert (len(others), height, width) == (3, 48, 64)
        assert all(torch.equal(a, b) for a, b in zip(frames, others, strict=True))


def test_an_array_a_list_and_pictures_are_read_alike() -> None:
    clip = pictures(3)[:, :48]
    for video in (clip, [*clip], tuple(Image.fromarray(p) for p in clip)):
        frames, height, width = load(video)
        assert (len(frames), height, width) == (3, 48, 64)
        assert torch.equal(frames[2], expected(Image.fromarray(clip[2])))


def test_a_folder_without_pictures_and_one_with_odd_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no pictures"):
        load(str(tmp_path))
    Image.new("RGB", (4, 4)).save(tmp_path / "frame_1.jpg")
    with pytest.raises(ValueError, match=r"frame_1\.jpg"):
        load(str(tmp_path))


def test_frames_that_differ_in_size_are_refused_by_name(tmp_path: Path) -> None:
    for number, width in enumerate((8, 8, 9)):
        Image.new("RGB", (width, 8)).save(tmp_path / f"{number}.jpg")
    frames, *_ = load(tmp_path)

    assert frames[1].shape == (3, SIZE, SIZE)
    with pytest.raises(RuntimeError, match=r"2\.jpg is 9 x 8"):
        frames[2]


def test_a_damaged_picture_is_named(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "0.jpg").write_bytes((folder / "2.jpg").read_bytes())
    (tmp_path / "1.jpg").write_bytes((folder / "2.jpg").read_bytes()[:300])
    frames, *_ = load(tmp_path)

    with pytest.raises(RuntimeError, match=r"1\.jpg cannot be read"):
        frames[1]


@pytest.mark.parametrize(
    ("video", "kind"),
    [
        ("/no/such/clip.mp4", NotImplementedError),
        ("/no/such/clip.mp4", FileNotFoundError),
        ("memory://no/such/clip.mp4", FileNotFoundError),
        (17, NotImplementedError),
        ([], RuntimeError),
        (iter([]), RuntimeError),
        (np.zeros((2, 8, 8, 3)), ValueError),
        (np.zeros((2, 8, 8), np.uint8), ValueError),
    ],
)
def test_what_is_no_video_is_refused(video: object, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        load(video)


# ---- video files


def test_a_file_gives_the_pixels_of_ffmpegs_filters_in_any_order(video: Path) -> None:
    frames, height, width = load(str(video))
    reference = scaled_by_ffmpeg(video)

    assert (len(frames), height, width) == (FRAMES, 48, 64)
    order = [*range(FRAMES), *reversed(range(FRAMES)), 3, 30, 7, 39, 0, 20, -1]
    assert all(torch.equal(frames[i], reference[i]) for i in order)
    with pytest.raises(IndexError):
        frames[FRAMES]


def test_an_open_file_and_a_remote_one_are_read_alike(video: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/clips/clip.mp4", video.read_bytes())
    frames, *_ = load(video)

    with video.open("rb") as file:
        opened, *_ = load(file)
        assert torch.equal(opened[33], frames[33])
        assert torch.equal(opened[5], frames[5])
    remote, *_ = load("memory://clips/clip.mp4")
    assert torch.equal(remote[33], frames[33])


def test_a_file_is_turned_as_it_asks(shared: Path) -> None:
    frames, height, width = load(shared / "badvideos" / "rotated_90.mp4")
    with av.open(str(shared / "badvideos" / "rotated_90.mp4")) as container:
        stored = next(container.decode(video=0))

    assert (height, width) == (stored.width, stored.height) != (stored.height, stored.width)
    assert len(frames) == 24
    assert stored.rotation == 90  # counter-clockwise
    lying = scaled_by_ffmpeg(shared / "badvideos" / "rotated_90.mp4")[0]
    upright, upside_down = (torch.rot90(lying, turns, dims=(1, 2)) for turns in (1, 3))
    assert (frames[0] - upright).abs().mean() < 0.03  # it was scaled before it was turned
    assert (frames[0] - upside_down).abs().mean() > 0.3


@pytest.mark.parametrize("name", ["empty.mp4", "no_moov.mp4", "playlist.mp4", "audio_only.mp4"])
def test_a_file_without_a_video_is_refused_by_name(shared: Path, name: str) -> None:
    with pytest.raises(RuntimeError, match=name):
        load(shared / "badvideos" / name)


def test_a_frame_beyond_the_damage_in_a_file_is_refused_by_name_and_the_others_are_read(
    shared: Path,
) -> None:
    frames, *_ = load(shared / "badvideos" / "truncated_tail.mp4")

    for order in (range(10, -1, -1), range(11)):
        for index in order:
            if index < 8:
                assert frames[index].shape == (3, SIZE, SIZE)
            else:
                with pytest.raises(RuntimeError, match=rf"truncated_tail\.mp4: frame {index} "):
                    frames[index]


def test_a_walk_through_a_file_holds_few_frames(video: Path) -> None:
    frames, *_ = load(video)
    for index in (*range(FRAMES), *reversed(range(FRAMES))):
        frames[index]

    assert len(frames.file._held) <= 16  # type: ignore[attr-defined]


# ---- streams


def test_a_stream_is_read_once_and_its_last_frames_again() -> None:
    taken: list[int] = []

    def camera() -> Iterator[NDArray[np.uint8]]:
        for index, picture in enumerate(pictures(FRAMES)):
            taken.append(index)
            yield picture

    frames, height, width = load(camera())
    assert (height, width, taken) == (64, 64, [0])

    reference, *_ = load(pictures(FRAMES))
    assert torch.equal(frames[20], reference[20])
    assert taken[-1] == 20
    assert torch.equal(frames[5], reference[5])
    with pytest.raises(RuntimeError, match="Frame 4 of the stream is gone"):
        frames[4]
    with pytest.raises(IndexError, match="it had 40 frames"):
        frames[FRAMES]


# ---- reading ahead


def test_reading_ahead_gives_the_same_frames_in_any_order(video: Path) -> None:
    frames, *_ = load(video)
    ahead, *_ = load(video, async_loading_frames=True)

    assert isinstance(ahead, misc.AsyncVideoFrameLoader)
    assert len(ahead) == FRAMES
    order = [0, 1, 2, 9, 8, 7, 6, -1, 38, 0]
    assert all(torch.equal(ahead[i], frames[i]) for i in order)


def test_an_error_while_reading_ahead_comes_with_its_own_frame(tmp_path: Path) -> None:
    for number, width in enumerate((8, 8, 9)):
        Image.new("RGB", (width, 8)).save(tmp_path / f"{number}.jpg")
    frames, *_ = load(tmp_path, async_loading_frames=True)

    assert frames[1].shape == (3, SIZE, SIZE)
    with pytest.raises(RuntimeError, match=r"2\.jpg"):
        frames[2]
    assert frames[0].shape == (3, SIZE, SIZE)


# ---- small helpers


def test_another_mean_and_deviation_may_be_given(folder: Path) -> None:
    plain, *_ = load(folder, img_mean=(0.0, 0.0, 0.0), img_std=(1.0, 1.0, 1.0))
    pixels, height, width = _load_img_as_tensor(folder / "2.jpg", SIZE)

    assert (height, width) == (48, 64)
    assert torch.equal(plain[0], pixels)
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1


def test_points_are_put_after_those_before() -> None:
    first = concat_points(None, torch.zeros(1, 2, 2), torch.ones(1, 2))
    both = concat_points(first, torch.ones(1, 1, 2), torch.zeros(1, 1))

    assert both["point_coords"].shape == (1, 3, 2)
    assert both["point_labels"].tolist() == [[1, 1, 0]]


def test_the_published_names_are_there() -> None:
    published = {
        "AsyncVideoFrameLoader",
        "concat_points",
        "fill_holes_in_mask_scores",
        "get_connected_components",
        "get_sdpa_settings",
        "load_video_frames",
        "mask_to_box",
    }

    assert {*misc.__all__} == published
    assert all(callable(getattr(misc, name)) for name in published)
