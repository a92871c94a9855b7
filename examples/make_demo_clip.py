"""Draws the demo clip: a ball rolls along a beach, a balloon drifts, a boat passes behind a post.

python -m examples.make_demo_clip

A frame is a stack of layers, far to near. The same layers give the picture and the exact masks.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pipeline.overlay import write_video

WIDTH, HEIGHT, FPS, FRAMES = 640, 384, 24, 48
HORIZON, SHORE = 178, 262
BALL, BALLOON, BOAT = 1, 2, 3
FOLDER = Path(__file__).parent / "demo"

Plane = NDArray[np.float64]  # (H, W)
Picture = NDArray[np.float64]  # (H, W, 3), 0 to 255

Y, X = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
LIGHT = np.array([-0.52, -0.62, 0.59])  # x right, y down, z to the viewer; unit length


@dataclass(frozen=True, slots=True)
class Layer:
    """A colour laid over what is behind it. Layers that cover less than half hide nothing."""

    colour: ArrayLike  # one RGB, or (H, W, 3)
    cover: Plane
    object_id: int | None = None


# Shapes: the distance in pixels to their edge, negative inside.


def ellipse(x: float, y: float, rx: float, ry: float) -> Plane:
    distance: Plane = (np.hypot((X - x) / rx, (Y - y) / ry) - 1) * min(rx, ry)
    return distance


def convex(*corners: tuple[float, float]) -> Plane:
    """A convex polygon, its corners clockwise on the screen."""
    distance: Plane = np.full_like(X, -np.inf)
    for (ax, ay), (bx, by) in pairwise([*corners, corners[0]]):
        side = ((X - ax) * (by - ay) - (Y - ay) * (bx - ax)) / np.hypot(bx - ax, by - ay)
        distance = np.maximum(distance, side)
    return distance


def fill(distance: Plane, softness: float = 1.0) -> Plane:
    """The share of each pixel that a shape covers; a soft one fades over `softness` pixels."""
    return np.clip(0.5 - distance / softness, 0, 1)


def blend(weight: Plane, a: ArrayLike, b: ArrayLike) -> Picture:
    """From colour `a` where the weight is 0 to colour `b` where it is 1."""
    w = np.clip(weight, 0, 1)[..., None]
    return np.asarray(a) * (1 - w) + np.asarray(b) * w


@cache
def wide_noise(seed: int, cell_x: int, cell_y: int) -> Plane:
    """Smooth noise, -1 to 1, features of a cell's size; a pixel a frame wider than the picture."""
    rows, columns = HEIGHT // cell_y + 1, (WIDTH + FRAMES) // cell_x + 1
    coarse = np.random.default_rng(seed).uniform(-1, 1, (rows, columns)).astype(np.float32)
    size = (columns * cell_x, rows * cell_y)
    fine = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(fine, np.float64)[:HEIGHT]


def noise(seed: int, cell_x: int, cell_y: int, shift: int = 0) -> Plane:
    """The part of the noise in view after it has moved `shift` pixels to the left."""
    return wide_noise(seed, cell_x, cell_y)[:, shift : shift + WIDTH]


# The scene, far to near.


def sky() -> Layer:
    up = 1 - Y / HORIZON
    haze = blend(up * 2.2, (222, 236, 246), (178, 214, 238))
    clear = blend(up * 1.6 - 0.5, haze, (84, 160, 222))
    puffs = 0.6 * noise(1, 160, 34) + 0.3 * noise(2, 60, 16) + 0.14 * noise(3, 22, 8)
    clouds = np.clip((puffs - 0.06) * 1.7, 0, 0.85) * np.clip(up * 3, 0, 1)
    return Layer(blend(clouds, clear, (255, 251, 246)), np.ones_like(X))


def sea(t: int) -> Layer:
    depth = (Y - HORIZON) / (SHORE - HORIZON)
    water = blend(depth, (44, 122, 168), (112, 203, 204))
    swell = noise(4, 36, 3, shift=t) * noise(5, 52, 4, shift=FRAMES - t)
    lit = blend(np.clip(swell * 1.5 + 0.1, 0, 0.5), water, (236, 250, 248))
    return Layer(lit, fill(HORIZON - Y))


def headland() -> Layer:
    cliff = 540 + 0.004 * (HORIZON + 12 - Y).clip(0) ** 2 + 5 * noise(6, 24, 9)
    crest = 84 + 0.006 * (X - 610) ** 2 + 4 * noise(7, 16, 12)
    rock = blend(0.5 + 0.5 * noise(8, 9, 14), (108, 116, 104), (150, 148, 124))
    grass = blend(0.5 + 0.5 * noise(9, 12, 6), (84, 136, 88), (124, 166, 98))
    colour = blend((crest + 34 + 8 * noise(10, 20, 20) - Y) / 8, rock, grass)
    foot = HORIZON + 24 + 1.5 * noise(17, 12, 12)
    return Layer(colour, fill(np.maximum.reduce([cliff - X, crest - Y, Y - foot])))


