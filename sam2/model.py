"""SAM 2: encode a frame, recall what an object remembers, decode its mask, memorize the result.

Read this file beside figure 3 of the SAM 2 paper: each part of the figure is one module, each arrow
one method. The model holds weights and nothing else; what an object remembers is passed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2.config import ModelConfig
from sam2.devices import together, upload
from sam2.image_encoder import ImageEncoder
from sam2.layers import MLP, Linear, as_map, as_tokens
from sam2.mask_decoder import Decoded, MaskDecoder
from sam2.memory import Recollection
from sam2.memory_attention import MemoryAttention
from sam2.memory_encoder import MemoryEncoder
from sam2.position import sine_distance, sine_map
from sam2.prompt_encoder import PromptEncoder


@dataclass(frozen=True, slots=True, eq=False)
class FrameFeatures:
    """What the image encoder says of N frames. All objects on a frame share it."""

    image: Tensor  # (N, h*w, C) as tokens, at stride 16
    middle: Tensor  # (N, C/4, 2h, 2w)
    fine: Tensor  # (N, C/8, 4h, 4w)
    looked: Tensor | None = None  # (N, h*w, C): what `Sam2.look` adds

    def rows(self, rows: Sequence[int]) -> "FrameFeatures":
        """The features of these frames, in this order; a frame may be named more than once."""
        if list(rows) == list(range(len(self.image))):
            return self
        if len(rows) == 1:  # a slice copies nothing
            return self._cut(rows[0], rows[0] + 1)
        return FrameFeatures.join([self._cut(row, row + 1) for row in rows])

    def split(self) -> list["FrameFeatures"]:
        """The features of each frame by itself."""
        return [self._cut(row, row + 1) for row in range(len(self.image))]

    @classmethod
    def join(cls, parts: Sequence["FrameFeatures"]) -> "FrameFeatures":
        """The features of several calls as if they came from one."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(torch.cat(maps) for maps in zip(*(p._maps for p in parts), strict=True)))

    def _cut(self, start: int, stop: int) -> "FrameFeatures":
        return FrameFeatures(*(m[start:stop] for m in self._maps))

    @property
    def _maps(self) -> tuple[Tensor, ...]:
        maps = (self.image, self.middle, self.fine)
        return maps if self.looked is None else (*maps, self.looked)


