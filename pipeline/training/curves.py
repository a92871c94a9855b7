"""The picture of a training: its losses above, J&F on practice clips below, over the steps."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

from pipeline.panel import BACKGROUND, COLOURS, INK, Panel, Points

_WIDTH, _HEIGHT = 900, 280  # of a panel
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 44, 20, 30


def plot_curves(notes: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Two panels: the loss and its mask terms, and J&F by first prompt."""
    image = Image.new("RGB", (_WIDTH, 2 * _HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    steps = [note for note in notes if "loss" in note]
    terms = {
        name: [(note["step"], note[name]) for note in steps] for name in ("loss", "dice", "iou")
    }
    highest = max((value for _, value in terms["loss"]), default=1.0)
    _paint(draw, 0, "loss", terms, highest)
    exams = [note for note in notes if "jf" in note]
    scores = {
        kind: [(note["step"], note["jf"][kind]) for note in exams]
        for kind in (exams[0]["jf"] if exams else ())
    }
    _paint(draw, _HEIGHT, "J&F on practice clips", scores, 1.0)
    return image


def _paint(
    draw: ImageDraw.ImageDraw, y: int, title: str, curves: Mapping[str, Points], highest: float
) -> None:
    """The panel with its top at `y`; values run from 0 to `highest`."""
    last = max((step for points in curves.values() for step, _ in points), default=1.0)
    box = (_LEFT, y + _TOP, _WIDTH - _RIGHT, y + _HEIGHT - _BOTTOM)
    panel = Panel(draw, box, (0.0, last), highest)
    panel.grid()
    draw.text((panel.right, panel.bottom + 6), f"{last:.0f} steps", INK, panel.font, "rt")
    draw.text((_LEFT, y + 22), title, INK, panel.font, "lm")
    x = _LEFT + draw.textlength(title, panel.font) + 30
    for (name, points), colour in zip(curves.items(), COLOURS, strict=False):
        draw.text((x, y + 22), name, colour, panel.font, "lm")
        x += draw.textlength(name, panel.font) + 24
        panel.curve(points, colour)
