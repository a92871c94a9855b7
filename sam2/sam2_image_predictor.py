"""Masks of one picture, or of a batch of them, for points, boxes and earlier masks."""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypedDict, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2.build_sam import build_sam2_hf
from sam2.layers import as_map
from sam2.modeling.sam2_base import SAM2Base
from sam2.prompt_arrays import Numbers, PromptError, check_batch, read_boxes, read_mask, read_points
from sam2.prompt_encoder import BOTTOM_RIGHT, TOP_LEFT
from sam2.utils.transforms import Picture, SAM2Transforms, Size, picture_size

Array = NDArray[np.float32]
T = TypeVar("T")


class Features(TypedDict):
    """What the model sees in n pictures; callers save it, move it and put it back."""

    image_embed: Tensor  # (n, C, S/16, S/16)
    high_res_feats: list[Tensor]  # (n, C/8, S/4, S/4) and (n, C/4, S/8, S/8)


class SAM2ImagePredictor:
    """Set a picture once, then ask for masks as often as you like.

    Shapes: B objects, C masks for each (3, or 1 without `multimask_output`), H x W the picture,
    S the model's image size.
    """

    def __init__(
        self,
        sam_model: SAM2Base,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Unknown keywords have no effect: `from_pretrained` hands over those of the builder."""
        self.model = sam_model
        self.mask_threshold = mask_threshold
        self._transforms = SAM2Transforms(
            sam_model.image_size, mask_threshold, max_hole_area, max_sprinkle_area
        )
        self._bb_feat_sizes = [(sam_model.image_size // stride,) * 2 for stride in (4, 8, 16)]
        self.reset_predictor()

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> Self:
        """A predictor with the weights of a Hugging Face id, such as facebook/sam2.1-hiera-tiny."""
        return cls(build_sam2_hf(model_id, **kwargs), **kwargs)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def reset_predictor(self) -> None:
        """Forgets the picture."""
        self._features: Features | None = None
        self._orig_hw: list[Size] | None = None
        self._is_image_set = False
        self._is_batch = False

    def set_image(self, image: Picture) -> None:
        """Looks at one picture: RGB, an array H x W x 3 (uint8, or float in 0..1) or from PIL."""
        self._look_at([image])

    def set_image_batch(self, image_list: list[NDArray[Any]]) -> None:
        """Looks at several pictures at once: a list of arrays as for `set_image`, of any sizes."""
        if not isinstance(image_list, list) or not image_list:
            raise PromptError("set_image_batch takes a list of pictures, with at least one.")
        if not all(isinstance(image, np.ndarray) for image in image_list):
            raise PromptError("set_image_batch takes arrays: turn pictures into np.array(picture).")
        self._look_at(image_list)
        self._is_batch = True

    @torch.no_grad()
    def _look_at(self, images: Sequence[Picture]) -> None:
        self.reset_predictor()
        sizes = [picture_size(image) for image in images]
        seen = self.model.encode(self._transforms.forward_batch(images).to(self.device))
        embedding = as_map(self.model.without_memory(seen), self._bb_feat_sizes[-1][0])
        self._features = {
            "image_embed": embedding.float(),
            "high_res_feats": [seen.fine.float(), seen.middle.float()],
        }
        self._orig_hw = sizes
        self._is_image_set = True

    def get_image_embedding(self) -> Tensor:
        """What the model sees in each picture -> (pictures, C, S/16, S/16)."""
        features, _ = self._seen()
        return features["image_embed"]

    def predict(
        self,
        point_coords: Numbers | None = None,
        point_labels: Numbers | None = None,
        box: Numbers | None = None,
        mask_input: Numbers | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[Array, Array, Array]:
        """Masks (C, H, W) of 0.0 and 1.0, their scores (C,) and low-resolution logits.

        Points are (N, 2) x, y in pixels with labels (N,), a box (4,) xyxy, a mask the logits
        (1, S/4, S/4) of an earlier call. Points (B, N, 2) or boxes (B, 4) are B objects: the
        results then start with B. `normalize_coords=False`: coordinates are in 0..1.
        """
        return self._predict_one(
            -1,
            (point_coords, point_labels, box, mask_input),
            (multimask_output, return_logits, normalize_coords),
        )

    def predict_batch(
        self,
        point_coords_batch: Sequence[Numbers | None] | None = None,
        point_labels_batch: Sequence[Numbers | None] | None = None,
        box_batch: Sequence[Numbers | None] | None = None,
        mask_input_batch: Sequence[Numbers | None] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[Array], list[Array], list[Array]]:
        """The three results of `predict` as lists, one entry for each picture of the batch.

        Each kind of prompt is a list with one entry, or None, for each picture.
        """
        if not self._is_batch:
            raise PromptError("predict_batch needs a batch of pictures: call set_image_batch.")
        _, sizes = self._seen()
        given = {
            "point_coords_batch": point_coords_batch,
            "point_labels_batch": point_labels_batch,
            "box_batch": box_batch,
            "mask_input_batch": mask_input_batch,
        }
        for name, prompts in given.items():
            if prompts is not None and len(prompts) != len(sizes):
                raise PromptError(
                    f"{name} has {len(prompts)} entries for {len(sizes)} pictures: pass one for "
                    "each picture, None where there is none."
                )
        columns = [[None] * len(sizes) if p is None else p for p in given.values()]
        how = (multimask_output, return_logits, normalize_coords)
        results = [
            self._predict_one(index, prompt, how)
            for index, prompt in enumerate(zip(*columns, strict=True))
        ]
        masks, scores, logits = (list(column) for column in zip(*results, strict=True))
        return masks, scores, logits

    def _predict_one(
        self, index: int, prompt: tuple[Numbers | None, ...], how: tuple[bool, bool, bool]
    ) -> tuple[Array, Array, Array]:
        points, labels, box, mask = prompt
        multimask, return_logits, normalize = how
        mask_input, coords, marks, corners = self._prep_prompts(
            points, labels, box, mask, normalize, img_idx=index
        )
        results = self._predict(
            coords, marks, corners, mask_input, multimask, return_logits, img_idx=index
        )
        masks, scores, logits = (r.squeeze(0).float().cpu().numpy() for r in results)
        return masks, scores, logits

    def _prep_prompts(
        self,
        point_coords: Numbers | None,
        point_labels: Numbers | None,
        box: Numbers | None,
        mask_logits: Numbers | None,
        normalize_coords: bool,
        img_idx: int = -1,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Mask (B, 1, S/4, S/4), points (B, N, 2) in model pixels, labels, box corners (B, 2, 2).

        What was not given is None.
        """
        _, sizes = self._seen()
        size = sizes[img_idx]
        extent = size if normalize_coords else (1.0, 1.0)
        if point_coords is None and point_labels is not None:
            raise PromptError("point_labels came without point_coords: pass the points, too.")
        points = _given(point_coords, lambda p: read_points(p, point_labels, extent))
        boxes = _given(box, lambda b: read_boxes(b, extent))
        mask = _given(mask_logits, lambda m: read_mask(m, self._bb_feat_sizes[0][0]))
        coords, labels = points or (None, None)
        check_batch(coords, boxes, mask)
        to_model, device = self._transforms, self.device
        return (
            _given(mask, lambda m: m.to(device)),
            _given(
                coords, lambda c: to_model.transform_coords(c, normalize_coords, size).to(device)
            ),
            _given(labels, lambda m: m.to(device)),
            _given(boxes, lambda b: to_model.transform_boxes(b, normalize_coords, size).to(device)),
        )

    @torch.no_grad()
    def _predict(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        img_idx: int = -1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Prompts in model pixels -> masks (B, C, H, W), scores (B, C), logits (B, C, S/4, S/4)."""
        _, sizes = self._seen()
        low, scores = self._decode(
            point_coords, point_labels, boxes, mask_input, multimask_output, img_idx
        )
        masks = self._transforms.postprocess_masks(low, sizes[img_idx])
        return (
            masks if return_logits else masks > self.mask_threshold,
            scores,
            low.clamp(-32.0, 32.0),
        )

    @torch.no_grad()
    def _decode(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None,
        mask_input: Tensor | None,
        multimask_output: bool,
        img_idx: int = -1,
    ) -> tuple[Tensor, Tensor]:
        """As `_predict`, without the way back: unclamped logits (B, C, S/4, S/4), scores (B, C)."""
        features, _ = self._seen()
        encoder = self.model.sam_prompt_encoder
        sparse, dense = encoder(
            points=_with_corners(point_coords, point_labels, boxes), boxes=None, masks=mask_input
        )
        low, scores, _, _ = self.model.sam_mask_decoder(
            image_embeddings=features["image_embed"][img_idx].unsqueeze(0),
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            repeat_image=True,
            high_res_features=[f[img_idx].unsqueeze(0) for f in features["high_res_feats"]],
        )
        return low.float(), scores.float()

    def _seen(self) -> tuple[Features, list[Size]]:
        if not self._is_image_set or self._features is None or self._orig_hw is None:
            raise RuntimeError("There is no picture yet: call set_image before asking for masks.")
        return self._features, self._orig_hw


def _given(value: Any, use: Callable[[Any], T]) -> T | None:
    return None if value is None else use(value)


def _with_corners(
    places: Tensor | None, labels: Tensor | None, boxes: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """Points (B, N, 2) with labels (B, N), the corners of the boxes before those that were given.

    The weights know a box as two points.
    """
    given = [] if places is None or labels is None else [(places, labels)]
    if boxes is not None:
        corners = boxes.reshape(-1, 2, 2)
        marks = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]], device=boxes.device)
        given.insert(0, (corners, marks.expand(len(corners), -1)))
    if not given:
        return None
    return torch.cat([p for p, _ in given], dim=1), torch.cat([m for _, m in given], dim=1)