def beach(t: int) -> Iterator[Layer]:
    lap = 3 * np.sin(2 * np.pi * t / FRAMES)
    edge = Y - SHORE - lap - 4 * noise(11, 90, 90) - 2 * noise(12, 30, 30)
    grain = 0.5 + 0.3 * noise(13, 2, 2) + 0.3 * noise(14, 46, 12)
    dry = blend(grain, (231, 204, 158), (246, 226, 186))
    sand = blend(1 - edge / 22, dry, (203, 172, 128))
    yield Layer(sand, fill(-edge))
    yield Layer((255, 255, 252), 0.9 * fill(np.abs(edge + 1) - 2.2, 3))


def post() -> Iterator[Layer]:
    x, top, foot = 330, 104, 281
    yield Layer((92, 66, 40), 0.4 * fill(ellipse(x + 22, foot, 26, 4.5), 7))
    trunk = convex((x - 9, top), (x + 9, top), (x + 9, foot), (x - 9, foot))
    across = (X - x) / 9
    wood = blend(0.5 + 0.5 * noise(15, 3, 40), (88, 98, 108), (136, 144, 150))
    shaded = wood * (1.12 - 0.34 * across)[..., None]
    yield Layer(shaded, fill(np.minimum(trunk, ellipse(x, foot, 9, 3))))
    yield Layer((190, 198, 204), fill(ellipse(x, top, 9, 3)))
    for height in (124, 131):
        rope = np.maximum(np.abs(X - x) - 10, np.abs(Y - height - 1.5 * across) - 3)
        yield Layer(blend(0.5 + across / 2, (240, 226, 196), (184, 162, 128)), fill(rope))


# The three objects.


def boat(t: int) -> Iterator[Layer]:
    x, y = 600 - 6.9 * t, 188 + 1.2 * np.sin(t / 5)
    mirror = fill(ellipse(x, y + 13, 34, 9), 12) * (0.75 + 0.25 * noise(16, 14, 2))
    yield Layer((250, 246, 238), 0.42 * mirror)
    hull = convex((x - 40, y - 7), (x + 36, y - 7), (x + 28, y + 9), (x - 26, y + 9))
    jib = convex((x - 4, y - 70), (x - 4, y - 6), (x - 37, y - 6))
    main = convex((x, y - 80), (x + 37, y - 6), (x, y - 6))
    mast = convex((x - 4, y - 84), (x, y - 84), (x, y - 6), (x - 4, y - 6))
    yield Layer((176, 96, 44), fill(mast), BOAT)
    yield Layer(blend((X - x + 37) / 36, (255, 206, 120), (244, 168, 72)), fill(jib), BOAT)
    yield Layer(blend((X - x) / 40, (255, 198, 108), (236, 150, 62)), fill(main), BOAT)
    yield Layer(blend((Y - y + 7) / 16, (222, 118, 54), (178, 80, 36)), fill(hull), BOAT)
    stripe = np.maximum(hull, np.abs(Y - y + 4) - 1.5)
    yield Layer((255, 206, 120), fill(stripe), BOAT)


def balloon(t: int) -> Iterator[Layer]:
    x, y = 104 + 1.5 * t + 4 * np.sin(t / 9), 102 - 0.75 * t
    right, down = X - x, Y - y
    for side in (-1, 1):
        rope = np.maximum(np.abs(right - side * 9) - 0.9, np.abs(down - 57) - 7)
        yield Layer((104, 78, 60), fill(rope), BALLOON)
    basket = convex((x - 10, y + 60), (x + 10, y + 60), (x + 8, y + 73), (x - 8, y + 73))
    yield Layer(blend((right + 10) / 20, (180, 128, 78), (122, 80, 46)), fill(basket), BALLOON)
    # A dome and, from where it leans in by 45 degrees, a cone that carries its edge on.
    cone = convex((x - 30.4, y + 31.8), (x + 30.4, y + 31.8), (x + 10, y + 53), (x - 10, y + 53))
    dome = 43 * np.sqrt(np.clip(1 - (down / 45) ** 2, 0.001, 1))
    half_width = np.where(down < 31.8, dome, np.maximum(30.4 - 0.956 * (down - 31.8), 1))
    around = np.clip(right / half_width, -1, 1)
    gores = np.clip(0.5 + 0.1 * half_width * np.sin(6 * np.arcsin(around)), 0, 1)
    cloth = blend(gores, (226, 80, 60), (252, 200, 96))
    shade = 1.08 - 0.26 * around**2 - 0.16 * around - 0.1 * down / 45
    envelope = np.minimum(ellipse(x, y, 43, 45), cone)
    yield Layer(cloth * shade[..., None], fill(envelope), BALLOON)


