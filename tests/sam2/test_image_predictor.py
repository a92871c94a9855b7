from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sam2.build_sam import build_sam2
from sam2.components import get_connected_components
from sam2.prompts import PointPrompt
from sam2.sam2_image_predictor import SAM2ImagePredictor
from tests.sam2.published import HEIGHT, WIDTH, picture, published_tiny
from tests.sam2.stills import segment_still, stack_prompts
from tests.sam2.tiny import SIZE

LOW = SIZE // 4
POINT: dict[str, Any] = {"point_coords": [[30, 20]], "point_labels": [1]}
BOX = [10, 8, 50, 40]


@pytest.fixture
def predictor() -> SAM2ImagePredictor:
    """A predictor that has seen the picture."""
    predictor = SAM2ImagePredictor(published_tiny())
    predictor.set_image(picture())
    return predictor


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal to the last bit."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# ---- results


@pytest.mark.parametrize(
    ("prompt", "batch"),
    [
        ({"multimask_output": True, **POINT}, (3,)),
        ({"multimask_output": False, **POINT}, (1,)),
        ({"multimask_output": False, "box": BOX}, (1,)),
        ({"multimask_output": False, "box": [BOX]}, (1,)),
        ({"multimask_output": True, "box": [BOX, BOX]}, (2, 3)),
        ({"multimask_output": False, "box": [BOX, BOX]}, (2, 1)),
        ({"point_coords": [[[5, 5]]] * 4, "point_labels": [[1]] * 4}, (4, 3)),
        ({"mask_input": np.zeros((1, LOW, LOW))}, (3,)),
        ({}, (3,)),
    ],
)
def test_results_have_the_published_shapes(
    predictor: SAM2ImagePredictor, prompt: dict[str, Any], batch: tuple[int, ...]
) -> None:
    masks, scores, logits = predictor.predict(**prompt)

    assert masks.shape == (*batch, HEIGHT, WIDTH)
    assert scores.shape == batch
    assert logits.shape == (*batch, LOW, LOW)
    assert {masks.dtype, scores.dtype, logits.dtype} == {np.dtype(np.float32)}
    assert set(np.unique(masks)) <= {0.0, 1.0}
    assert np.abs(logits).max() <= 32


def test_masks_are_those_of_our_own_way_to_segment_a_still(predictor: SAM2ImagePredictor) -> None:
    model = published_tiny()
    prompt = PointPrompt(((30, 20), (60, 40)), (1, 0), box=(10, 8, 50, 40))
    with torch.inference_mode():
        features = model.encode(predictor._transforms(picture())[None])
        points = stack_prompts([prompt], HEIGHT, WIDTH, model)
        expected, scores = segment_still(model, features, points, multimask=False)

    answer = predictor.predict([[30, 20], [60, 40]], [1, 0], BOX, multimask_output=False)

    assert np.allclose(answer[2], expected[0].clamp(-32, 32), atol=1e-4)
    assert np.allclose(answer[1], scores[0], atol=1e-5)


def test_masks_are_the_logits_above_the_threshold(predictor: SAM2ImagePredictor) -> None:
    predictor.mask_threshold = 0.5

    logits, _, _ = predictor.predict(**POINT, return_logits=True)
    masks, _, _ = predictor.predict(**POINT)

    assert np.array_equal(masks, logits > 0.5)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_prompts_may_be_lists_arrays_or_tensors(predictor: SAM2ImagePredictor, kind: Any) -> None:
    prompts: dict[str, Any] = {"point_coords": [[30, 20]], "point_labels": [1], "box": BOX}

    answer = predictor.predict(**{name: kind(value) for name, value in prompts.items()})

    assert same(answer, predictor.predict(**prompts))


def test_coordinates_may_count_from_0_to_1(predictor: SAM2ImagePredictor) -> None:
    scaled = {"point_coords": [[30 / WIDTH, 20 / HEIGHT]], "point_labels": [1]}

    answer = predictor.predict(**scaled, normalize_coords=False)

    assert same(answer, predictor.predict(**POINT))


def test_logits_of_one_call_start_the_next(predictor: SAM2ImagePredictor) -> None:
    first = predictor.predict(**POINT)

    second = predictor.predict(**POINT, mask_input=first[2][:1], multimask_output=False)

    assert second[0].shape == (1, HEIGHT, WIDTH)
    assert not np.array_equal(second[2], first[2][:1])


def test_one_mask_serves_all_objects(predictor: SAM2ImagePredictor) -> None:
    _, _, logits = predictor.predict(box=BOX, multimask_output=False)

    one = predictor.predict(box=[BOX, BOX], mask_input=logits, return_logits=True)
    each = predictor.predict(
        box=[BOX, BOX], mask_input=np.stack([logits, logits]), return_logits=True
    )

    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(one, each, strict=True))