class Sam2(nn.Module):
    """Segment Anything Model 2 (Ravi et al. 2024). Submodules bear the names of the checkpoints.

    Shapes: B objects, C channels, M memory channels, S image size, (h, w) the stride-16 grid.
    """

    image_positions: Tensor
    memory_positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, memory_channels = config.channels, config.memory_channels
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.sam_prompt_encoder = PromptEncoder(config)
        self.sam_mask_decoder = MaskDecoder(config)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.obj_ptr_proj = MLP(channels, channels, channels, channels)
        self.maskmem_tpos_enc = _weight(config.memory_span + 1, 1, 1, memory_channels)
        self.no_mem_embed = _weight(1, 1, channels)
        self.no_mem_pos_enc = _weight(1, 1, channels)  # in every checkpoint, read by nothing
        self.no_obj_ptr = _weight(1, channels)
        if config.absent_memory:
            self.no_obj_embed_spatial = _weight(1, memory_channels)
        if config.pointer_positions:
            self.obj_ptr_tpos_proj = Linear(channels, memory_channels)
        self.register_buffer("image_positions", sine_map(channels, config.grid), persistent=False)
        self.register_buffer(
            "memory_positions", sine_map(memory_channels, config.grid), persistent=False
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.no_mem_embed.device

    def encode(self, images: Tensor) -> FrameFeatures:
        """Normalised frames (N, 3, S, S) -> their features, made once and shared by all objects."""
        maps = [self._encode(image) for image in together(images)]
        joined = (torch.cat(m)[: len(images)] for m in zip(*maps, strict=True))
        return FrameFeatures(*(m.contiguous() for m in joined))

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, image = self.image_encoder(images)
        decoder = self.sam_mask_decoder
        return as_tokens(image), decoder.conv_s1(middle), decoder.conv_s0(fine)

    def look(self, features: FrameFeatures) -> FrameFeatures:
        """The features with what frames see of themselves before any memory: shared as well."""
        if features.looked is not None:
            return features
        positions = as_tokens(self.image_positions[None])
        look = self.memory_attention.look
        looked = torch.cat([look(image, positions) for image in together(features.image)])
        return replace(features, looked=looked[: len(features.image)])

    def without_memory(self, features: FrameFeatures) -> Tensor:
        """The image that an object sees which remembers nothing -> tokens (B, h*w, C)."""
        return features.image + self.no_mem_embed

    def recall(
        self, features: FrameFeatures, memories: Sequence[Recollection], pointer_span: int
    ) -> Tensor:
        """The image after reading memory, one recollection per object -> tokens (B, h*w, C).

        All recollections have one shape. `pointer_span` scales the age of pointers to 0..1.
        """
        maps, map_pos = self._map_tokens(memories)
        pointers, pointer_pos = self._pointer_tokens(memories, pointer_span)
        return self.memory_attention(  # type: ignore[no-any-return]
            self.look(features).looked,
            torch.cat((maps, pointers), dim=1),
            torch.cat((map_pos, pointer_pos), dim=1),
            self.memory_attention.rotary(len(memories[0].maps), pointers.shape[1]),
        )

    def _map_tokens(self, memories: Sequence[Recollection]) -> tuple[Tensor, Tensor]:
        """Remembered maps as tokens, and their positions: twice (B, maps*h*w, M)."""
        maps = torch.stack([torch.stack(m.maps) for m in memories])  # (B, maps, M, h, w)
        maps = maps.to(self.maskmem_tpos_enc.dtype).flatten(3).transpose(2, 3)  # (B, maps, h*w, M)
        # The rows of the table tell ages 1, 2, ...; the last row is that of prompted frames.
        rows = torch.tensor([[age - 1 for age in m.ages] for m in memories])
        ages = self.maskmem_tpos_enc[upload(rows, self.device)].squeeze(2)  # (B, maps, 1, M)
        positions = ages + as_tokens(self.memory_positions[None])
        return maps.flatten(1, 2), positions.flatten(1, 2)

    def _pointer_tokens(
        self, memories: Sequence[Recollection], pointer_span: int
    ) -> tuple[Tensor, Tensor]:
        """Object pointers cut into tokens, and their positions: twice (B, tokens, M)."""
        channels, width = self.config.channels, self.config.memory_channels
        if not memories[0].pointers:
            empty = self.maskmem_tpos_enc.new_zeros(len(memories), 0, width)
            return empty, empty
        pointers = torch.stack([torch.stack(m.pointers) for m in memories])  # (B, pointers, C)
        tokens = pointers.view(len(memories), -1, width)  # consecutive slices of each pointer
        if not self.config.pointer_positions:
            return tokens, torch.zeros_like(tokens)
        distances = upload(torch.tensor([m.distances for m in memories]), self.device)
        code = sine_distance(distances / max(pointer_span - 1, 1), channels)
        positions = self.obj_ptr_tpos_proj(code.to(tokens.dtype))  # (B, pointers, M)
        return tokens, positions.repeat_interleave(channels // width, dim=1)

    def decode(
        self, image: Tensor, features: FrameFeatures, prompt: Tensor, dense: Tensor
    ) -> Decoded:
        """Masks of B objects from image (B, h*w, C), prompt tokens (B, P, C) and dense prompt.

        `dense` is (B, C, h, w): an encoded mask, or the prompt encoder's `no_mask`.
        """
        positions = self.sam_prompt_encoder.image_positions()
        return self.sam_mask_decoder(  # type: ignore[no-any-return]
            image + as_tokens(dense), as_tokens(positions), prompt, features.fine, features.middle
        )

    def point_at(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Object pointers (B, C) from mask tokens (B, C), or the one for objects not `present`."""
        return torch.where(present[:, None], self.obj_ptr_proj(tokens), self.no_obj_ptr)

    def memorize(
        self, features: FrameFeatures, masks: Tensor, present: Tensor, prompted: bool
    ) -> Tensor:
        """Memories (B, M, h, w) of low-resolution logits (B, S/4, S/4) on their frames.

        The mask of a prompted frame is certain: it is remembered as 0 or 1, not as a probability.
        Memories are bfloat16, also beside float32 weights: the published models round them so.
        """
        size = self.config.image_size
        masks = F.interpolate(masks[:, None], size=(size, size), mode="bilinear")
        masks = (masks > 0).to(masks.dtype) if prompted else masks.sigmoid()
        image = as_map(features.image, self.config.grid)
        memory: Tensor = self.memory_encoder(image, masks)
        if self.config.absent_memory:
            absent = (~present).to(memory.dtype).view(-1, 1, 1, 1)
            memory = memory + absent * self.no_obj_embed_spatial[..., None, None]
        return memory.to(torch.bfloat16)


def _weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02))
