"""Training clips: drawn scenes, our own masklets with their videos, folders like those of DAVIS."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.masklets import Masklet, schema_of
from pipeline.training.config import Source
from pipeline.training.labelled import SourceError, davis_videos, masklet_videos
from pipeline.training.sources import (
    ClipSource,
    LabelledClips,
    Mixture,
    open_source,
    read_pictures,
)

HEIGHT, WIDTH, FRAMES, SIZE = 64, 96, 6, 48


def true_mask(t: int) -> np.ndarray:
    """Of the bright square in the clip of tests/clips.py."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:44, 8 + 4 * t : 32 + 4 * t] = True
    return mask


@pytest.fixture
def run(clip: Path, tmp_path: Path) -> str:
    """What a run on the clip would leave, had it found the square."""
    masklet = Masklet.of_masks(
        {t: true_mask(t) for t in range(FRAMES)},
        fps=12,
        task_id=0,
        video_id="square",
        uri=str(clip),
        object_id=1,
        n_frames=FRAMES,
    )
    (tmp_path / "masklets").mkdir()
    table = pa.Table.from_pylist([masklet.to_row()], schema=schema_of("r"))
    pq.write_table(table, tmp_path / "masklets" / "0.parquet")
    return str(tmp_path)


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """Two sequences, each with two objects on a ground of their own."""
    for name in ("bear", "bike"):
        for t in range(FRAMES):
            labels = np.zeros((HEIGHT, WIDTH), np.uint8)
            labels[true_mask(t)] = 1
            labels[50:60, 50:80] = 2
            picture = np.repeat(labels[..., None] * 100, 3, axis=2)
            for folder, suffix, image in (
                ("JPEGImages", "jpg", Image.fromarray(picture)),
                ("Annotations", "png", Image.fromarray(labels)),
            ):
                place = tmp_path / folder / name
                place.mkdir(parents=True, exist_ok=True)
                image.save(place / f"{t:05d}.{suffix}")
    return tmp_path