def test_padding_points_may_lie_anywhere(predictor: SAM2ImagePredictor) -> None:
    masks, _, _ = predictor.predict(point_coords=[[30, 20], [-999, 0]], point_labels=[1, -1])

    assert masks.shape == (3, HEIGHT, WIDTH)


def test_any_multiple_of_32_is_an_image_size() -> None:
    model = build_sam2("nano", device="cpu", hydra_overrides_extra=["++model.image_size=96"])
    predictor = SAM2ImagePredictor(model)
    predictor.set_image(picture())

    masks, _, logits = predictor.predict(**POINT)

    assert masks.shape == (3, HEIGHT, WIDTH)
    assert logits.shape == (3, 24, 24)
    assert predictor._bb_feat_sizes == [(24, 24), (12, 12), (6, 6)]


# ---- holes and specks


def test_small_holes_and_specks_are_gone_before_masks_are_scaled_up() -> None:
    plain = SAM2ImagePredictor(published_tiny())
    clean = SAM2ImagePredictor(published_tiny(), max_hole_area=10, max_sprinkle_area=10)
    low = torch.randn(2, 3, LOW, LOW)

    rough = plain._transforms.postprocess_masks(low, (LOW, LOW))
    smooth = clean._transforms.postprocess_masks(low, (LOW, LOW))

    def small_regions(logits: torch.Tensor) -> int:
        flat = logits.flatten(0, 1)[:, None]
        found = (get_connected_components(side)[1] for side in (flat > 0, flat <= 0))
        return sum(int(((areas > 0) & (areas <= 10)).sum()) for areas in found)

    assert torch.equal(rough, low)
    assert small_regions(rough) > 0
    assert small_regions(smooth) == 0
    assert set(smooth[smooth != rough].tolist()) <= {10.0, -10.0}


# ---- pictures


def test_a_picture_may_come_from_pil_in_any_mode(predictor: SAM2ImagePredictor) -> None:
    expected = predictor.predict(**POINT)

    for mode in ("RGB", "RGBA"):
        predictor.set_image(Image.fromarray(picture()).convert(mode))
        assert same(predictor.predict(**POINT), expected)


def test_a_picture_may_be_a_mirrored_view_or_read_only(predictor: SAM2ImagePredictor) -> None:
    expected = predictor.predict(**POINT)
    frozen = picture()[:, :, ::-1].copy()
    frozen.flags.writeable = False

    predictor.set_image(frozen[:, :, ::-1])

    assert same(predictor.predict(**POINT), expected)


def test_a_float_picture_is_taken_as_it_is(predictor: SAM2ImagePredictor) -> None:
    seen = predictor._transforms(picture())

    assert torch.equal(predictor._transforms(picture().astype(np.float32) / 255), seen)
    with pytest.warns(UserWarning, match="divide it by 255"):
        predictor._transforms(picture().astype(np.float32))


