import weakref
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.masklets import Masklet, MaskletError
from pipeline.overlay import (
    colour_of,
    contact_sheet,
    overlay,
    render_overlay,
    render_sheet,
    write_video,
)

GREY = np.full((96, 128, 3), 128, np.uint8)


def square(top: int, left: int, side: int = 24) -> NDArray[np.bool_]:
    mask = np.zeros(GREY.shape[:2], bool)
    mask[top : top + side, left : left + side] = True
    return mask


def read(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as video:
        return [np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for f in video.decode(video=0)]


def masklet(object_id: int, frames: range) -> Masklet:
    return Masklet.of_masks(
        {t: square(30, 10 + t) for t in frames},
        fps=10.0,
        task_id=object_id,
        video_id="clip",
        uri="clip.mp4",
        object_id=object_id,
        label="square",
        n_frames=8,
    )


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(path, [GREY] * 8, fps=10)
    return path


def test_a_mask_is_tinted_inside_outlined_at_its_edge_and_nothing_else_changes() -> None:
    drawn = overlay(GREY, {1: square(30, 40)})

    assert tuple(drawn[30, 40]) == colour_of(1)
    assert tuple(drawn[42, 52]) not in (colour_of(1), tuple(GREY[0, 0]))
    assert (drawn[~square(30, 40)] == 128).all()


def test_the_frame_given_is_left_as_it_was() -> None:
    overlay(GREY, {1: square(30, 40)}, {1: "square"})

    assert (GREY == 128).all()


def test_an_object_that_is_not_visible_leaves_no_trace() -> None:
    assert (overlay(GREY, {1: np.zeros((96, 128), bool)}, {1: "gone"}) == GREY).all()


def test_seven_objects_have_seven_colours() -> None:
    assert len({colour_of(object_id) for object_id in range(1, 8)}) == 7


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 104), (72, 0), (72, 104)])
def test_a_label_shows_even_in_a_corner_of_the_picture(top: int, left: int) -> None:
    mask = {1: square(top, left)}

    assert (overlay(GREY, mask, {1: "corner"}) != overlay(GREY, mask)).any()


def test_a_mask_of_another_video_is_refused() -> None:
    with pytest.raises(ValueError, match=r"object 3 .* made from"):
        overlay(GREY, {3: np.ones((10, 10), bool)})


def test_a_written_video_comes_back_frame_by_frame_in_a_form_that_browsers_play(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.mp4"
    shades = [40, 90, 140, 190]

    write_video(path, (np.full_like(GREY, shade) for shade in shades), fps=29.97)

    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate or 0) == pytest.approx(29.97, abs=0.001)
    assert [f.mean() for f in read(path)] == pytest.approx(shades, abs=4)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # the index first: it plays as it loads


def test_odd_sides_are_padded_to_even_ones(tmp_path: Path) -> None:
    write_video(tmp_path / "out.mp4", [np.zeros((33, 47, 3), np.uint8)], fps=24)

    assert read(tmp_path / "out.mp4")[0].shape == (34, 48, 3)


def test_a_long_video_is_written_with_few_frames_in_memory(tmp_path: Path) -> None:
    made: list[weakref.ref[NDArray[np.uint8]]] = []
    most_alive = 0

    def frames() -> Iterator[NDArray[np.uint8]]:
        nonlocal most_alive
        for _ in range(100):
            frame = GREY.copy()
            made.append(weakref.ref(frame))
            most_alive = max(most_alive, sum(ref() is not None for ref in made))
            yield frame

    write_video(tmp_path / "out.mp4", frames(), fps=24)

    assert most_alive < 5


def test_a_video_of_no_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "out.mp4", [], fps=24)


def test_a_sheet_has_the_width_asked_for_and_a_row_for_every_few_tiles() -> None:
    one_row, two_rows = (contact_sheet([("frame", GREY)] * n, 3, 600) for n in (3, 4))

    assert one_row.width == two_rows.width == 600
    assert one_row.height < two_rows.height < 2 * one_row.height


def test_the_overlay_video_spans_the_frames_that_any_object_was_tracked_on(
    clip: Path, tmp_path: Path
) -> None:
    render_overlay(clip, [masklet(1, range(2, 5)), masklet(2, range(4, 7))], tmp_path / "o.mp4")

    drawn = read(tmp_path / "o.mp4")
    assert len(drawn) == 5
    assert all((frame.std() > 1) for frame in drawn)  # a mask in each of them


def test_a_sheet_is_drawn_even_of_fewer_frames_than_tiles(clip: Path, tmp_path: Path) -> None:
    render_sheet(clip, [masklet(1, range(3))], tmp_path / "sheet.png", tiles=12)

    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 1600


def test_a_run_that_tracked_nothing_says_so(clip: Path, tmp_path: Path) -> None:
    nothing = Masklet(task_id=1, video_id="clip", uri="clip.mp4", object_id=1, status="ok")

    with pytest.raises(MaskletError, match="object 1 of video 'clip'"):
        render_overlay(clip, [nothing], tmp_path / "o.mp4")