def ball(t: int) -> Iterator[Layer]:
    radius, start, ground = 39.0, 78.0, 362.0
    x, y = start + 7.4 * t - 0.03 * t * t, ground - radius
    yield Layer((116, 84, 52), 0.46 * fill(ellipse(x + 18, ground - 2, 46, 9), 12))
    nx, ny = (X - x) / radius, (Y - y) / radius
    normal = np.stack([nx, ny, np.sqrt(np.clip(1 - nx**2 - ny**2, 0, 1))], axis=-1)
    paint = panels(normal, turn=(x - start) / radius)  # it rolls without slipping
    lit = np.clip(normal @ LIGHT, 0, 1)
    colour = blend(0.7 * lit**40, paint * (0.58 + 0.5 * lit)[..., None], (255, 255, 255))
    yield Layer(colour, fill(ellipse(x, y, radius, radius)), BALL)


def panels(normal: Picture, turn: float) -> Picture:
    """The paint of a turned ball: three reds, a lighter one between them, and a cap of that."""
    x, y, z = np.moveaxis(normal, -1, 0)
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    y, z = y * np.cos(0.5) - z * np.sin(0.5), y * np.sin(0.5) + z * np.cos(0.5)  # tip the cap
    longitude = np.arctan2(y, x)
    hues = np.array([(222, 62, 70), (204, 44, 84), (236, 92, 66)])
    hue = hues[np.floor(3 * (longitude + np.pi) / (2 * np.pi)).astype(int) % 3]
    coloured = np.clip(0.5 + 13 * np.hypot(x, y) * np.sin(3 * longitude), 0, 1)
    return blend(coloured * np.clip(0.5 + 156 * (0.97 - z), 0, 1), (246, 128, 110), hue)


def layers(t: int) -> Iterator[Layer]:
    """Everything in frame `t`, far to near."""
    yield sky()
    yield sea(t)
    yield from boat(t)
    yield headland()
    yield from balloon(t)
    yield from beach(t)
    yield from post()
    yield from ball(t)


def frame(t: int) -> NDArray[np.uint8]:
    """The picture (H, W, 3) of frame `t`."""
    picture = np.zeros((HEIGHT, WIDTH, 3))
    for layer in layers(t):
        picture = blend(layer.cover, picture, layer.colour)
    return picture.clip(0, 255).round().astype(np.uint8)


def object_masks(t: int) -> dict[int, NDArray[np.bool_]]:
    """The exact visible mask (H, W) of every object in frame `t`."""
    masks = {object_id: np.zeros((HEIGHT, WIDTH), bool) for object_id in (BALL, BALLOON, BOAT)}
    for layer in layers(t):
        solid = layer.cover > 0.5
        for object_id, mask in masks.items():
            mask[solid] = object_id == layer.object_id
    return masks


def click(object_id: int, t: int) -> dict[str, object]:
    """A prompt: one click in the middle of an object."""
    rows, columns = np.nonzero(object_masks(t)[object_id])
    return {
        "frame": t,
        "points": [[round(columns.mean()), round(rows.mean())]],
        "point_labels": [1],
    }


def box(object_id: int, t: int) -> dict[str, object]:
    """A prompt: the box round an object."""
    rows, columns = np.nonzero(object_masks(t)[object_id])
    corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return {"frame": t, "box": [int(c) for c in corners]}


def manifest() -> dict[str, object]:
    """The clip's line of the manifest: a click, a box, and one followed both ways in time."""
    return {
        "video_id": "demo",
        "uri": "demo.mp4",
        "objects": [
            {"object_id": BALL, "label": "beach ball", "prompts": [click(BALL, 0)]},
            {"object_id": BALLOON, "label": "hot-air balloon", "prompts": [box(BALLOON, 0)]},
            {
                "object_id": BOAT,
                "label": "sailing boat",
                "direction": "both",  # it is hidden behind the headland when the clip starts
                "prompts": [box(BOAT, 20)],
            },
        ],
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    write_video(FOLDER / "demo.mp4", map(frame, range(FRAMES)), FPS)
    (FOLDER / "manifest.jsonl").write_text(json.dumps(manifest()) + "\n")


if __name__ == "__main__":
    main()
