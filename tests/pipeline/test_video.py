import errno
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import decoder, patience
from pipeline.video import Frame, Video, VideoError, local_copy

Picture = NDArray[np.uint8]

WHOLE = [
    "ok.mp4",
    "webm_named.mp4",
    "vfr.mp4",
    "edit_list.mp4",
    "missing_first_pts.mkv",
    "negative_pts.ts",
    "no_pts.h264",
    "one_frame.gif",
    "one_frame.webm",
    "rotated_90.mp4",
    "odd_size.webm",
    "anamorphic.mp4",
    "hdr10.mp4",
    "alpha.webm",
    "interlaced.mp4",
    "duration_lies.mp4",
    "имя с пробелом и ü.mp4",  # noqa: RUF001 - its name is the trap
]
REFUSED = [
    "no_moov.mp4",
    "empty.mp4",
    "error_page.mp4",
    "zero_frames.mp4",
    "audio_only.mp4",
    "audio_with_cover.mp4",
    "playlist.mp4",
]
DAMAGED = ["truncated_tail.mp4", "corrupt_middle.mp4"]

# container, codec, options: B-frames in long and short groups, references across groups, formats
# that seek by other clocks, that seek badly, and that know no times
CODED = {
    "long_group.mp4": ("libx264", {"x264-params": "keyint=250:bframes=3:b-pyramid=normal"}),
    "short_group.mp4": ("libx264", {"x264-params": "keyint=3:min-keyint=1:bframes=2:scenecut=0"}),
    "open_group.mp4": ("libx264", {"x264-params": "keyint=6:open-gop=1:bframes=3:scenecut=0"}),
    "intra_refresh.mp4": ("libx264", {"x264-params": "keyint=99:intra-refresh=1"}),
    "open_group_hevc.mp4": ("libx265", {"x265-params": "keyint=6:open-gop=1:log-level=none"}),
    "matroska.mkv": ("libx264", {"g": "6"}),
    "transport.ts": ("libx264", {"g": "6"}),
    "program.mpg": ("mpeg2video", {"g": "6", "bf": "2"}),
    "flash.flv": ("libx264", {"g": "6"}),
    "reordered.avi": ("libx264", {"g": "6"}),
    "plain.webm": ("libvpx", {"g": "6", "deadline": "realtime"}),
}


def picture(number: int, width: int = 96, height: int = 64) -> Picture:
    """A picture whose brightness is its number."""
    return np.full((height, width, 3), 8 * number, np.uint8)


def number_of(frame: Frame) -> int:
    return round(float(frame.pixels.mean()) / 8)


def write_clip(
    path: Path,
    pictures: Sequence[Picture],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    matrix: Sequence[int] | None = None,
) -> Path:
    """A clip of 25 frames a second, or of frames shown at the given 25ths of a second."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.set_display_matrix(matrix)
        for time, pixels in zip(times or range(len(pictures)), pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = time, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every clip of CODED, numbered 0 to 29."""
    folder = tmp_path_factory.mktemp("clips")
    for name, (codec, options) in CODED.items():
        write_clip(folder / name, [picture(i) for i in range(30)], codec, options)
    return folder


@pytest.fixture(scope="session")
def expected(shared: Path) -> dict[str, dict[str, Any]]:
    """File name -> what a reader should make of it."""
    files = json.loads((shared / "badvideos" / "manifest.json").read_text("utf-8"))["files"]
    return {file["file"]: file["expected"] for file in files}


