"""A picture of scores: J and F of each object, frame by frame, one panel per object."""

from PIL import Image, ImageDraw, ImageFont

from pipeline.evaluation.rules import ObjectScores
from pipeline.evaluation.scores import Scores
from pipeline.panel import BACKGROUND, COLOURS, INK, Panel

_J, _F = COLOURS[:2]
_COLUMNS, _WIDTH, _HEIGHT = 2, 640, 200  # of panels, in pixels
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 36, 20, 34  # between a panel's edge and its curves
_HEAD = 48  # above the panels


def plot(scores: Scores) -> Image.Image:
    """The panels in rows, below a line with the mean."""
    font = ImageFont.load_default(15)
    columns = min(_COLUMNS, len(scores.objects))
    rows = -(-len(scores.objects) // columns)
    image = Image.new("RGB", (columns * _WIDTH, _HEAD + rows * _HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    mean = scores.mean
    title = f"mean:   J&F {mean.jf:.4f}"
    draw.text((_LEFT, 26), title, INK, font, "lm")
    x = _LEFT + draw.textlength(title, font)
    for text, colour in ((f"J {mean.j:.4f}", _J), (f"F {mean.f:.4f}", _F)):
        draw.text((x + 30, 26), text, colour, font, "lm")
        x += 30 + draw.textlength(text, font)
    for i, each in enumerate(scores.objects):
        _paint(draw, i % columns * _WIDTH, _HEAD + i // columns * _HEIGHT, each)
    return image


def _paint(draw: ImageDraw.ImageDraw, x: int, y: int, scores: ObjectScores) -> None:
    """One object's curves, in the panel with the corner (x, y)."""
    box = (x + _LEFT, y + _TOP, x + _WIDTH - _RIGHT, y + _HEIGHT - _BOTTOM)
    first, last = min(scores.frames), max(scores.frames)
    panel = Panel(draw, box, (first, last))
    mean = scores.mean
    title = f"{scores.name}   J {mean.j:.3f}   F {mean.f:.3f}"
    draw.text((panel.left, panel.top - 14), title, INK, panel.font, "lm")
    panel.grid()
    for frame in {first, last}:
        at, bottom = panel.place(frame, 0)
        draw.text((at, bottom + 8), f"{frame}", INK, panel.font, "mt")
    panel.curve([(frame, score.j) for frame, score in scores.frames.items()], _J)
    panel.curve([(frame, score.f) for frame, score in scores.frames.items()], _F)
