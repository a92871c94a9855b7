"""Synthetic clips with exact masks: painted shapes that move, turn, deform, hide and come back.

A scene is a list of things, far to near, seen by a moving camera. It is drawn from a seed, so the
same seed gives the same clip; it is rendered in torch, on whatever device is asked for.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sam2.training import shapes, textures
from sam2.training.camera import Camera, Lens, draw_camera, draw_lens
from sam2.training.cutouts import draw_cutout
from sam2.training.photographs import draw_photograph
from sam2.training.shapes import Shape, draw_shape
from sam2.training.textures import Colour, Paint, draw_colour, draw_texture
from sam2.training.things import Patch, Path, Shadow, Thing

PHOTOGRAPHED = 0.5  # of the paints, where there are photographs
CUT_OUT = 0.5  # of the things, where there are pictures of some
SIDE = 256  # pixels of a picture that photographs are to be sharp on


@dataclass(frozen=True, slots=True)
class Difficulty:
    """What makes clips easy or hard. Lengths are shares of the picture's side, times frames."""

    things: tuple[int, int]  # fewest and most objects
    size: tuple[float, float]  # radius
    speed: tuple[float, float]  # per frame; drawn evenly in its logarithm
    spin: float  # largest turn per frame, radians
    deformation: float
    contrast: float  # within a texture
    distinctness: float  # least distance of an object's colour from what is behind it, 0..1
    lookalike: float  # chance that an object is followed by its double
    occluder: float  # chance of something that passes over an object
    leaving: float  # chance that an object leaves the picture and returns
    camera: float  # largest speed of the camera
    lens: float  # how much blur, noise, change of light and compression there is, 0..1
    patterns: tuple[str, ...] = textures.TRAINED
    backgrounds: tuple[str, ...] = textures.TRAINED
    families: tuple[str, ...] = shapes.TRAINED
    clutter: int = 0  # most things that stand about behind the objects
    patches: int = 0  # most patches of other paints on an object, like a shirt and trousers
    shadow: float = 0.0  # chance that a thing casts one
    rider: float = 0.0  # chance that a thing carries a smaller one, like a cap
    photographs: tuple[Tensor, ...] = ()  # (3, H, W) uint8; half of ground and things show some
    cutouts: tuple[Tensor, ...] = ()  # (4, H, W) uint8, with opacity; half of the things are some
    opacity: float = 1.0  # of objects
    stretch: float = 0.35  # how much too wide or too high pictures are shown, see `draw_camera`