@pytest.fixture(scope="session")
def read_bars(shared: Path) -> Callable[[Picture], int]:
    """The reader of the bar code that numbers the frames of the shared clips."""
    spec = importlib.util.spec_from_file_location("badvideo", shared / "tools" / "badvideo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reader: Callable[[Picture], int] = module.number
    return reader


@pytest.fixture(params=[*CODED, *WHOLE])
def sound_clip(request: pytest.FixtureRequest) -> Path:
    """Each clip without a fault, our own and the shared ones."""
    name = str(request.param)
    if name in CODED:
        return Path(request.getfixturevalue("clips")) / name
    return Path(request.getfixturevalue("shared")) / "badvideos" / name


def assert_same(frames: Sequence[Frame], others: Sequence[Frame]) -> None:
    assert [f.index for f in frames] == [f.index for f in others]
    assert [f.timestamp_s for f in frames] == [f.timestamp_s for f in others]
    for frame, other in zip(frames, others, strict=True):
        np.testing.assert_array_equal(frame.pixels, other.pixels)


# -- which frames there are ------------------------------------------------


def test_every_shared_clip_is_tested(expected: dict[str, dict[str, Any]]) -> None:
    assert {*WHOLE, *REFUSED, *DAMAGED, "huge_8192.mp4"} == set(expected)


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_video_gives_exactly_its_frames(
    name: str,
    shared: Path,
    expected: dict[str, dict[str, Any]],
    read_bars: Callable[[Picture], int],
) -> None:
    want = expected[name]
    video = Video(shared / "badvideos" / name)

    frames = list(video.frames())

    unturned = want.get("quarter_turns_ccw", 0)
    assert [read_bars(np.rot90(f.pixels, -unturned)) for f in frames] == want["numbers"]
    assert [f.index for f in frames] == list(range(want["frames"]))
    assert {f.pixels.shape for f in frames} == {(*want["size"][::-1], 3)}
    assert [video.info.width, video.info.height] == want["size"]
    assert video.info.n_frames == want["frames"]
    assert video.damage() == ""
    np.testing.assert_array_equal([f.timestamp_s for f in frames], video.timestamps)
    assert np.all(np.diff(video.timestamps) > 0)
    if want["duration_s"]:
        assert video.info.duration_s == pytest.approx(want["duration_s"], abs=0.01)
        assert video.info.fps == pytest.approx(want["frames"] / want["duration_s"], rel=0.01)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_a_video_is_refused_by_name(name: str, shared: Path) -> None:
    with pytest.raises(VideoError, match=r"^the clip: (?!.*[Uu]nknown error)"):
        Video(shared / "badvideos" / name, name="the clip")


def test_times_are_those_of_the_file(tmp_path: Path) -> None:
    times = [0, 1, 2, 10, 11, 40, 41, 42, 60]
    clip = write_clip(tmp_path / "vfr.mp4", [picture(i) for i in range(9)], times=times)

    video = Video(clip)

    np.testing.assert_allclose(video.timestamps, np.array(times) / 25)
    assert [number_of(f) for f in video.frames()] == list(range(9))
    assert not video.made_up_times


def test_a_stream_without_times_says_that_they_are_made_up(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "raw.h264", [picture(i) for i in range(12)])

    video = Video(clip)

    assert video.made_up_times
    np.testing.assert_allclose(video.timestamps, np.arange(12) / 25)
    assert video.info.fps == 25


def test_joined_recordings_are_read_one_after_the_other(clips: Path, tmp_path: Path) -> None:
    joined = tmp_path / "joined.ts"
    first = write_clip(tmp_path / "first.ts", [picture(i % 30) for i in range(40)])
    joined.write_bytes(first.read_bytes() + (clips / "transport.ts").read_bytes())

    video = Video(joined)

    assert [number_of(f) for f in video.frames()] == [i % 30 for i in range(40)] + list(range(30))
    assert np.all(np.diff(video.timestamps) > 0)
    assert video.damage() == ""


def test_a_recording_begun_in_mid_stream_starts_with_its_first_whole_picture(
    clips: Path, tmp_path: Path
) -> None:
    data = (clips / "transport.ts").read_bytes()
    packets = [data[i : i + 188] for i in range(0, len(data), 188)]
    cut = tmp_path / "cut.ts"
    cut.write_bytes(b"".join(packets[:3] + packets[len(packets) // 4 :]))

    video = Video(cut)

    numbers = [number_of(f) for f in video.frames()]
    assert numbers == list(range(30 - video.info.n_frames, 30))
    assert 12 <= video.info.n_frames < 30
    assert video.damage() == ""


def test_cover_art_before_the_video_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "covered.mp4"
    with av.open(str(path), "w") as out:
        cover: Any = out.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        stream: Any = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        out.mux(cover.encode(av.VideoFrame.from_ndarray(picture(30, 32, 32))))
        out.mux(cover.encode(None))
        for i in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i))))
        out.mux(stream.encode(None))

    assert [number_of(f) for f in Video(path).frames()] == list(range(5))


