"""A picture of scores: J and F of each object, frame by frame, one panel per object."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from pipeline.evaluation.rules import ObjectScores
from pipeline.evaluation.scores import Scores

_BACKGROUND, _GRID, _INK = "#16181d", "#3a3f4b", "#d8dce4"
_J, _F = "#56b4e9", "#e69f00"  # blue and orange, told apart with every common kind of colour vision
_COLUMNS, _WIDTH, _HEIGHT = 2, 640, 200  # of panels, in pixels
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 36, 20, 34  # between a panel's edge and its curves


def plot(scores: Scores) -> Image.Image:
    """The panels in rows, below a line with the mean."""
    font = ImageFont.load_default(15)
    columns = min(_COLUMNS, len(scores.objects))
    rows = -(-len(scores.objects) // columns)
    image = Image.new("RGB", (columns * _WIDTH, 48 + rows * _HEIGHT), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    mean = scores.mean
    title = f"mean:   J&F {mean.jf:.4f}"
    draw.text((_LEFT, 26), title, _INK, font, "lm")
    x = _LEFT + draw.textlength(title, font)
    for text, colour in ((f"J {mean.j:.4f}", _J), (f"F {mean.f:.4f}", _F)):
        draw.text((x + 30, 26), text, colour, font, "lm")
        x += 30 + draw.textlength(text, font)
    for i, each in enumerate(scores.objects):
        _Panel(draw, i % columns * _WIDTH, 48 + i // columns * _HEIGHT, each).paint()
    return image


class _Panel:
    """One object's curves, with the corner (x, y) of its place in the picture."""

    def __init__(self, draw: ImageDraw.ImageDraw, x: int, y: int, scores: ObjectScores) -> None:
        self.draw = draw
        self.left, self.right = x + _LEFT, x + _WIDTH - _RIGHT
        self.top, self.bottom = y + _TOP, y + _HEIGHT - _BOTTOM
        self.scores = scores
        self.font = ImageFont.load_default(13)

    def paint(self) -> None:
        self._frame()
        frames = self.scores.frames
        self._curve([(frame, score.j) for frame, score in frames.items()], _J)
        self._curve([(frame, score.f) for frame, score in frames.items()], _F)

    def _frame(self) -> None:
        """Title, grid and the numbers at its edges."""
        mean = self.scores.mean
        title = f"{self.scores.name}   J {mean.j:.3f}   F {mean.f:.3f}"
        self.draw.text((self.left, self.top - 14), title, _INK, self.font, "lm")
        for share in (0.0, 0.5, 1.0):
            _, y = self._place(self._first, share)
            self.draw.line((self.left, y, self.right, y), _GRID)
            self.draw.text((self.left - 8, y), f"{share:g}", _INK, self.font, "rm")
        for frame in {self._first, self._last}:
            x, y = self._place(frame, 0)
            self.draw.text((x, y + 8), f"{frame}", _INK, self.font, "mt")

    def _curve(self, points: Sequence[tuple[int, float]], colour: str) -> None:
        places = [self._place(*point) for point in points]
        self.draw.line(places, colour, width=2)
        for x, y in places:  # few annotated frames would make no line to see
            self.draw.ellipse((x - 2, y - 2, x + 2, y + 2), colour)

    def _place(self, frame: int, share: float) -> tuple[float, float]:
        along = (frame - self._first) / max(self._last - self._first, 1)
        x = self.left + along * (self.right - self.left)
        return x, self.bottom - share * (self.bottom - self.top)

    @property
    def _first(self) -> int:
        return min(self.scores.frames)

    @property
    def _last(self) -> int:
        return max(self.scores.frames)
