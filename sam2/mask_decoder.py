"""The mask decoder: tokens and image attend to each other (paper: "Mask decoder")."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sam2.attention import attend
from sam2.config import ModelConfig
from sam2.layers import (
    MLP,
    Conv2d,
    ConvTranspose2d,
    LayerNorm2d,
    Linear,
    as_map,
    join_heads,
    split_heads,
)

MASKS = 4  # mask 0 answers a clear prompt; 1 to 3 are the readings of an ambiguous one


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """All that one call of the decoder says, before any choice is made.

    B objects, C channels, S the model's image size.
    """

    masks: Tensor  # (B, 4, S/4, S/4) logits
    ious: Tensor  # (B, 4) predicted IoU, 0..1
    tokens: Tensor  # (B, 4, C) the mask tokens, from which object pointers are made
    score: Tensor  # (B, 1) logit that the object is there


class DecoderAttention(nn.Module):
    """Multi-head attention, narrowed by `downsample` between its projections."""

    def __init__(self, channels: int, downsample: int = 1) -> None:
        super().__init__()
        inner = channels // downsample
        self.q_proj = Linear(channels, inner)
        self.k_proj = Linear(channels, inner)
        self.v_proj = Linear(channels, inner)
        self.out_proj = Linear(inner, channels)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, N, C), (B, M, C), (B, M, C) -> (B, N, C)."""
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        x = attend(*(split_heads(x, heads=8) for x in (q, k, v)))
        return self.out_proj(join_heads(x))  # type: ignore[no-any-return]


class TwoWayBlock(nn.Module):
    """Tokens among themselves, tokens to image, MLP, image to tokens (SAM paper, appendix A).

    Positions join queries and keys at every attention, values never.
    """

    def __init__(self, config: ModelConfig, first: bool) -> None:
        super().__init__()
        channels = config.channels
        self.first = first
        self.self_attn = DecoderAttention(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = DecoderAttention(channels, downsample=2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels, config.feedforward, channels)
        self.norm3 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = DecoderAttention(channels, downsample=2)
        self.norm4 = nn.LayerNorm(channels)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pos: Tensor, image_pos: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, C) and image (B, HW, C), each with positions -> the same shapes."""
        if self.first:  # the tokens are their own positions still: no sum, no residual
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        else:
            q = tokens + token_pos
            tokens = self.norm1(tokens + self.self_attn(q, q, tokens))
        q, k = tokens + token_pos, image + image_pos
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(q, k, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        q = tokens + token_pos
        image = self.norm4(image + self.cross_attn_image_to_token(k, q, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two two-way blocks and a last look of the tokens at the image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(config, first=i == 0) for i in range(2))
        self.final_attn_token_to_image = DecoderAttention(config.channels, downsample=2)
        self.norm_final_attn = nn.LayerNorm(config.channels)

    def forward(self, tokens: Tensor, image: Tensor, image_pos: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, C), image and its positions (B, HW, C) -> both, transformed."""
        token_pos = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pos, image_pos)
        q, k = tokens + token_pos, image + image_pos
        return self.norm_final_attn(tokens + self.final_attn_token_to_image(q, k, image)), image


class MaskDecoder(nn.Module):
    """Prompted image features as masks, their predicted IoU, and whether the object is there."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config.channels
        self.transformer = TwoWayTransformer(config)
        self.obj_score_token = nn.Embedding(1, c)
        self.iou_token = nn.Embedding(1, c)
        self.mask_tokens = nn.Embedding(MASKS, c)
        self.output_upscaling = nn.Sequential(
            ConvTranspose2d(c, c // 4, kernel_size=2, stride=2),
            LayerNorm2d(c // 4),
            nn.GELU(),
            ConvTranspose2d(c // 4, c // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        # These two narrow the fine image maps; they run once per frame, with the image encoder.
        self.conv_s0 = Conv2d(c, c // 8, kernel_size=1)
        self.conv_s1 = Conv2d(c, c // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(c, c, c, c // 8) for _ in range(MASKS))
        self.iou_prediction_head = MLP(c, c, c, MASKS)
        self.pred_obj_score_head = MLP(c, c, c, 1)
        *_, score_bias = self.pred_obj_score_head.parameters()
        nn.init.constant_(score_bias, 2.0)  # until training says otherwise, objects are there

    def forward(
        self, image: Tensor, image_pos: Tensor, prompt: Tensor, fine: Tensor, middle: Tensor
    ) -> Decoded:
        """Decodes B prompted objects.

        `image` tokens (B, h*w, C) with the dense prompt added, `image_pos` (1, h*w, C), `prompt`
        tokens (B, P, C), `fine` (B, C/8, 4h, 4w) and `middle` (B, C/4, 2h, 2w) image maps.
        """
        batch, height = image.shape[0], middle.shape[2] // 2
        own = (self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight)
        tokens = torch.cat((torch.cat(own).expand(batch, -1, -1), prompt), dim=1)
        tokens, image = self.transformer(tokens, image, image_pos)
        pixels = self._upscale(as_map(image, height), fine, middle)
        score_token, iou_token, mask_tokens = tokens[:, 0], tokens[:, 1], tokens[:, 2 : 2 + MASKS]
        mlps = self.output_hypernetworks_mlps
        queries = [mlp(mask_tokens[:, i]) for i, mlp in enumerate(mlps)]
        return Decoded(
            masks=torch.einsum("bqc,bchw->bqhw", torch.stack(queries, dim=1), pixels.float()),
            ious=self.iou_prediction_head(iou_token).sigmoid(),
            tokens=mask_tokens,
            score=self.pred_obj_score_head(score_token),
        )

    def unprompted(self, image: Tensor, fine: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (N, C/8, 4h, 4w) had no token changed them, and what a token that looked at one
        cell alone would read there, (N, h*w, C); from image tokens (N, h*w, C) and the fine maps.
        """
        image = self.transformer.layers[-1].norm4(image)  # type: ignore[operator]
        look = self.transformer.final_attn_token_to_image
        read = self.transformer.norm_final_attn(look.out_proj(look.v_proj(image)))
        return self._upscale(as_map(image, middle.shape[2] // 2), fine, middle), read

    def _upscale(self, image: Tensor, fine: Tensor, middle: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C/8, 4h, 4w), with the fine maps joining on the way."""
        first, norm, gelu, second, last_gelu = self.output_upscaling
        image = gelu(norm(first(image) + middle))
        return last_gelu(second(image) + fine)  # type: ignore[no-any-return]