# -- reading from the middle and backwards ---------------------------------


def test_a_frame_is_the_same_picture_wherever_reading_starts(sound_clip: Path) -> None:
    video = Video(sound_clip)
    whole = list(video.frames())

    for start in range(video.info.n_frames):
        assert_same(list(video.frames(start, start + 2)), whole[start : start + 2])
    assert_same(list(video.frames(-3)), whole[-3:])
    assert video.damage() == ""


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_backwards_is_forwards_reversed(sound_clip: Path, chunk: int) -> None:
    video = Video(sound_clip)
    whole = list(video.frames(size=32))

    assert_same(list(video.frames_reversed(size=32, chunk=chunk)), whole[::-1])
    assert_same(list(video.frames_reversed(1, 9, size=32, chunk=chunk)), whole[1:9][::-1])
    assert video.damage() == ""


def test_more_threads_give_the_same_pictures(sound_clip: Path) -> None:
    one, three = Video(sound_clip, threads=1), Video(sound_clip, threads=3)

    assert_same(list(three.frames()), list(one.frames()))
    assert_same(list(three.frames_reversed()), list(one.frames_reversed()))


def test_backwards_seeks_and_does_not_begin_anew_for_every_chunk(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = Video(clips / "matroska.mkv")
    opened = []
    really_open = av.open

    def watched_open(*args: Any, **kwargs: Any) -> Any:
        opened.append(args)
        return really_open(*args, **kwargs)

    monkeypatch.setattr(av, "open", watched_open)

    list(video.frames_reversed(chunk=4))

    assert len(opened) == 1


def test_two_readings_do_not_disturb_each_other(clips: Path) -> None:
    video = Video(clips / "long_group.mp4")

    pairs = list(zip(video.frames(), video.frames_reversed(), strict=True))

    assert [(a.index, b.index) for a, b in pairs] == [(i, 29 - i) for i in range(30)]
    assert all(number_of(f) == f.index for pair in pairs for f in pair)


def test_nothing_is_read_of_an_empty_stretch(clips: Path) -> None:
    video = Video(clips / "plain.webm")

    assert list(video.frames(5, 5)) == []
    assert list(video.frames_reversed(30, 40)) == []


def test_closing_ends_the_readings_and_not_the_video(clips: Path) -> None:
    with Video(clips / "long_group.mp4") as video:
        reading = video.frames()
        next(reading)
        assert video._decoders
    assert all(not d.container.input_was_opened for d in video._decoders)
    assert len(list(video.frames())) == 30


# -- damage ----------------------------------------------------------------


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_reported_and_frames_beside_it_keep_their_numbers(
    name: str,
    shared: Path,
    expected: dict[str, dict[str, Any]],
    read_bars: Callable[[Picture], int],
) -> None:
    video = Video(shared / "badvideos" / name)

    frames = list(video.frames())

    fewest, most = expected[name]["frames"]
    assert fewest <= len(frames) <= most
    assert video.damage()
    trusted = [f for f in frames if f.index not in video.suspect]
    assert len(trusted) >= fewest
    assert [read_bars(f.pixels) for f in trusted] == [f.index for f in trusted]


def test_all_that_copies_from_a_damaged_frame_is_suspect(shared: Path) -> None:
    video = Video(shared / "badvideos" / "corrupt_middle.mp4")

    list(video.frames())

    assert video.damage() == "11 frames may be wrong pictures (5-15)"
    assert video.damage(0, 5) == ""
    assert video.damage(10, 24) == "6 frames may be wrong pictures (10-15)"


@pytest.mark.parametrize("start", [9, 12])
def test_damage_before_the_first_frame_asked_for_is_not_forgotten(start: int, shared: Path) -> None:
    video = Video(shared / "badvideos" / "corrupt_middle.mp4")

    list(video.frames(start, start + 2))

    assert video.damage(start, start + 2) == f"2 frames may be wrong pictures ({start}-{start + 1})"


@pytest.mark.parametrize("name", ["matroska.mkv", "flash.flv", "plain.webm", "faststart.mp4"])
def test_a_file_cut_short_is_never_just_a_shorter_video(
    name: str, clips: Path, tmp_path: Path
) -> None:
    whole = clips / name
    if name == "faststart.mp4":
        whole = remuxed(clips / "long_group.mp4", tmp_path / name, {"movflags": "faststart"})
    data = whole.read_bytes()
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(data[: len(data) * 6 // 10 if name != "faststart.mp4" else -300])

    video = Video(cut)

    numbers = [number_of(f) for f in video.frames()]
    assert numbers == list(range(len(numbers)))
    assert "cut short" in video.damage()
    assert "cut short" not in video.damage(0, 1)
    assert "cut short" in video.damage(0, 30)


def remuxed(source: Path, copy: Path, options: dict[str, str]) -> Path:
    with av.open(str(source)) as video, av.open(str(copy), "w", options=options) as out:
        stream = out.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return copy


def test_frames_that_cannot_be_decoded_are_lost_by_number(clips: Path, tmp_path: Path) -> None:
    data = bytearray((clips / "short_group.mp4").read_bytes())
    with av.open(str(clips / "short_group.mp4")) as source:
        packets: list[Any] = [p for p in source.demux(video=0) if p.size]
    (ruined,) = (p for p in packets if p.pts == 12 * p.duration)
    data[ruined.pos : ruined.pos + ruined.size] = bytes(ruined.size)
    path = tmp_path / "ruined.mp4"
    path.write_bytes(data)
    video = Video(path)

    forwards = [f.index for f in video.frames()]

    assert 12 in video.lost
    assert forwards == [i for i in range(30) if i not in video.lost]
    assert {13, 14} <= video.suspect | video.lost
    assert "could not be decoded (" in video.damage()
    assert [f.index for f in video.frames_reversed()] == forwards[::-1]


# -- hostile and outsized files --------------------------------------------


def test_a_playlist_opens_none_of_what_it_lists(clips: Path, tmp_path: Path) -> None:
    playlist = tmp_path / "list.mp4"
    playlist.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n"
        f"{clips / 'transport.ts'}\n#EXT-X-ENDLIST\n"
    )

    with pytest.raises(VideoError, match="cannot be opened as a video"):
        Video(playlist)


def test_a_name_with_a_colon_is_a_file_and_not_a_protocol(clips: Path, tmp_path: Path) -> None:
    odd = tmp_path / "concat:a|b.mp4"
    odd.write_bytes((clips / "long_group.mp4").read_bytes())

    assert Video(odd).info.n_frames == 30


def test_larger_pictures_than_the_limit_are_refused(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "MAX_PIXELS", 96 * 64 - 1)

    with pytest.raises(VideoError, match="its pictures are 96x64"):
        Video(clips / "long_group.mp4")


def test_a_codec_nobody_knows_is_refused(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "unknown.mp4"
    path.write_bytes((clips / "long_group.mp4").read_bytes().replace(b"avc1", b"zzzz"))

    with pytest.raises(VideoError, match="cannot decode"):
        Video(path)


def peak_memory_mb(reading: str) -> int:
    """The most memory that a process of its own holds while it runs this."""
    # Not what getrusage says: that begins with what the process held from which it was started.
    code = (
        "from pathlib import Path; from pipeline.video import Video\n"
        f"{reading}\nprint(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return int(run.stdout) // 1024


def test_huge_pictures_are_read_in_the_memory_of_a_few(shared: Path) -> None:
    path = shared / "badvideos" / "huge_8192.mp4"

    for reading in ("frames", "frames_reversed"):
        peak = peak_memory_mb(
            f"assert [f.index for f in Video({str(path)!r}).{reading}(size=64)]"
            f" == {[0, 1] if reading == 'frames' else [1, 0]}"
        )
        assert peak < 1500
    assert Video(path).info.duration_s == 2


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(shared: Path) -> None:
    video = f"Video({str(shared / 'videos' / 'bedroom.mp4')!r})"
    few = peak_memory_mb(f"for frame in {video}.frames(0, 20, size=1024): pass")

    assert peak_memory_mb(f"for frame in {video}.frames(size=1024): pass") < few + 60
    assert peak_memory_mb(f"for frame in {video}.frames_reversed(150, size=1024): pass") < few + 150


# -- pixels ----------------------------------------------------------------


def filtered(path: Path, *filters: tuple[str, str]) -> Iterator[Picture]:
    """What FFmpeg makes of each frame with these filters."""
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        graph = av.filter.Graph()
        nodes = [graph.add(name, args) for name, args in (*filters, ("buffersink", ""))]
        graph.link_nodes(graph.add_buffer(template=stream), *nodes).configure()
        for frame in source.decode(stream):
            graph.vpush(frame)
            yield np.asarray(graph.vpull().to_ndarray(), np.uint8)


@pytest.mark.parametrize(
    ("size", "scale"), [(None, ()), (256, (("scale", "256:256:flags=bilinear"),))]
)
def test_pixels_are_those_of_the_filters_that_published_results_used(
    size: int | None, scale: tuple[tuple[str, str], ...], clips: Path
) -> None:
    path = clips / "long_group.mp4"

    for frame, pixels in zip(
        Video(path).frames(size=size), filtered(path, *scale, ("format", "rgb24")), strict=True
    ):
        np.testing.assert_array_equal(frame.pixels, pixels)


def test_published_pixels_of_a_real_clip(shared: Path) -> None:
    path = shared / "videos" / "bedroom.mp4"
    published = filtered(path, ("scale", "1024:1024:flags=bilinear"), ("format", "rgb24"))

    for frame, pixels in zip(Video(path).frames(0, 5, size=1024), published, strict=False):
        np.testing.assert_array_equal(frame.pixels, pixels)


def test_a_picture_is_turned_before_it_is_scaled(tmp_path: Path) -> None:
    wedge = np.broadcast_to(np.arange(96, dtype=np.uint8)[:, None] * 2, (64, 96, 3))
    clip = write_clip(tmp_path / "turned.mp4", [wedge], matrix=display_matrix(0, -1, 1, 0))
    turned = filtered(
        clip, ("transpose", "cclock"), ("scale", "48:48:flags=bilinear"), ("format", "rgb24")
    )

    (frame,) = Video(clip).frames(size=48)

    np.testing.assert_array_equal(frame.pixels, next(turned))


def display_matrix(a: int, b: int, c: int, d: int) -> list[int]:
    """As files store it: a point (x, y) is shown at (a x + c y, b x + d y), in 16.16 numbers."""
    return [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("y_sign", [1, -1])
@pytest.mark.parametrize("x_sign", [1, -1])
def test_pictures_are_shown_as_the_file_turns_and_mirrors_them(
    x_sign: int, y_sign: int, crossed: bool, tmp_path: Path
) -> None:
    a, b, c, d = (0, y_sign, x_sign, 0) if crossed else (x_sign, 0, 0, y_sign)
    stored = picture(0)
    corners = {(-1, -1): 240, (1, -1): 120}  # left and right at the top; below it is dark
    stored[:32, :48], stored[:32, 48:] = 240, 120
    clip = write_clip(tmp_path / "c.mp4", [stored] * 2, matrix=display_matrix(a, b, c, d))

    video = Video(clip)
    (frame, _) = video.frames()

    height, width = (96, 64) if crossed else (64, 96)
    assert (video.info.height, video.info.width) == (height, width)
    assert frame.pixels.shape == (height, width, 3)
    for (x, y), brightness in corners.items():
        shown_x, shown_y = a * x + c * y, b * x + d * y
        row, column = height // 2 + shown_y * height // 4, width // 2 + shown_x * width // 4
        assert frame.pixels[row, column].mean() == pytest.approx(brightness, abs=6)


def test_colours_that_ffmpeg_cannot_turn_into_rgb_are_told(tmp_path: Path) -> None:
    strange = {"x264-params": "colormatrix=bt2020c"}
    clip = write_clip(tmp_path / "strange.mp4", [picture(i) for i in range(3)], options=strange)
    video = Video(clip)

    for frames in (video.frames(), video.frames_reversed()):
        with pytest.raises(VideoError, match=r"strange\.mp4: frame \d cannot be turned into RGB"):
            next(frames)


def test_a_stream_that_changes_its_size_keeps_the_size_of_its_first_picture(
    tmp_path: Path,
) -> None:
    large = write_clip(tmp_path / "large.h264", [picture(i) for i in range(6)])
    small = write_clip(tmp_path / "small.h264", [picture(i, 64, 48) for i in range(6)])
    both = tmp_path / "both.h264"
    both.write_bytes(large.read_bytes() + small.read_bytes())

    frames = list(Video(both).frames())

    assert {f.pixels.shape for f in frames} == {(64, 96, 3)}
    assert [number_of(f) for f in frames] == [*range(6), *range(6)]


# -- where videos come from ------------------------------------------------------------------


def test_a_local_file_is_used_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a clip ü%.mp4"
    path.write_bytes(b"video")

    for uri in (str(path), path.as_uri()):
        with local_copy(uri) as copy:
            assert copy == path
    assert path.exists()


def test_a_remote_file_is_copied_and_the_copy_removed() -> None:
    fsspec.filesystem("memory").pipe("/bucket/clip.mp4", b"video" * 1000)

    with local_copy("memory://bucket/clip.mp4") as copy:
        assert copy.read_bytes() == b"video" * 1000
        assert copy.is_absolute()
    assert not copy.exists()


@pytest.mark.parametrize(
    "uri", ["no/such.mp4", "file:///no/such.mp4", "memory://no/such.mp4", "nope://a/b.mp4"]
)
def test_a_video_that_is_not_there_is_named(uri: str) -> None:
    with pytest.raises(VideoError, match=f"^{uri}: "), local_copy(uri):
        pass


@pytest.mark.parametrize("name", ["x" * 300, "/dev/null", "file:///a%00.mp4"])
def test_a_video_that_cannot_be_reached_is_named(name: str) -> None:
    with pytest.raises(VideoError, match=f"^{name}: "), local_copy(name):
        pass


def test_backwards_no_frame_is_decoded_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = [np.full((32, 32, 3), number, np.uint8) for number in range(200)]
    video = Video(write_clip(tmp_path / "a.mp4", grey, options={"keyint": "250"}))
    decoded = count()
    frames = decoder.Decoder.frames

    def counted(self: decoder.Decoder, *asked: Any) -> Iterator[Any]:
        for found in frames(self, *asked):
            next(decoded)
            yield found

    monkeypatch.setattr(decoder.Decoder, "frames", counted)

    read = [frame.index for frame in video.frames_reversed(size=16, chunk=1)]

    assert read == [*reversed(range(200))]
    assert next(decoded) < 10 * 200  # frame by frame it would be a hundred times as many


def test_a_store_that_is_away_for_a_moment_costs_no_video(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/bucket/clip.mp4", b"video")
    troubles = [OSError(errno.EBUSY, "Please reduce your request rate."), TimeoutError()]
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: None)

    def opened(uri: str, mode: str) -> object:
        if troubles:
            raise troubles.pop()
        return fs.open("/bucket/clip.mp4", mode)

    monkeypatch.setattr("pipeline.video.fsspec.open", opened)
    with local_copy("memory://bucket/clip.mp4") as copy:
        assert copy.read_bytes() == b"video"
    assert not troubles


def test_a_video_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: pytest.fail("it waited"))

    with pytest.raises(VideoError, match="FileNotFoundError"), local_copy("memory://no/clip.mp4"):
        pass


def test_a_copy_without_a_place_is_the_videos_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").pipe("/bucket/clip.mp4", b"video")
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")

    with (
        pytest.raises(VideoError, match=r"clip\.mp4: there is no place"),
        local_copy("memory://bucket/clip.mp4"),
    ):
        pass


def test_an_error_while_a_copy_is_in_use_stays_what_it_is() -> None:
    fsspec.filesystem("memory").pipe("/bucket/clip.mp4", b"video")

    with pytest.raises(ZeroDivisionError), local_copy("memory://bucket/clip.mp4") as copy:
        _ = 1 / 0
    assert not copy.exists()
