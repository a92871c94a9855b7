"""A panel of a picture: curves over a grid."""

from collections.abc import Sequence

from PIL import ImageDraw, ImageFont

BACKGROUND, GRID, INK = "#16181d", "#3a3f4b", "#d8dce4"
COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7")  # told apart with every common colour vision

_MOST_DOTS = 60  # more of them would hide their line

Points = Sequence[tuple[float, float]]


class Panel:
    """Where curves are drawn: `box` is left, top, right, bottom, in pixels of the picture.

    From left to right it shows `span`, from the bottom to the top 0 to `highest`.
    """

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        box: tuple[int, int, int, int],
        span: tuple[float, float],
        highest: float = 1.0,
    ) -> None:
        self.draw, self.span, self.highest = draw, span, highest
        self.left, self.top, self.right, self.bottom = box
        self.font = ImageFont.load_default(13)

    def grid(self) -> None:
        """Draws three levels, with their values beside them."""
        for share in (0.0, 0.5, 1.0):
            _, y = self.place(self.span[0], share * self.highest)
            self.draw.line((self.left, y, self.right, y), GRID)
            text = f"{share * self.highest:.3g}"
            self.draw.text((self.left - 8, y), text, INK, self.font, "rm")

    def curve(self, points: Points, colour: str) -> None:
        """Draws points (x, value) and the line through them; dots show where they are few."""
        places = [self.place(*point) for point in points]
        if len(places) > 1:
            self.draw.line(places, colour, width=2)
        for x, y in places if len(places) <= _MOST_DOTS else ():
            self.draw.ellipse((x - 2, y - 2, x + 2, y + 2), colour)

    def place(self, x: float, value: float) -> tuple[float, float]:
        """The pixel of a point; what is too high lies on the upper edge."""
        first, last = self.span
        along = (x - first) / max(last - first, 1)
        up = min(value / self.highest, 1)
        return (
            self.left + along * (self.right - self.left),
            self.bottom - up * (self.bottom - self.top),
        )