def draw(
    source: Source | ClipSource, frames: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    opened = open_source(source, frames) if isinstance(source, Source) else source
    clip = opened.draw(np.random.default_rng(seed), frames, SIZE, "cpu")
    return clip.frames, clip.masks


@pytest.mark.parametrize("seed", range(6))
def test_masklets_lie_on_the_pixels_of_their_video(run: str, seed: int) -> None:
    frames, masks = draw(LabelledClips(masklet_videos(run), 3), 3, seed)

    assert frames.shape == (3, 3, SIZE, SIZE)
    assert masks.shape == (1, 3, SIZE, SIZE)
    bright = frames.float().mean(dim=1) > 120  # the square is, the noise is not
    agree = (bright & masks[0]).sum() / (bright | masks[0]).sum()
    assert agree > 0.85


@pytest.mark.parametrize("seed", range(4))
def test_annotated_folders_give_every_object_its_mask(davis: Path, seed: int) -> None:
    frames, masks = draw(LabelledClips(davis_videos(davis), 4), 4, seed)

    assert masks.shape == (2, 4, SIZE, SIZE)
    for number, mask in enumerate(masks, start=1):
        inside = frames.float().mean(dim=1)[mask]
        assert (inside - 100 * number).abs().median() < 12


def test_labelled_clips_are_never_seen_twice_alike(davis: Path) -> None:
    drawn = [draw(Source(davis=str(davis)), FRAMES, seed)[1] for seed in range(8)]

    assert not any(torch.equal(a, b) for a, b in combinations(drawn, 2))


def test_the_same_chance_draws_the_same_clip(davis: Path) -> None:
    for source in (Source(davis=str(davis)), Source(synthetic="hard")):
        for one, other in zip(draw(source, 3, 7), draw(source, 3, 7), strict=True):
            assert torch.equal(one, other)


def test_synthetic_clips_are_painted_with_the_pictures_of_a_folder(tmp_path: Path) -> None:
    purple = np.tile(np.array([200, 0, 220], np.uint8), (30, 900, 1))
    Image.fromarray(purple).save(tmp_path / "purple.PNG")
    (tmp_path / "notes.txt").write_text("no picture")
    painted = Source(synthetic="easy", pictures=str(tmp_path))

    clips = [draw(painted, 2, seed)[0].float() for seed in range(12)]
    grounds = [clip.flatten(2).median(dim=2).values.amin(dim=0) for clip in clips]

    # Nothing else makes a ground without any green beside red and blue.
    purples = [float(green) < 15 < min(float(red), float(blue)) for red, green, blue in grounds]
    assert 2 <= sum(purples) <= 10


def test_pictures_with_a_transparent_ground_are_things_of_synthetic_clips(tmp_path: Path) -> None:
    purple = np.tile(np.array([200, 0, 220, 0], np.uint8), (60, 60, 1))
    purple[10:50, 5:55, 3] = 255
    Image.fromarray(purple).save(tmp_path / "thing.png")
    Image.fromarray(np.full((20, 20, 4), 255, np.uint8)).save(tmp_path / "white.png")
    full, cut = read_pictures(tmp_path)

    assert [tuple(picture.shape) for picture in full] == [(3, 20, 20)]
    assert [tuple(picture.shape) for picture in cut] == [(4, 60, 60)]
    shown = 0
    for seed in range(12):
        frames, truth = draw(Source(synthetic="easy", pictures=str(tmp_path)), 1, seed)
        for mask in truth[:, 0]:
            red, green, blue = frames[0][:, mask].float().mean(dim=1).tolist()
            shown += green < 40 < min(red, blue)
    assert 4 <= shown <= 40


def test_a_mixture_draws_by_shares(davis: Path) -> None:
    mixture = Mixture([Source(davis=str(davis), share=3), Source(synthetic="easy")], 2)
    rng = np.random.default_rng(0)

    names = [mixture.draw(rng, 2, SIZE, "cpu").name for _ in range(60)]

    assert 35 <= sum("Annotations" in name for name in names) <= 55
    assert any(name == "a synthetic clip" for name in names)


def test_missing_or_empty_data_is_told(tmp_path: Path, run: str, davis: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        open_source(Source(davis=str(tmp_path / "nowhere")), 2)
    with pytest.raises(SourceError, match=r"nowhere: No such file.*give a folder of pictures"):
        open_source(Source(synthetic="wild", pictures=str(tmp_path / "nowhere")), 2)
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(Source(synthetic="wild", pictures=str(tmp_path)), 2)
    with pytest.raises(SourceError, match="holds no masklets"):
        open_source(Source(masklets=str(tmp_path / "nowhere")), 2)
    with pytest.raises(SourceError, match="fewer than the 9 frames with masks"):
        open_source(Source(davis=str(davis)), 9)
    with pytest.raises(SourceError, match="fewer than the 7 frames with masks"):
        open_source(Source(masklets=run), 7)


def test_a_video_too_short_for_a_clip_is_left_out_with_a_note(
    davis: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted((davis / "Annotations" / "bear").iterdir())[2:]:
        path.unlink()

    source = LabelledClips(davis_videos(davis), 4)

    assert [Path(video.name).name for video in source.videos] == ["bike"]
    assert "bear: has 2 frames" in capsys.readouterr().err


def test_masks_that_do_not_fit_their_pictures_are_told(davis: Path) -> None:
    for path in (davis / "Annotations" / "bear").iterdir():
        Image.open(path).resize((10, 10), Image.Resampling.NEAREST).save(path)
    source = open_source(Source(davis=str(davis)), 2)

    with pytest.raises(SourceError, match=r"bear/.*10 x 10, but the pictures are 96 x 64"):
        [source.draw(np.random.default_rng(seed), 2, SIZE, "cpu") for seed in range(20)]


def test_a_picture_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"no picture")

    with pytest.raises(SourceError, match=r"torn\.jpg: cannot be read as a picture"):
        open_source(Source(synthetic="wild", pictures=str(tmp_path)), 2)


def test_a_picture_of_nothing_is_told(tmp_path: Path) -> None:
    Image.new("RGBA", (9, 9)).save(tmp_path / "nothing.png")

    with pytest.raises(SourceError, match=r"nothing\.png: is transparent everywhere"):
        open_source(Source(synthetic="wild", pictures=str(tmp_path)), 2)


def test_a_video_that_is_gone_is_told(run: str, tmp_path: Path) -> None:
    file = tmp_path / "masklets" / "0.parquet"
    table = pq.read_table(file)
    gone = pa.array([str(tmp_path / "gone.mp4")])
    pq.write_table(table.set_column(2, "uri", gone), file)

    with pytest.raises(SourceError, match=r"gone\.mp4"):
        draw(Source(masklets=run), 2)


def test_an_unreadable_picture_of_a_folder_is_told(davis: Path) -> None:
    _, *others = sorted((davis / "JPEGImages" / "bear").iterdir())
    for path in others:  # their heads stay whole
        path.write_bytes(path.read_bytes()[:-100])

    source = open_source(Source(davis=str(davis)), 2)

    with pytest.raises(SourceError, match=r"bear/0000\d\.jpg"):
        [source.draw(np.random.default_rng(seed), 2, SIZE, "cpu") for seed in range(20)]


def test_a_sequence_that_begins_with_nothing_is_told(davis: Path) -> None:
    first = davis / "Annotations" / "bike" / "00000.png"
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(first)
    source = open_source(Source(davis=str(davis)), 2)

    with pytest.raises(SourceError, match=r"bike/00000\.png: shows no object"):
        [source.draw(np.random.default_rng(seed), 2, SIZE, "cpu") for seed in range(20)]


def test_two_parts_of_one_file_are_two_videos(run: str, tmp_path: Path) -> None:
    file = tmp_path / "masklets" / "0.parquet"
    table = pq.read_table(file)
    row = table.to_pylist()[0]
    halves = []
    for name, part in (("first", slice(0, 3)), ("second", slice(3, 6))):
        lists = {key: value[part] for key, value in row.items() if isinstance(value, list)}
        halves.append(row | lists | {"video_id": name, "prompts": []})
    pq.write_table(pa.Table.from_pylist(halves, schema=table.schema), file)

    assert [video.known for video in masklet_videos(run)] == [[0, 1, 2], [3, 4, 5]]