@pytest.mark.parametrize(
    ("image", "what"),
    [
        ("photo.jpg", "str is not a picture"),
        (torch.zeros(3, 8, 8), "Tensor is not a picture"),
        (np.zeros((8, 8), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((8, 8, 4), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((8, 8, 3), np.int64), "uint8"),
        (np.full((8, 8, 3), np.nan), "not finite"),
    ],
)
def test_what_is_no_picture_is_refused(
    predictor: SAM2ImagePredictor, image: Any, what: str
) -> None:
    with pytest.raises(NotImplementedError, match=what):
        predictor.set_image(image)
    with pytest.raises(RuntimeError, match="set_image"):  # not masks of the picture before
        predictor.predict(**POINT)
    predictor.set_image(picture())
    predictor.predict(**POINT)


# ---- batches


def test_each_picture_of_a_batch_gets_what_it_gets_alone(predictor: SAM2ImagePredictor) -> None:
    pictures = [picture(), picture()[:40, :50]]
    alone = []
    for image in pictures:
        predictor.set_image(image)
        alone.append(predictor.predict([[5, 9]], [1], multimask_output=False))

    predictor.set_image_batch(pictures)
    batch = predictor.predict_batch([[[5, 9]]] * 2, [[1]] * 2, multimask_output=False)

    assert all(isinstance(column, list) for column in batch)
    for one, *answer in zip(alone, *batch, strict=True):
        assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(one, answer, strict=True))
    assert predictor.get_image_embedding().shape == (2, 32, SIZE // 16, SIZE // 16)


def test_pictures_of_a_batch_may_have_different_prompts(predictor: SAM2ImagePredictor) -> None:
    predictor.set_image_batch([picture(), picture()])

    masks, scores, _ = predictor.predict_batch(box_batch=[None, [BOX, BOX]])

    assert [m.shape for m in masks] == [(3, HEIGHT, WIDTH), (2, 3, HEIGHT, WIDTH)]
    assert [s.shape for s in scores] == [(3,), (2, 3)]


def test_a_batch_is_a_list_of_arrays(predictor: SAM2ImagePredictor) -> None:
    for pictures in ((picture(),), [Image.fromarray(picture())], []):
        with pytest.raises(AssertionError, match="set_image_batch takes"):
            predictor.set_image_batch(pictures)  # type: ignore[arg-type]


def test_a_batch_needs_one_prompt_for_each_picture(predictor: SAM2ImagePredictor) -> None:
    with pytest.raises(AssertionError, match="call set_image_batch"):
        predictor.predict_batch(box_batch=[BOX])
    predictor.set_image_batch([picture(), picture()])
    with pytest.raises(AssertionError, match="box_batch has 1 entries for 2 pictures"):
        predictor.predict_batch(box_batch=[BOX])


# ---- wrong prompts


@pytest.mark.parametrize(
    ("prompt", "what"),
    [
        ({"point_coords": [[1, 2]]}, "without point_labels"),
        ({"point_labels": [1]}, "without point_coords"),
        ({"point_coords": [1, 2], "point_labels": [1]}, r"pass \(N, 2\)"),
        ({"point_coords": [[1, 2, 3]], "point_labels": [1]}, r"pass \(N, 2\)"),
        ({"point_coords": [[1, 2]], "point_labels": [1, 0]}, "one label for each point"),
        ({"point_coords": [[1, 2]], "point_labels": [7]}, "holds 7: a label is 1"),
        ({"point_coords": [[20, 60]], "point_labels": [1]}, "80 wide and 48 high"),
        ({"point_coords": [["a", "b"]], "point_labels": [1]}, "not an array of numbers"),
        ({"point_coords": [[np.nan, 2]], "point_labels": [1]}, "not finite"),
        ({"point_coords": [[9, 9]], "point_labels": [1], "normalize_coords": False}, "0 to 1"),
        ({"box": [1, 2, 3]}, r"pass \(4,\)"),
        ({"box": np.zeros((0, 4))}, r"pass \(4,\)"),
        ({"box": [40, 8, 10, 40]}, "ends before it begins"),
        ({"box": [100, 8, 150, 40]}, "outside the picture"),
        ({"box": [BOX, BOX], **POINT}, "point_coords 1, box 2"),
        ({"mask_input": np.zeros((1, 9, 9))}, rf"\(1, {LOW}, {LOW}\)"),
        ({"mask_input": np.zeros((2, LOW, LOW))}, rf"\(B, 1, {LOW}, {LOW}\)"),
        ({"mask_input": np.zeros((2, 1, LOW, LOW)), "box": BOX}, "box 1, mask_input 2"),
    ],
)
def test_a_wrong_prompt_is_told_and_the_predictor_goes_on(
    predictor: SAM2ImagePredictor, prompt: dict[str, Any], what: str
) -> None:
    with pytest.raises((ValueError, AssertionError), match=what):
        predictor.predict(**prompt)
    predictor.predict(**POINT)


def test_a_box_may_reach_beyond_the_picture(predictor: SAM2ImagePredictor) -> None:
    masks, _, _ = predictor.predict(box=[-3, -2, WIDTH + 1, 20])

    assert masks.shape == (3, HEIGHT, WIDTH)


def test_without_a_picture_there_is_nothing_to_ask(predictor: SAM2ImagePredictor) -> None:
    predictor.reset_predictor()

    for ask in (predictor.predict, predictor.get_image_embedding):
        with pytest.raises(RuntimeError, match="call set_image"):
            ask()


# ---- what scripts do with the insides


def test_features_can_be_saved_and_put_back(predictor: SAM2ImagePredictor) -> None:
    expected = predictor.predict(**POINT)
    features, size = predictor._features, predictor._orig_hw
    other = SAM2ImagePredictor(published_tiny())

    other._features, other._orig_hw, other._is_image_set = features, size, True

    assert same(other.predict(**POINT), expected)


def test_prepared_prompts_can_be_predicted_by_hand(predictor: SAM2ImagePredictor) -> None:
    mask, coords, labels, box = predictor._prep_prompts([[30, 20]], [1], BOX, None, True)
    assert mask is None
    assert coords is not None
    assert box is not None
    assert coords.tolist() == [[[30 / WIDTH * SIZE, pytest.approx(20 / HEIGHT * SIZE)]]]
    assert box.shape == (1, 2, 2)

    masks, scores, logits = predictor._predict(coords, labels, box, return_logits=False)

    expected = predictor.predict([[30, 20]], [1], BOX)
    assert masks.dtype == torch.bool
    assert same((m[0] for m in (masks.float(), scores, logits)), expected)


def test_a_fine_tuning_step_reaches_decoder_and_prompt_encoder(
    predictor: SAM2ImagePredictor,
) -> None:
    model, features = predictor.model, predictor._features
    assert features is not None
    _, coords, labels, _ = predictor._prep_prompts(
        np.array([[[30, 20]], [[60, 30]]]), np.ones((2, 1)), None, None, True
    )
    assert coords is not None
    assert labels is not None
    model.sam_mask_decoder.train(True)
    sparse, dense = model.sam_prompt_encoder(points=(coords, labels), boxes=None, masks=None)
    low, scores, tokens, present = model.sam_mask_decoder(
        image_embeddings=features["image_embed"][-1].unsqueeze(0),
        image_pe=model.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=True,
        high_res_features=[level[-1].unsqueeze(0) for level in features["high_res_feats"]],
    )
    masks = predictor._transforms.postprocess_masks(low, (HEIGHT, WIDTH))
    (masks.sigmoid().mean() + scores.mean()).backward()
    model.sam_mask_decoder.eval()

    assert masks.shape == (2, 3, HEIGHT, WIDTH)
    assert (tokens.shape, present.shape) == ((2, 3, 32), (2, 1))
    for weight in (model.sam_mask_decoder.mask_tokens.weight, *_embeddings(model)):
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0
    model.zero_grad()


def _embeddings(model: Any) -> list[torch.Tensor]:
    encoder = model.sam_prompt_encoder
    return [encoder.not_a_point_embed.weight, encoder.point_embeddings[1].weight]


def test_as_many_images_as_prompts_are_decoded_one_by_one(predictor: SAM2ImagePredictor) -> None:
    model, features = predictor.model, predictor._features
    assert features is not None
    sparse, dense = model.sam_prompt_encoder(boxes=torch.tensor([[8.0, 8, 40, 40]] * 2))
    call = {
        "image_pe": model.sam_prompt_encoder.get_dense_pe(),
        "sparse_prompt_embeddings": sparse,
        "dense_prompt_embeddings": dense,
        "multimask_output": False,
        "repeat_image": False,
    }
    embed, fine = features["image_embed"], features["high_res_feats"]

    masks, scores, _, _ = model.sam_mask_decoder(
        image_embeddings=embed.repeat(2, 1, 1, 1),
        high_res_features=[f.repeat(2, 1, 1, 1) for f in fine],
        **call,
    )

    assert (masks.shape, scores.shape) == ((2, 1, LOW, LOW), (2, 1))
    with pytest.raises(ValueError, match="1 image embeddings for 2 prompts"):
        model.sam_mask_decoder(image_embeddings=embed, high_res_features=fine, **call)


def test_the_parts_of_the_image_encoder_can_be_called_by_hand(
    predictor: SAM2ImagePredictor,
) -> None:
    model = predictor.model
    with torch.no_grad():
        out = model.forward_image(predictor._transforms(picture())[None])
    _, maps, positions, sizes = model._prepare_backbone_features(out)

    assert predictor._features is not None
    assert torch.equal(out["backbone_fpn"][0], predictor._features["high_res_feats"][0])
    assert sizes == predictor._bb_feat_sizes
    assert [m.shape for m in maps] == [(256, 1, 4), (64, 1, 8), (16, 1, 32)]
    assert [p.shape for p in positions] == [(256, 1, 32), (64, 1, 32), (16, 1, 32)]


# ---- surroundings


def test_results_are_float32_under_inference_mode_and_autocast(
    predictor: SAM2ImagePredictor,
) -> None:
    expected = predictor.predict(**POINT)

    with torch.inference_mode():
        predictor.set_image(picture())
        assert same(predictor.predict(**POINT), expected)
        with torch.autocast("cpu", torch.bfloat16):
            predictor.set_image(picture())
            halved = predictor.predict(**POINT)
    outside = predictor.predict(**POINT)  # with what was seen inside

    assert all(result.dtype == np.float32 for result in (*halved, *outside))
    assert np.abs(halved[1] - expected[1]).max() < 0.1


def test_unknown_keywords_of_the_constructor_have_no_effect() -> None:
    predictor = SAM2ImagePredictor(published_tiny(), device="cpu", token="abc")

    assert predictor.device == torch.device("cpu")


def test_an_array_of_boxes_is_not_changed(predictor: SAM2ImagePredictor) -> None:
    boxes: NDArray[np.float32] = np.array([BOX, BOX], np.float32)

    predictor.predict(box=boxes)

    assert boxes.tolist() == [BOX, BOX]