EASY = Difficulty(
    things=(1, 3), size=(0.1, 0.25), speed=(0.001, 0.01), spin=0.04, deformation=0.15,
    contrast=0.5, distinctness=0.45, lookalike=0.0, occluder=0.0, leaving=0.0, camera=0.002,
    lens=0.15, patterns=textures.TRAINED, backgrounds=textures.CALM,
)  # fmt: skip
MEDIUM = Difficulty(
    things=(2, 4), size=(0.07, 0.22), speed=(0.002, 0.02), spin=0.1, deformation=0.4,
    contrast=0.7, distinctness=0.25, lookalike=0.35, occluder=0.35, leaving=0.1, camera=0.008,
    lens=0.5,
)  # fmt: skip
HARD = Difficulty(
    things=(3, 6), size=(0.035, 0.18), speed=(0.005, 0.045), spin=0.2, deformation=0.7,
    contrast=0.9, distinctness=0.1, lookalike=0.5, occluder=0.5, leaving=0.35, camera=0.02,
    lens=1.0,
)  # fmt: skip
# Nearer to what cameras see: objects of several paints, some of them the ground's, with shadows;
# cluttered ground, natural textures, calmer ways. For training only; the exam stays as it was set.
WILD = Difficulty(
    things=(1, 4), size=(0.05, 0.28), speed=(0.001, 0.02), spin=0.06, deformation=0.5,
    contrast=0.8, distinctness=0.1, lookalike=0.35, occluder=0.35, leaving=0.1, camera=0.012,
    lens=0.7, patterns=(*textures.TRAINED, "grain", "mosaic"), backgrounds=textures.NATURAL,
    families=shapes.VARIED, clutter=6, patches=4, shadow=0.4, rider=0.4, stretch=0.65,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class LabelledClip:
    """Frames with the masks of their objects: what training learns from."""

    frames: Tensor  # (T, 3, S, S) uint8
    masks: Tensor  # (K, T, S, S) bool, the visible part of each object
    name: str = "a synthetic clip"

    @property
    def visible(self) -> Tensor:
        """Whether each object shows at all: (K, T) bool."""
        return self.masks.flatten(2).any(dim=2)


@dataclass(frozen=True, slots=True)
class Scene:
    """A background, things from far to near, a camera and its lens."""

    background: Paint
    things: tuple[Thing, ...]
    camera: Camera
    lens: Lens

    def render(
        self,
        frames: int,
        size: int,
        stride: float = 1.0,
        device: str | torch.device = "cpu",
        start: float = 0.0,
    ) -> LabelledClip:
        """Draws `frames` pictures of side `size`, one every `stride` units of time from `start`."""
        line = torch.arange(frames, dtype=torch.float32, device=device)
        time = (start + stride * line).view(-1, 1, 1)
        x, y = self.camera.look(size, time)
        picture = self.background.paint(2 * x - 1, 2 * y - 1)
        masks: list[Tensor] = []
        for thing in self.things:
            solid = thing.draw(picture, x, y, time)
            masks = [mask & ~solid for mask in masks]
            if thing.is_object:
                masks.append(solid)
        return LabelledClip(self.lens.take(picture, time), torch.stack(masks))


def draw_scene(rng: np.random.Generator, level: Difficulty, frames: int = 8) -> Scene:
    """A random scene, made for clips of about `frames` units of time."""
    background = _draw_ground(rng, level)
    things: list[Thing] = []
    for _ in range(rng.integers(level.things[0], level.things[1] + 1)):
        thing = _draw_thing(rng, level, background, frames)
        things.append(thing)
        if rng.random() < level.lookalike:
            things.append(_double(rng, level, thing))
    order = rng.permutation(len(things))
    things = [things[i] for i in order]
    if level.rider:
        things = [each for thing in things for each in _with_rider(rng, level, thing, frames)]
    covers = [_cover(rng, level, t, frames) for t in things if rng.random() < level.occluder]
    camera, lens = draw_camera(rng, level.camera, level.stretch), draw_lens(rng, level.lens)
    clutter = _draw_clutter(rng, level, background) if level.clutter else []
    return Scene(background, (*clutter, *things, *covers), camera, lens)


def _draw_ground(rng: np.random.Generator, level: Difficulty) -> Paint:
    if level.photographs and rng.random() < PHOTOGRAPHED:
        return draw_photograph(rng, level.photographs, turn=0.2, pixels=SIDE / 2)
    return draw_texture(rng, level.backgrounds, level.contrast * 0.8)


def _draw_paint(
    rng: np.random.Generator, level: Difficulty, size: float, base: Colour | None
) -> Paint:
    """The paint of a thing of that radius, in a colour of its own or one that is asked for."""
    if level.photographs and rng.random() < PHOTOGRAPHED:
        return draw_photograph(rng, level.photographs, turn=np.pi, pixels=SIDE * size)
    return draw_texture(rng, level.patterns, level.contrast, base)


def _draw_clutter(rng: np.random.Generator, level: Difficulty, behind: Paint) -> list[Thing]:
    """Things that stand still and that nobody asks for."""
    still = replace(level, speed=(1e-6, 1e-5), spin=0.0, deformation=0.0, leaving=0.0)
    things = [_draw_thing(rng, still, behind, 1) for _ in range(rng.integers(level.clutter + 1))]
    return [replace(t, size=t.size * float(rng.uniform(0.5, 3)), is_object=False) for t in things]


def _draw_thing(rng: np.random.Generator, level: Difficulty, behind: Paint, frames: int) -> Thing:
    size = float(np.exp(rng.uniform(*np.log(level.size))))
    shape = draw_shape(rng, level.families, level.deformation * float(rng.random()))
    colour = _colour_unlike(rng, behind.colours[0], level.distinctness)
    thing = Thing(
        shape=shape,
        texture=_draw_paint(rng, level, size, colour),
        path=_draw_path(rng, level, size, frames),
        size=size,
        aspect=float(np.exp(rng.uniform(-0.3, 0.3))),
        angle=float(rng.uniform(0, 2 * np.pi)),
        spin=float(rng.uniform(-level.spin, level.spin)),
        growth=float(rng.uniform(-1, 1)) * level.speed[1] * 0.7,
        light=float(rng.uniform(0, 0.35)),
        opacity=level.opacity,
    )
    if level.patches:
        thing = replace(thing, patches=_draw_patches(rng, level, size, behind))
    if level.shadow and rng.random() < level.shadow:
        thing = replace(thing, shadow=_draw_shadow(rng))
    if level.cutouts and rng.random() < CUT_OUT:
        outline, paint = draw_cutout(rng, level.cutouts, SIDE * size)
        thing = replace(thing, shape=outline, texture=paint, patches=())
    return thing


def _draw_patches(
    rng: np.random.Generator, level: Difficulty, size: float, behind: Paint
) -> tuple[Patch, ...]:
    """Other paints for parts of a thing.

    One in four has the colour of what is behind it, and one in four that very paint.
    """
    patches = []
    for _ in range(rng.integers(level.patches + 1)):
        likeness = rng.random()
        if likeness > 0.75:
            paint = behind.finer(2 * size)
        else:
            base = behind.colours[0] if likeness < 0.25 else None
            paint = _draw_paint(rng, level, size, base)
        patches.append(Patch(paint, *(float(place) for place in rng.normal(0, 0.6, 2))))
    return tuple(patches)


def _draw_shadow(rng: np.random.Generator) -> Shadow:
    x, y = float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.1, 0.9))
    return Shadow(x, y, darkness=float(rng.uniform(0.2, 0.7)))


