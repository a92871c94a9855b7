"""Pictures on their way into the model."""

import numpy as np
import pytest
import torch
from PIL import Image

from sam2.images import MEAN, STD, from_still, from_video_picture, normalise


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def test_the_mean_colour_becomes_zero_and_one_deviation_more_becomes_one() -> None:
    colours = torch.tensor([MEAN, [m + s for m, s in zip(MEAN, STD, strict=True)]])

    normal = normalise(colours[:, :, None, None])

    torch.testing.assert_close(normal[0], torch.zeros(3, 1, 1))
    torch.testing.assert_close(normal[1], torch.ones(3, 1, 1))


def test_bytes_and_fractions_are_normalised_alike() -> None:
    picture = torch.from_numpy(noise(4, 4)).permute(2, 0, 1)[None]

    assert torch.equal(normalise(picture), normalise(picture.float() / 255))


def test_a_frame_of_a_folder_is_scaled_as_pillow_does_it_and_rounded() -> None:
    picture = Image.fromarray(noise(30, 50))

    scaled = from_video_picture(picture, 64)

    assert scaled.dtype == torch.uint8
    expected = picture.resize((64, 64), Image.Resampling.BICUBIC)
    assert torch.equal(scaled, torch.from_numpy(np.array(expected)).permute(2, 0, 1))


@pytest.mark.parametrize("channels", [1, 4], ids=["grey", "transparent"])
def test_a_picture_of_any_kind_becomes_rgb(channels: int) -> None:
    picture = Image.fromarray(noise(8, 8, channels))

    scaled = from_video_picture(picture, 8)

    assert torch.equal(scaled, torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1))


def test_a_still_of_the_right_size_is_only_divided() -> None:
    picture = torch.from_numpy(noise(64, 64)).permute(2, 0, 1)

    torch.testing.assert_close(from_still(picture, 64), picture / 255, atol=1e-6, rtol=0)


def test_a_still_that_shrinks_is_averaged_and_not_sampled() -> None:
    fine = torch.zeros(3, 256, 256, dtype=torch.uint8)
    fine[:, :, ::2] = 255

    small = from_still(fine, 64)

    inner = small[:, :, 1:-1]  # at the border fewer columns are averaged
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), atol=0.01, rtol=0)


def test_a_still_is_not_rounded_and_may_come_as_fractions() -> None:
    picture = torch.from_numpy(noise(20, 33)).permute(2, 0, 1)

    scaled = from_still(picture, 64)

    assert scaled.shape == (3, 64, 64)
    assert not torch.equal((scaled * 255).round() / 255, scaled)
    torch.testing.assert_close(from_still(picture / 255, 64), scaled)
