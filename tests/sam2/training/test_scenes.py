"""Synthetic clips: the same from the same seed, with masks that are exactly what is seen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2.training import shapes, textures
from sam2.training.camera import compress, draw_lens
from sam2.training.cutouts import REACH, Cutout, depth_of, draw_cutout
from sam2.training.photographs import Photograph, draw_photograph
from sam2.training.scenes import EASY, HARD, MEDIUM, WILD, Difficulty, draw_scene
from sam2.training.shapes import draw_shape
from sam2.training.textures import Paint, Texture, draw_texture
from sam2.training.things import Patch, Path, Shadow, Thing

PICTURES = tuple(
    (255 * torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))).to(torch.uint8)
    for shape in ((40, 60), (90, 30))
)
CUTOUT = torch.zeros(4, 30, 40, dtype=torch.uint8)  # red and blue halves on nothing
CUTOUT[0, :, :20], CUTOUT[2, :, 20:], CUTOUT[3, 5:25, 3:37] = 250, 250, 255
LEVELS = {
    "easy": EASY,
    "medium": MEDIUM,
    "hard": HARD,
    "wild": WILD,
    "photographs": replace(WILD, photographs=PICTURES),
    "cutouts": replace(WILD, cutouts=(CUTOUT,)),
}
# Plain colours far from their background and a clean lens: what is seen can be told by colour.
CLEAR = replace(EASY, patterns=("plain",), backgrounds=("plain",), lens=0.0, distinctness=0.5)


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_a_seed_gives_one_clip_and_another_seed_another(level: Difficulty) -> None:
    first, again, other = (
        draw_scene(np.random.default_rng(seed), level).render(4, 64) for seed in (5, 5, 6)
    )

    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.frames, other.frames)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), level=st.sampled_from(sorted(LEVELS)))
def test_a_clip_has_the_promised_shapes_and_no_pixel_of_two_objects(seed: int, level: str) -> None:
    clip = draw_scene(np.random.default_rng(seed), LEVELS[level]).render(3, 48)

    assert clip.frames.shape == (3, 3, 48, 48)
    assert clip.frames.dtype == torch.uint8
    assert clip.masks.shape[1:] == (3, 48, 48)
    assert int(clip.masks.sum(dim=0).max()) <= 1
    assert torch.equal(clip.visible, clip.masks.flatten(2).any(dim=2))


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_a_mask_covers_exactly_what_differs_from_the_background(seed: int) -> None:
    scene = draw_scene(np.random.default_rng(seed), replace(CLEAR, things=(1, 1)))
    still = replace(scene.things[0], light=0.0)
    clip = replace(scene, things=(still,)).render(2, 96)
    background = torch.tensor(scene.background.colours[0]).view(1, 3, 1, 1) * 255

    unlike = (clip.frames.float() - background).abs().amax(dim=1)
    furthest = (255 * torch.tensor(still.texture.colours[0]).view(1, 3, 1, 1) - background).abs()

    # An edge pixel is of the object where more than half of it is covered.
    covered = unlike / furthest.amax()
    assert (covered[clip.masks[0]] > 0.48).all()
    assert (covered[~clip.masks[0]] < 0.52).all()


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_a_later_start_shows_the_rest_of_the_scene(level: Difficulty) -> None:
    scene = draw_scene(np.random.default_rng(3), replace(level, lens=0.0))
    whole, rest = scene.render(6, 64, stride=0.5), scene.render(4, 64, stride=0.5, start=1.0)

    assert torch.equal(rest.masks, whole.masks[:, 2:])
    assert torch.equal(rest.frames, whole.frames[2:])


def test_what_is_nearer_hides_what_is_behind() -> None:
    scene = draw_scene(np.random.default_rng(3), replace(CLEAR, things=(1, 1)))
    (thing,) = scene.things
    alone = scene.render(2, 64)
    smaller = replace(thing, size=thing.size / 2)
    both = replace(scene, things=(thing, smaller)).render(2, 64)
    covered = replace(scene, things=(thing, replace(thing, is_object=False))).render(2, 64)

    assert torch.equal(both.masks.any(dim=0), alone.masks[0])
    assert both.masks[1].sum() > 0
    assert not covered.masks.any()


def test_things_hide_and_leave_where_they_should() -> None:
    hidden = {
        name: np.mean(
            [
                (~draw_scene(np.random.default_rng([seed]), level, 8).render(8, 48).visible)
                .float()
                .mean()
                .item()
                for seed in range(40)
            ]
        )
        for name, level in LEVELS.items()
    }

    assert hidden["easy"] == 0
    assert hidden["easy"] < hidden["medium"] < hidden["hard"] < 0.4


@pytest.mark.parametrize("family", sorted({*shapes.FAMILIES} - {"polygon"}))  # may be a wedge
def test_every_shape_has_an_inside_that_fits_its_plane(family: str) -> None:
    line = torch.linspace(-5, 5, 201)
    v, u = (grid[None].expand(3, -1, -1) for grid in torch.meshgrid(line, line, indexing="ij"))
    time = torch.tensor([0.0, 3.0, 20.0]).view(3, 1, 1)
    for seed in range(12):
        shape = draw_shape(np.random.default_rng(seed), (family,), deformation=0.5)

        inside = shape.depth(u, v, time) > 0

        area = inside.flatten(1).float().mean(dim=1) * 100  # of a plane that is 10 x 10
        assert (area > 0.25).all()
        assert (area < 8).all()
        assert not inside[:, 0].any()
        assert not inside[:, :, 0].any()


def test_a_rigid_shape_keeps_its_outline() -> None:
    line = torch.linspace(-1.5, 1.5, 40)
    v, u = (grid[None].expand(2, -1, -1) for grid in torch.meshgrid(line, line, indexing="ij"))
    time = torch.tensor([0.0, 9.0]).view(2, 1, 1)
    for family in shapes.FAMILIES:
        rigid = draw_shape(np.random.default_rng(1), (family,), deformation=0.0)

        now, later = rigid.depth(u, v, time) > 0

        assert torch.equal(now, later), family


def test_training_and_exam_share_no_shape() -> None:
    trained = set(shapes.TRAINED) | set(shapes.VARIED)

    assert not trained & set(shapes.HELD_OUT)
    assert trained | set(shapes.HELD_OUT) == set(shapes.FAMILIES)


def test_each_point_of_an_object_has_the_paint_of_the_patch_whose_middle_is_nearest() -> None:
    thing = replace(_wild_objects()[0], light=0.0)
    red, green, blue = (Texture("plain", (c, c), 1.0, 0.0, 0) for c in np.eye(3).tolist())
    thing = replace(thing, texture=red, patches=(Patch(green, 1.0, 0.0), Patch(blue, 0.0, 1.0)))
    u, v = torch.tensor([[[-0.1, 0.4, 0.6, 0.1]]]), torch.tensor([[[0.0, 0.1, 0.1, 0.8]]])

    colours = thing.paint(u, v)[0, :, 0].argmax(dim=0)

    assert colours.tolist() == [0, 0, 1, 2]


def test_wild_objects_have_up_to_four_patches_and_those_of_the_exam_none() -> None:
    exam = draw_scene(np.random.default_rng(3), HARD)

    assert {len(thing.patches) for thing in _wild_objects()} == {0, 1, 2, 3, 4}
    assert not any(thing.patches or thing.shadow for thing in exam.things)


def test_a_shadow_darkens_the_ground_beside_a_thing_and_is_no_part_of_it() -> None:
    level = replace(EASY, things=(1, 1), lens=0.0, camera=0.0)
    scene = draw_scene(np.random.default_rng(2), level)
    (thing,) = scene.things
    shaded = replace(thing, shadow=Shadow(0.0, 1.0, darkness=0.5))

    plain = scene.render(1, 128)
    clip = replace(scene, things=(shaded,)).render(1, 128)
    changed = (clip.frames != plain.frames).any(dim=1)[0]
    outside = F.max_pool2d((~plain.masks[0]).float(), 3, stride=1, padding=1)[0] > 0

    assert torch.equal(clip.masks, plain.masks)
    assert (changed & outside).sum() > 100
    assert not (changed & ~outside).any()  # of the thing itself
    assert (clip.frames <= plain.frames).all()
    assert clip.frames.float().min() >= 0.45 * plain.frames.float().min()


def test_wild_clips_have_shadows_and_clutter_that_stands_still() -> None:
    scenes = [draw_scene(np.random.default_rng(seed), WILD) for seed in range(20)]
    things = [thing for scene in scenes for thing in scene.things]
    clutter = [t for t in things if not t.is_object and max(map(abs, t.path.velocity)) < 1e-4]

    assert clutter
    assert 0.2 < np.mean([thing.shadow is not None for thing in _wild_objects()]) < 0.6


def _wild_objects() -> list[Thing]:
    scenes = [draw_scene(np.random.default_rng(seed), WILD) for seed in range(20)]
    return [thing for scene in scenes for thing in scene.things if thing.is_object]


def test_what_a_thing_carries_is_smaller_nearer_and_goes_where_it_goes() -> None:
    level = replace(WILD, things=(1, 1), rider=1.0, lookalike=0.0, occluder=0.0, clutter=0)
    time = torch.arange(8.0).view(-1, 1, 1)

    for seed in range(10):
        bearer, rider = draw_scene(np.random.default_rng(seed), level).things
        beside = torch.cat(rider.path.at(time), 1) - torch.cat(bearer.path.at(time), 1)
        assert rider.is_object
        assert rider.size < bearer.size
        torch.testing.assert_close(beside, beside[:1].expand_as(beside), atol=1e-5, rtol=0)
        assert float(beside.abs().max()) < bearer.size


def test_pictures_are_pressed_as_far_as_their_level_says() -> None:
    pressed = {
        name: [
            abs(np.log(draw_scene(np.random.default_rng(seed), level).camera.stretch))
            for seed in range(60)
        ]
        for name, level in LEVELS.items()
    }

    assert max(max(pressed[name]) for name in ("easy", "medium", "hard")) <= 0.35
    assert 0.55 < max(pressed["wild"]) <= 0.65


@pytest.mark.parametrize("pattern", textures.PATTERNS)
def test_paint_stays_between_its_two_colours(pattern: str) -> None:
    texture = draw_texture(np.random.default_rng(2), (pattern,), contrast=0.9)
    line = torch.linspace(-3, 3, 50)
    v, u = (grid[None] for grid in torch.meshgrid(line, line, indexing="ij"))

    colour = texture.paint(u, v)

    low = torch.tensor(texture.colours).amin(dim=0).view(3, 1, 1) - 1e-5
    high = torch.tensor(texture.colours).amax(dim=0).view(3, 1, 1) + 1e-5
    assert colour.shape == (1, 3, 50, 50)
    assert ((colour >= low) & (colour <= high)).all()
    assert pattern == "plain" or colour.std() > 0.01


@settings(max_examples=20)
@given(height=st.integers(1, 9), width=st.integers(1, 9), turned=st.booleans())
def test_a_photograph_shows_its_picture_pixel_by_pixel(
    height: int, width: int, turned: bool
) -> None:
    picture = torch.rand(3, height, width)
    longer = max(height, width)
    across = (2 * torch.arange(width) + 1 - width) / longer
    down = (2 * torch.arange(height) + 1 - height) / longer
    y, x = (grid[None] for grid in torch.meshgrid(down, across, indexing="ij"))
    u, v = (-x, -y) if turned else (x, y)

    paint = Photograph(picture, (0.0, 0.0), 1.0, np.pi if turned else 0.0).paint(u, v)

    torch.testing.assert_close(paint[0], picture, rtol=0, atol=1e-4)


@pytest.mark.parametrize("opacity", [0.0, 0.35])
def test_of_glass_one_sees_as_much_as_it_lets_and_its_mask_is_the_same(opacity: float) -> None:
    scenes = [
        draw_scene(np.random.default_rng(5), replace(CLEAR, things=(1, 1), opacity=share))
        for share in (0.0, opacity, 1.0)
    ]
    ground, glass, solid = (scene.render(2, 64) for scene in scenes)

    assert torch.equal(glass.masks, solid.masks)
    assert solid.masks.any()
    expected = torch.lerp(ground.frames.float(), solid.frames.float(), opacity)
    assert (glass.frames - expected).abs().max() <= 1  # rounded to whole numbers


@pytest.mark.parametrize(
    "paint",
    [
        draw_texture(np.random.default_rng(2), ("spots",), contrast=0.9),
        draw_photograph(np.random.default_rng(2), PICTURES, 0.2, 50),
    ],
    ids=["texture", "photograph"],
)
def test_a_finer_paint_shows_more_of_the_same(paint: Paint) -> None:
    line = torch.linspace(-1, 1, 20)
    v, u = (grid[None] for grid in torch.meshgrid(line, line, indexing="ij"))

    torch.testing.assert_close(paint.finer(0.4).paint(u, v), paint.paint(0.4 * u, 0.4 * v))


def test_some_things_have_a_part_in_the_very_paint_of_the_ground() -> None:
    scenes = [draw_scene(np.random.default_rng(seed), WILD) for seed in range(20)]

    patches = [(s.background, p.texture) for s in scenes for t in s.things for p in t.patches]
    same = [isinstance(p, Texture) and p.seed == g.seed for g, p in patches]
    assert 0.1 < np.mean(same) < 0.4


def test_what_lies_beyond_a_photograph_is_its_mirror_image() -> None:
    picture = torch.rand(3, 8, 8)
    inside, beyond = torch.tensor([[[0.9]]]), torch.tensor([[[1.1]]])
    photograph = Photograph(picture, (0.0, 0.0), 1.0, 0.0)

    paints = [photograph.paint(u, torch.zeros(1, 1, 1)) for u in (inside, beyond)]

    torch.testing.assert_close(*paints)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), pixels=st.floats(1, 200))
def test_a_photograph_is_as_sharp_as_it_can_be_shown(seed: int, pixels: float) -> None:
    photograph = draw_photograph(np.random.default_rng(seed), PICTURES, 0.2, pixels)

    side = max(photograph.picture.shape[1:])
    shown = photograph.span * side / 2  # pixels of the picture on one unit of the plane
    assert shown <= 2 * pixels or min(photograph.picture.shape[1:]) == 1
    assert side in (60, 90) or 2 * shown + photograph.span > 2 * pixels  # not halved in vain
    assert 0 <= photograph.picture.min() <= photograph.picture.max() <= 1


def test_half_of_ground_and_things_are_photographs_where_there_are_some() -> None:
    scenes = [draw_scene(np.random.default_rng(n), LEVELS["photographs"]) for n in range(60)]

    grounds = [isinstance(scene.background, Photograph) for scene in scenes]
    things = [isinstance(t.texture, Photograph) for scene in scenes for t in scene.things]
    assert 18 <= sum(grounds) <= 42
    assert 0.25 < np.mean(things) < 0.6  # covers are no photographs


def test_half_of_the_things_are_cut_out_of_pictures_where_there_are_some() -> None:
    scenes = [draw_scene(np.random.default_rng(n), LEVELS["cutouts"]) for n in range(60)]

    things = [isinstance(t.shape, Cutout) for scene in scenes for t in scene.things]
    assert 0.3 < np.mean(things) < 0.55  # covers are none
    assert not any(t.patches for s in scenes for t in s.things if isinstance(t.shape, Cutout))


@settings(max_examples=20)
@given(angle=st.sampled_from([0, np.pi / 2, np.pi]), seed=st.integers(0, 99))
def test_a_thing_cut_out_shows_its_picture_and_its_mask_is_where_that_is_opaque(
    angle: float, seed: int
) -> None:
    outline, paint = draw_cutout(np.random.default_rng(seed), [CUTOUT], pixels=20)
    path = Path((0.5, 0.5), (0.0, 0.0), (0.0, 0.0), 0.1, 0.0)
    thing = Thing(outline, paint, path, 20 / 64, 1.0, float(angle), 0.0, 0.0, 0.0)
    line = (torch.arange(64) + 0.5) / 64
    y, x = (grid[None] for grid in torch.meshgrid(line, line, indexing="ij"))
    picture = torch.full((1, 3, 64, 64), 0.5)

    mask = thing.draw(picture, x, y, torch.zeros(1, 1, 1))[0]

    turned = torch.rot90(mask, round(2 * angle / np.pi))
    expected = torch.zeros(64, 64, dtype=torch.bool)
    expected[17 + 5 : 17 + 25, 12 + 3 : 12 + 37] = True
    assert torch.equal(turned, expected)
    assert (picture[0][:, ~mask & (picture[0] - 0.5).abs().amax(dim=0).gt(0.01)]).numel() == 0
    red, green, blue = picture[0][:, mask].mean(dim=1).tolist()
    tint = paint.picture.amax(dim=(1, 2))
    assert (red, blue) == pytest.approx((float(tint[0]) / 2, float(tint[2]) / 2), rel=0.05)
    assert green < 0.01


@settings(max_examples=30)
@given(radius=st.floats(3, 15), x=st.floats(14, 18), y=st.floats(14, 18))
def test_depth_is_the_distance_to_the_outline_as_far_as_it_reaches(
    radius: float, x: float, y: float
) -> None:
    line = torch.arange(32) + 0.5
    distance = radius - torch.hypot(line[None] - x, line[:, None] - y)

    depth = depth_of((0.5 + distance).clamp(0, 1))[REACH:-REACH, REACH:-REACH]

    clear = distance.abs() > 0.8
    assert torch.equal(depth[clear] > 0, distance[clear] > 0)
    # Steps are along rows, columns and diagonals, which overrates the distance a little.
    near = distance.abs() < REACH
    assert (depth - distance)[near].abs().max() < 0.42 * REACH
    assert (depth.abs() <= REACH + 0.5).all()


def test_a_lens_of_no_strength_only_rounds() -> None:
    picture = torch.rand(2, 3, 16, 16)

    taken = draw_lens(np.random.default_rng(0), strength=0.0).take(picture, torch.zeros(2, 1, 1))

    assert torch.equal(taken, (picture * 255).round().to(torch.uint8))


def test_compression_loses_more_the_coarser_it_is_and_little_if_fine() -> None:
    picture = torch.rand(1, 3, 32, 32)

    errors = [float((compress(picture, step) - picture).abs().mean()) for step in (0.01, 0.1, 0.4)]

    assert errors[0] < 0.01 < errors[1] < errors[2]
    with pytest.raises(ValueError, match="blocks of 8"):
        compress(torch.rand(1, 3, 30, 30), 0.1)