def _colour_unlike(rng: np.random.Generator, other: Colour, distance: float) -> Colour:
    """A colour at least `distance` away from the other in one of red, green and blue."""
    while True:
        colour = draw_colour(rng)
        if np.abs(np.subtract(colour, other)).max() >= distance:
            return colour


def _draw_path(rng: np.random.Generator, level: Difficulty, size: float, frames: int) -> Path:
    speed = float(np.exp(rng.uniform(*np.log(level.speed))))
    if rng.random() < level.leaving:
        return _draw_exit(rng, size, frames)
    start = rng.uniform(0.15, 0.85, 2)
    heading = np.arctan2(*(0.5 - start)[::-1]) + rng.normal(0, 1.2)  # more often to the middle
    pace = float(rng.uniform(0.1, 0.5))
    sway = speed * rng.uniform(-0.7, 0.7, 2) / pace
    return Path(
        start=(float(start[0]), float(start[1])),
        velocity=(float(speed * np.cos(heading)), float(speed * np.sin(heading))),
        sway=(float(sway[0]), float(sway[1])),
        pace=pace,
        phase=float(rng.uniform(0, 2 * np.pi)),
    )


def _draw_exit(rng: np.random.Generator, size: float, frames: int) -> Path:
    """A way out over one side of the picture, and back."""
    side, along = rng.random() < 0.5, float(rng.uniform(0.2, 0.8))
    depth = float(rng.uniform(0.05, 0.2))
    near = depth if rng.random() < 0.5 else 1 - depth
    out = (-1 if near < 0.5 else 1) * (depth + 1.6 * size) * float(rng.uniform(1, 1.4))
    start, sway = ((near, along), (out, 0.0)) if side else ((along, near), (0.0, out))
    return Path(
        start, (0.0, 0.0), sway, pace=float(np.pi / (frames * rng.uniform(0.7, 1.1))), phase=0.0
    )


def _double(rng: np.random.Generator, level: Difficulty, thing: Thing) -> Thing:
    """Another thing that looks like this one, elsewhere and on its own way."""
    path = _draw_path(rng, level, thing.size, frames=24)
    angle = float(rng.uniform(0, 2 * np.pi))
    size = thing.size * float(rng.uniform(0.85, 1.15))
    return replace(thing, path=path, size=size, angle=angle, spin=-thing.spin)


def _with_rider(
    rng: np.random.Generator, level: Difficulty, thing: Thing, frames: int
) -> tuple[Thing, ...]:
    """A thing and, perhaps, a smaller one that goes where it goes."""
    if rng.random() >= level.rider:
        return (thing,)
    rider = _draw_thing(rng, level, thing.texture, frames)
    (x, y), beside = thing.path.start, thing.size * rng.uniform(-0.8, 0.8, 2)
    path = replace(thing.path, start=(x + float(beside[0]), y + float(beside[1])))
    size = thing.size * float(rng.uniform(0.25, 0.6))
    return thing, replace(rider, path=path, size=size, growth=thing.growth)


def _cover(rng: np.random.Generator, level: Difficulty, thing: Thing, frames: int) -> Thing:
    """Something that passes over a thing, and hides some or all of it for a while."""
    meeting = torch.full((1, 1, 1), float(rng.uniform(0.3, 0.8)) * frames)
    x, y = (float(place) for place in thing.path.at(meeting))
    size = thing.size * float(rng.uniform(0.7, 1.7))
    speed = 2 * (size + thing.size) / frames * float(rng.uniform(0.8, 1.6))
    heading = rng.uniform(0, 2 * np.pi)
    velocity = (float(speed * np.cos(heading)), float(speed * np.sin(heading)))
    time = float(meeting)
    start = (x - velocity[0] * time, y - velocity[1] * time)
    return Thing(
        shape=Shape("superellipse", (0.9, *rng.random(11)), 0.0),
        texture=draw_texture(rng, level.backgrounds, level.contrast),
        path=Path(start, velocity, (0.0, 0.0), 0.1, 0.0),
        size=size,
        aspect=float(np.exp(rng.uniform(-0.5, 0.5))),
        angle=float(heading),
        spin=0.0,
        growth=0.0,
        light=0.1,
        is_object=False,
    )
