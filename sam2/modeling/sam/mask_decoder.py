"""The mask decoder as published code calls it."""

from collections.abc import Sequence
from typing import Any, overload

from torch import Tensor

from sam2.config import ModelConfig
from sam2.layers import as_tokens
from sam2.mask_decoder import Decoded
from sam2.mask_decoder import MaskDecoder as CoreMaskDecoder
from sam2.tracking import choose


class MaskDecoder(CoreMaskDecoder):
    """Our mask decoder, which also answers the published call with its keywords."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.config = config

    @overload
    def forward(
        self, image: Tensor, image_pos: Tensor, prompt: Tensor, fine: Tensor, middle: Tensor
    ) -> Decoded: ...

    @overload
    def forward(
        self,
        *,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        repeat_image: bool,
        high_res_features: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...

    def forward(self, *args: Tensor, **kwargs: Any) -> Any:
        """Our own call, or the published one, which comes by keywords: see `decode_published`.

        Both go through `forward`, so that hooks and compilation see them alike.
        """
        if "image_embeddings" in kwargs:
            return self.decode_published(**kwargs)
        return super().forward(*args, **kwargs)

    def decode_published(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        repeat_image: bool,
        high_res_features: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Masks (B, K, S/4, S/4), IoU (B, K), their tokens (B, K, C), object score (B, 1).

        Image (n, C, h, w), n = B or, with `repeat_image`, 1; prompts (B, P, C) and dense ones
        (B, C, h, w); the fine maps (n, C/8, 4h, 4w) and (n, C/4, 2h, 2w). K is 3 or 1.
        """
        batch = len(sparse_prompt_embeddings)
        if len(image_embeddings) != batch and not (repeat_image and len(image_embeddings) == 1):
            raise ValueError(
                f"{len(image_embeddings)} image embeddings for {batch} prompts: pass as many of "
                "one as of the other, or one image embedding with repeat_image=True."
            )
        image = as_tokens(image_embeddings + dense_prompt_embeddings).expand(batch, -1, -1)
        fine, middle = high_res_features
        decoded = super().forward(
            image, as_tokens(image_pe), sparse_prompt_embeddings, fine, middle
        )
        if multimask_output:
            return decoded.masks[:, 1:], decoded.ious[:, 1:], decoded.tokens[:, 1:], decoded.score
        if self.training:  # what is trained is mask 0 itself, not what stands in for it
            return decoded.masks[:, :1], decoded.ious[:, :1], decoded.tokens[:, :1], decoded.score
        mask, iou, token = choose(self.config, decoded, ambiguous=False)
        return mask[:, None], iou[:, None], token[:, None], decoded.score
