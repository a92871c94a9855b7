"""Where training from nothing starts: weights with which attention looks at the right place.

From plain random weights a small SAM 2 learns nothing for hundreds of steps: a click cannot find
its place in the picture, nor a cell itself in the memory. Both are a matter of the first weights.
"""

import torch
from torch import nn

from sam2.mask_decoder import DecoderAttention, MaskDecoder
from sam2.memory_attention import RotaryAttention
from sam2.memory_encoder import ConvNextBlock
from sam2.model import Sam2
from sam2.training.losses import FEATURE_SCALE

MEANING = 0.2  # standard deviation of what tells a click on the object from one beside it
SAME_PLACE = 0.8  # of query and key biases: attention begins as reading the same cell
CODE_GAIN = 3.5  # of the projections that compare position codes
QUIET = 0.1  # the share of branches whose noise would hide what a click found
HALF = 0.5  # that of what tokens tell the image
LOUD = 3.0  # that of the last look at the image, from which masks are made
BRANCH = 0.3  # the share of a convolution block in its sum


@torch.no_grad()
def set_first_weights(model: Sam2) -> None:
    """Gives an untrained model the weights from which training starts, by torch's random state."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5, a=-2, b=2)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=MEANING)
        elif isinstance(module, ConvNextBlock):
            nn.init.constant_(module.gamma, BRANCH)
    for module in model.modules():
        if isinstance(module, RotaryAttention):
            nn.init.constant_(module.q_proj.bias, SAME_PLACE)
            nn.init.constant_(module.k_proj.bias, SAME_PLACE)
    _compare_places(model.sam_mask_decoder)
    nn.init.constant_(model.memory_attention.norm.weight, FEATURE_SCALE)
    for lateral in model.image_encoder.neck.convs[:2]:  # those whose sum the decoder reads
        for weight in lateral.parameters():
            weight.mul_(FEATURE_SCALE)
    for part in (model.image_encoder.trunk.pos_embed, model.image_encoder.trunk.pos_embed_window):
        nn.init.normal_(part, std=0.02)


def _compare_places(decoder: MaskDecoder) -> None:
    """Makes a decoder whose tokens read the image where the click is, and little else."""
    transformer = decoder.transformer
    for name, module in transformer.named_modules():
        if isinstance(module, DecoderAttention):
            nn.init.orthogonal_(module.v_proj.weight)
            module.out_proj.weight.copy_(module.v_proj.weight.T)
            if not name.endswith("self_attn"):
                nn.init.orthogonal_(module.q_proj.weight, gain=CODE_GAIN)
                module.k_proj.weight.copy_(module.q_proj.weight)
    transformer.final_attn_token_to_image.out_proj.weight.mul_(LOUD)
    for name, weight in transformer.named_parameters():
        if name.endswith("mlp.layers.1.weight") or name == "layers.1.self_attn.out_proj.weight":
            weight.mul_(QUIET)
        if name.endswith("image_to_token.out_proj.weight"):
            weight.mul_(HALF)
