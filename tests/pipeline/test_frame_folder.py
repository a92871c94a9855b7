"""A folder of pictures as a video, and videos of both kinds opened alike."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.any_video import open_video
from pipeline.frame_folder import NOMINAL_FPS, FrameFolder
from pipeline.manifest import Prompt, VideoEntry
from pipeline.masklets import Masklet
from pipeline.plan import Task, make_plan
from pipeline.probe import probe_video
from pipeline.segmenter import Segmenter
from pipeline.video import Video, VideoError, local_copy
from sam2.images import from_video_picture
from tests.sam2.tiny import tiny_model


def write_picture(path: Path, shade: int, size: tuple[int, int] = (40, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 255 - shade)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures that get redder, beside a file that is none."""
    for i in range(5):
        write_picture(tmp_path / "dog" / f"{i:05d}.png", 50 * i)
    (tmp_path / "dog/README.md").write_text("not a frame")
    return tmp_path / "dog"


def shades(video: FrameFolder, *window: int | None) -> list[int]:
    return [int(frame.pixels[0, 0, 0]) for frame in video.frames(*window)]


def test_a_folder_is_a_video_at_a_nominal_rate(folder: Path) -> None:
    with FrameFolder(folder) as video:
        info = video.info

    assert (info.width, info.height, info.n_frames, info.fps) == (40, 24, 5, NOMINAL_FPS)
    assert info.duration_s == pytest.approx(5 / NOMINAL_FPS)
    assert all(b - a == pytest.approx(1 / NOMINAL_FPS) for a, b in pairwise(video.timestamps))


def test_frames_go_by_the_numbers_in_their_names(tmp_path: Path) -> None:
    for number, shade in ((10, 30), (9, 20), (100, 40), (1, 10)):
        write_picture(tmp_path / f"frame_{number}.png", shade)
    video = FrameFolder(tmp_path)

    assert shades(video) == [10, 20, 30, 40]
    assert video.numbers == [1, 9, 10, 100]
    assert [frame.index for frame in video.frames()] == [0, 1, 2, 3]


def test_windows_count_as_slices_do(folder: Path) -> None:
    video = FrameFolder(folder)

    assert shades(video, 1, 3) == [50, 100]
    assert shades(video, 3) == [150, 200]
    assert shades(video, 2, 99) == [100, 150, 200]


def test_backwards_gives_the_same_frames(folder: Path) -> None:
    video = FrameFolder(folder)

    forwards, backwards = [*video.frames(1, 4, size=8)], [*video.frames_reversed(1, 4, size=8)]

    assert [f.index for f in backwards] == [3, 2, 1]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert one.timestamp_s == other.timestamp_s


def test_the_model_sees_a_picture_as_the_published_sam_2_does(shared: Path) -> None:
    jpegs = shared / "realvideo/duo/JPEGImages"
    frame = next(FrameFolder(jpegs).frames(3, 4, size=256))

    with Image.open(jpegs / "00003.jpg") as picture:
        expected = from_video_picture(picture, 256)
    assert frame.pixels.shape == (256, 256, 3)
    assert torch.equal(torch.from_numpy(frame.pixels).permute(2, 0, 1), expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_frames_are_rgb_whatever_the_files_are(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (8, 8)).save(tmp_path / f"0.{'jpg' if mode == 'CMYK' else 'png'}")

    assert next(FrameFolder(tmp_path).frames()).pixels.shape == (8, 8, 3)


def test_a_folder_without_pictures_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")

    with pytest.raises(VideoError, match=r"^holiday: has no pictures"):
        FrameFolder(tmp_path, name="holiday")


def test_frames_of_different_sizes_are_refused_by_name(folder: Path) -> None:
    write_picture(folder / "00003.png", 0, size=(41, 24))

    with pytest.raises(VideoError, match=r"00003\.png: is 41 x 24, but 00000\.png is 40 x 24"):
        FrameFolder(folder)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_picture_is_refused_by_name(folder: Path, content: bytes) -> None:
    (folder / "00002.png").write_bytes(content)

    with pytest.raises(VideoError, match=r"00002\.png: cannot be read as a picture"):
        FrameFolder(folder)


def test_a_picture_that_ends_early_ends_the_reading(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for i in range(3):
        Image.fromarray(noise).save(tmp_path / f"{i}.jpg")
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[: len(whole) // 2])
    frames = FrameFolder(tmp_path).frames(size=16)

    assert next(frames).index == 0
    with pytest.raises(VideoError, match=r"1\.jpg: cannot be read"):
        next(frames)


def test_a_picture_too_large_for_any_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    Image.new("1", (9000, 9000)).save(tmp_path / "0.png")

    with pytest.raises(VideoError, match=r"0\.png: is too large, 9000 x 9000"):
        FrameFolder(tmp_path)


def test_a_name_without_a_number_has_no_place(folder: Path) -> None:
    write_picture(folder / "poster.png", 0)

    with pytest.raises(VideoError, match=r"poster\.png: its name must end in the number"):
        FrameFolder(folder)


def test_two_files_with_one_number_have_no_order(folder: Path) -> None:
    write_picture(folder / "2.jpg", 0)

    with pytest.raises(VideoError, match=r"2\.jpg: its number is that of 00002\.png too"):
        FrameFolder(folder)


# As a video among others


def test_a_folder_and_a_file_are_opened_alike(folder: Path, clip: Path) -> None:
    assert isinstance(open_video(folder, "folder"), FrameFolder)
    assert isinstance(open_video(clip, "file"), Video)


def test_a_local_folder_is_its_own_copy(folder: Path) -> None:
    with local_copy(str(folder)) as path:
        assert path == folder
    with local_copy(folder.as_uri()) as path:
        assert path == folder


def entry(folder: Path) -> VideoEntry:
    box = {"object_id": 1, "prompts": [{"frame": 1, "box": [2, 2, 20, 20]}], "direction": "both"}
    return VideoEntry.model_validate({"video_id": "dog", "uri": str(folder), "objects": [box]})


def test_the_planner_knows_how_long_a_folder_is(folder: Path) -> None:
    info = probe_video(str(folder))

    assert info
    assert info.n_frames == 5
    assert [task.n_frames for task in make_plan([entry(folder)])] == [5]


def segmented(task: Task) -> Masklet:
    return next(Segmenter(tiny_model()).segment([task]))


def test_a_folder_is_segmented_like_a_file(folder: Path) -> None:
    (task,) = make_plan([entry(folder)])

    masklet = segmented(task)

    assert masklet.status == "ok"
    assert masklet.frame_index == [0, 1, 2, 3, 4]
    assert masklet.timestamp_s == pytest.approx([i / NOMINAL_FPS for i in range(5)])
    assert (masklet.height, masklet.width, masklet.fps) == (24, 40, NOMINAL_FPS)


def test_a_prompt_in_seconds_finds_its_picture(folder: Path) -> None:
    (task,) = make_plan([entry(folder)])
    timed = Prompt(time_s=3 / NOMINAL_FPS, box=(2.0, 2.0, 20.0, 20.0))
    changed = Task.from_row(task.to_row() | {"prompts": [timed], "direction": "forward"})

    assert segmented(changed).frame_index == [3, 4]


def test_a_broken_folder_becomes_a_row_that_says_so(folder: Path) -> None:
    (task,) = make_plan([entry(folder)])
    (folder / "00004.png").write_bytes(b"")

    masklet = segmented(task)

    assert (masklet.status, masklet.error_type) == ("failed", "VideoError")
    assert "00004.png" in str(masklet.error)
