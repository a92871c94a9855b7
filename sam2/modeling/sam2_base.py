"""SAM 2 under its published name: our model, with the attributes and methods that scripts know."""

from dataclasses import dataclass, replace

from torch import Tensor

from sam2.config import ModelConfig
from sam2.layers import as_map
from sam2.model import FrameFeatures, Sam2
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.position import sine_map
from sam2.tracking import ABSENT

NO_OBJ_SCORE = ABSENT


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is used, as far as it is not part of what the model is (`ModelConfig`).

    The names are the published ones; each becomes an attribute of the model.
    """

    fill_hole_area: int = 0  # holes of at most so many low-resolution pixels are filled, in videos
    non_overlap_masks: bool = False  # at each pixel of a video only the strongest object is shown
    binarize_mask_from_pts_for_mem_enc: bool = True  # the mask of a prompted frame is certain
    add_all_frames_to_correct_as_cond: bool = False  # corrections make conditioning frames
    max_cond_frames_in_attn: int = -1  # prompted frames read at once; -1: all


class SAM2Base(Sam2):
    """SAM 2 with its published face. Settings are plain attributes and may be set at any time."""

    sam_prompt_encoder: PromptEncoder
    sam_mask_decoder: MaskDecoder

    num_feature_levels = 3
    directly_add_no_mem_embed = True

    def __init__(self, config: ModelConfig, settings: Settings | None = None) -> None:
        super().__init__(config)
        self.sam_prompt_encoder = PromptEncoder(config)
        self.sam_mask_decoder = MaskDecoder(config)
        settings = settings or Settings()
        self.fill_hole_area = settings.fill_hole_area
        self.non_overlap_masks = settings.non_overlap_masks
        self.binarize_mask_from_pts_for_mem_enc = settings.binarize_mask_from_pts_for_mem_enc
        self.add_all_frames_to_correct_as_cond = settings.add_all_frames_to_correct_as_cond
        self.max_cond_frames_in_attn = settings.max_cond_frames_in_attn

    @property
    def image_size(self) -> int:
        """Side of the square that every picture is scaled to."""
        return self.config.image_size

    @property
    def clear_non_cond_mem_around_input(self) -> bool:
        """Always False: the published package ends in an error where it is True."""
        return False

    @clear_non_cond_mem_around_input.setter
    def clear_non_cond_mem_around_input(self, clear: bool) -> None:
        if clear:
            raise ValueError("clear_non_cond_mem_around_input is always False here.")

    @property
    def hidden_dim(self) -> int:
        """Channels of image features and tokens."""
        return self.config.channels

    @property
    def mem_dim(self) -> int:
        """Channels of memories."""
        return self.config.memory_channels

    @property
    def num_maskmem(self) -> int:
        """Memories read of tracked frames, and one for the prompted frames."""
        return self.config.memory_span + 1

    @num_maskmem.setter
    def num_maskmem(self, number: int) -> None:
        known = len(self.maskmem_tpos_enc)
        if not 1 <= number <= known:
            raise ValueError(f"num_maskmem={number}: the weights know 1 to {known} memories.")
        self.config = replace(self.config, memory_span=number - 1)

    @property
    def max_obj_ptrs_in_encoder(self) -> int:
        """Object pointers are read of frames less than this far away."""
        return self.config.pointer_span

    @max_obj_ptrs_in_encoder.setter
    def max_obj_ptrs_in_encoder(self, number: int) -> None:
        self.config = replace(self.config, pointer_span=number)

    def memorize(
        self, features: FrameFeatures, masks: Tensor, present: Tensor, prompted: bool
    ) -> Tensor:
        """Memories (B, M, h, w); a prompted mask is certain only where the setting says so."""
        certain = prompted and self.binarize_mask_from_pts_for_mem_enc
        return super().memorize(features, masks, present, certain)

    def forward_image(self, img_batch: Tensor) -> dict[str, list[Tensor]]:
        """Normalised pictures (n, 3, S, S) -> three maps each (n, C', H', W') and their positions.

        Finest first; the first two are already narrowed by the decoder's conv_s0 and conv_s1.
        """
        features = self.encode(img_batch)
        maps = [features.fine, features.middle, as_map(features.image, self.config.grid)]
        positions = [
            sine_map(self.config.channels, m.shape[-1]).to(m.device).expand(len(m), -1, -1, -1)
            for m in maps
        ]
        return {"backbone_fpn": maps, "vision_pos_enc": positions}

    def _prepare_backbone_features(
        self, backbone_out: dict[str, list[Tensor]]
    ) -> tuple[dict[str, list[Tensor]], list[Tensor], list[Tensor], list[tuple[int, int]]]:
        """What `forward_image` gave, and its maps and positions as sequences (H'W', n, C')."""
        maps, positions = backbone_out["backbone_fpn"], backbone_out["vision_pos_enc"]
        return (
            backbone_out,
            [m.flatten(2).permute(2, 0, 1) for m in maps],
            [p.flatten(2).permute(2, 0, 1) for p in positions],
            [(m.shape[-2], m.shape[-1]) for m in maps],
        )
