"""The picture of a training: its losses above, J&F on practice clips below, over the steps."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_BACKGROUND, _GRID, _INK = "#16181d", "#3a3f4b", "#d8dce4"
_WIDTH, _HEIGHT = 900, 280  # of a panel
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 44, 20, 30
_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7")  # told apart by most eyes

Points = Sequence[tuple[float, float]]


def plot_curves(notes: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Two panels: the loss and its mask terms, and J&F by first prompt."""
    image = Image.new("RGB", (_WIDTH, 2 * _HEIGHT), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    steps = [note for note in notes if "loss" in note]
    terms = {
        name: [(note["step"], note[name]) for note in steps] for name in ("loss", "dice", "iou")
    }
    highest = max((value for _, value in terms["loss"]), default=1.0)
    _panel(draw, 0, "loss", terms, highest)
    exams = [note for note in notes if "jf" in note]
    scores = {
        kind: [(note["step"], note["jf"][kind]) for note in exams]
        for kind in (exams[0]["jf"] if exams else ())
    }
    _panel(draw, _HEIGHT, "J&F on practice clips", scores, 1.0)
    return image


def _panel(
    draw: ImageDraw.ImageDraw, y: int, title: str, curves: Mapping[str, Points], highest: float
) -> None:
    """One panel with its top at `y`; values run from 0 to `highest`."""
    font = ImageFont.load_default(14)
    last = max((step for points in curves.values() for step, _ in points), default=1.0)
    bottom, height, width = y + _HEIGHT - _BOTTOM, _HEIGHT - _TOP - _BOTTOM, _WIDTH - _LEFT - _RIGHT
    for share in (0.0, 0.5, 1.0):
        level = bottom - share * height
        draw.line((_LEFT, level, _WIDTH - _RIGHT, level), _GRID)
        draw.text((_LEFT - 8, level), f"{share * highest:.3g}", _INK, font, "rm")
    draw.text((_WIDTH - _RIGHT, bottom + 6), f"{last:.0f} steps", _INK, font, "rt")
    draw.text((_LEFT, y + 22), title, _INK, font, "lm")
    x = _LEFT + draw.textlength(title, font) + 30
    for (name, points), colour in zip(curves.items(), _COLOURS, strict=False):
        draw.text((x, y + 22), name, colour, font, "lm")
        x += draw.textlength(name, font) + 24
        places = [
            (_LEFT + step / last * width, bottom - min(value / highest, 1) * height)
            for step, value in points
        ]
        if len(places) > 1:
            draw.line(places, colour, width=2)
        for px, py in places if len(places) < 60 else ():
            draw.ellipse((px - 2, py - 2, px + 2, py + 2), colour)
