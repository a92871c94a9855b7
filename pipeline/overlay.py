"""Pictures of a finished run: a video with its masks drawn in, and a sheet of stills."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.any_video import AnyVideo, open_video
from pipeline.masklets import Masklet, MaskletError
from pipeline.video import Frame

Picture = NDArray[np.uint8]  # (H, W, 3)
Mask = NDArray[np.bool_]  # (H, W)
Colour = tuple[int, int, int]

# Told apart with every common kind of colour vision (Okabe and Ito's set, without its black).
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
TINT = 0.45  # strong enough to see the region, weak enough to see what it holds


def colour_of(object_id: int) -> Colour:
    """An object keeps its colour in every frame, sheet and run."""
    return PALETTE[object_id % len(PALETTE)]


def overlay(
    frame: Picture, masks: Mapping[int, Mask], labels: Mapping[int, str] | None = None
) -> Picture:
    """The frame (H, W, 3) with each object's mask (H, W) tinted, outlined and, if named, tagged."""
    unit = max(2, min(frame.shape[:2]) // 240)  # a line's width: it must show in 4K as in 480p
    picture = frame.copy()
    visible = {object_id: mask for object_id, mask in sorted(masks.items()) if mask.any()}
    for object_id, mask in visible.items():
        if mask.shape != frame.shape[:2]:
            raise ValueError(
                f"object {object_id} has a mask of {mask.shape} but the frame is {frame.shape[:2]} "
                "(height, width): draw it on the video it was made from"
            )
        _paint(picture, mask, colour_of(object_id), unit)
    return _tagged(picture, visible, labels, unit) if labels else picture


def write_video(path: Path, frames: Iterable[Picture], fps: float) -> None:
    """Writes frames (H, W, 3), one at a time, as an H.264 MP4 that a browser plays as it loads."""
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"{path}: a video needs at least one frame")
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = _evened(first).shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20"}
        for picture in chain([first], pictures):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(_evened(picture))))
        out.mux(stream.encode())


def contact_sheet(
    tiles: Sequence[tuple[str, Picture]], columns: int = 4, width: int = 1600
) -> Image.Image:
    """Captioned pictures in rows, all cells as large as the first picture needs."""
    if not tiles:
        raise ValueError("a contact sheet needs at least one picture")
    gap = width // 100
    text_size = max(12, width // 90)
    font = ImageFont.load_default(text_size)
    caption_height = text_size * 2
    cell_width = (width - gap) // columns - gap
    height, full_width = tiles[0][1].shape[:2]
    cell_height = max(1, round(height * cell_width / full_width))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (width, gap + rows * (cell_height + caption_height + gap)), "#16181d")
    draw = ImageDraw.Draw(sheet)
    for i, (caption, pixels) in enumerate(tiles):
        x = gap + i % columns * (cell_width + gap)
        y = gap + i // columns * (cell_height + caption_height + gap)
        tile = Image.fromarray(pixels).resize((cell_width, cell_height), Image.Resampling.LANCZOS)
        sheet.paste(tile, (x, y))
        draw.text((x, y + cell_height + caption_height // 2), caption, "#d8dce4", font, "lm")
    return sheet


def render_overlay(video_path: str | Path, masklets: Sequence[Masklet], dest_mp4: Path) -> None:
    """Writes the tracked stretch of one video with its masklets drawn in."""
    video = open_video(Path(video_path), str(video_path))
    start, stop = _tracked(masklets)
    pictures = (_drawn(frame, masklets) for frame in video.frames(start, stop))
    write_video(dest_mp4, pictures, video.info.fps)


def render_sheet(
    video_path: str | Path, masklets: Sequence[Masklet], dest_png: Path, tiles: int = 12
) -> None:
    """Writes a contact sheet of frames spread evenly over the tracked stretch of one video."""
    start, stop = _tracked(masklets)
    chosen = np.linspace(start, stop - 1, min(tiles, stop - start)).round().astype(int)
    video = open_video(Path(video_path), str(video_path))
    stills = _stills(video, chosen.tolist())
    contact_sheet([(_caption(f), _drawn(f, masklets)) for f in stills]).save(dest_png)


def _paint(picture: Picture, mask: Mask, colour: Colour, unit: int) -> None:
    """Tints a mask's region and draws its edge, in place and only inside its own box."""
    rows, columns = _box(mask)
    region, inside = picture[rows, columns], mask[rows, columns]
    tinted = region[inside] * (1 - TINT) + np.array(colour) * TINT
    region[inside] = tinted.round()
    region[inside & ~_eroded(inside, unit)] = colour


def _eroded(mask: Mask, by: int) -> Mask:
    """The mask without its outermost `by` pixels; a crop's border counts as an edge."""
    for _ in range(by):
        ring = np.pad(mask, 1)
        mask = mask & ring[:-2, 1:-1] & ring[2:, 1:-1] & ring[1:-1, :-2] & ring[1:-1, 2:]
    return mask


def _tagged(
    picture: Picture, masks: Mapping[int, Mask], labels: Mapping[int, str], unit: int
) -> Picture:
    """Writes each label on a small plate above its mask, kept inside the picture."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(7 * unit)
    for object_id in [i for i in masks if labels.get(i)]:
        rows, columns = _box(masks[object_id])
        colour = colour_of(object_id)
        width = int(draw.textlength(labels[object_id], font)) + 4 * unit
        height = 10 * unit
        x = max(0, min(columns.start, image.width - width))
        y = max(0, rows.start - height - unit)
        draw.rectangle((x, y, x + width, y + height), colour)
        ink = "black" if np.dot(colour, (0.299, 0.587, 0.114)) > 110 else "white"
        draw.text((x + 2 * unit, y + height // 2), labels[object_id], ink, font, "lm")
    return np.asarray(image)


def _box(mask: Mask) -> tuple[slice, slice]:
    """The rows and the columns that a mask spans."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _evened(picture: Picture) -> Picture:
    """4:2:0 colour needs even sides, so an odd one gets its last line twice."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _tracked(masklets: Sequence[Masklet]) -> tuple[int, int]:
    """The half-open stretch of frames in which anything was tracked."""
    indices = [index for m in masklets for index in m.frame_index]
    if not indices:
        names = ", ".join(map(str, masklets)) or "an empty list of masklets"
        raise MaskletError(f"nothing was tracked in {names}, so there is nothing to draw")
    return min(indices), max(indices) + 1


def _stills(video: AnyVideo, indices: Sequence[int]) -> Iterator[Frame]:
    for index in indices:
        yield from video.frames(index, index + 1)


def _drawn(frame: Frame, masklets: Sequence[Masklet]) -> Picture:
    here = [m for m in masklets if frame.index in m.frame_index]
    labels = {m.object_id: m.label or f"object {m.object_id}" for m in here}
    return overlay(frame.pixels, {m.object_id: m.mask(frame.index) for m in here}, labels)


def _caption(frame: Frame) -> str:
    return f"frame {frame.index}   {frame.timestamp_s:.2f} s"
