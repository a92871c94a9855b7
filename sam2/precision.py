"""How exactly a model computes: as published to the bit, or faster."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from sam2.attention import attend_fast
from sam2.compiled import compile_parts
from sam2.config import Precision
from sam2.hiera import Attention, Block
from sam2.image_encoder import Lateral
from sam2.layers import MLP, Conv2d, ConvTranspose2d, Linear
from sam2.memory_attention import RotaryAttention
from sam2.model import Sam2
from sam2.products import multiply, multiply_gelu

BAND = 2048  # tokens of the trunk that are computed at a time: they stay in a processor's cache


@torch.no_grad()
def set_precision(model: Sam2, precision: Precision) -> Sam2:
    """Prepares a model with its weights, on its device, for inference; returns it.

    `exact` does what the published code does, in float32; on a CPU masks are equal to the bit.
    `float32` does the same sums in another order, `bfloat16` rounds what goes into the large ones,
    and `auto` is the faster of these two on the model's device. A prepared model is for inference:
    its weights are no longer those of a checkpoint. On a GPU its parts are compiled when they first
    run, and the last model prepared says for the process whether float32 products may be rounded.
    """
    if precision == "auto":
        precision = "bfloat16" if fast_at_bfloat16(model.device) else "float32"
    if model.device.type == "cuda":
        _let_products_round(precision == "bfloat16")
    if precision == "exact":
        return model
    join_narrowing(model)
    model.image_encoder.trunk.keep_positions(model.config.image_size)
    for module in model.modules():
        if isinstance(module, RotaryAttention):
            module.absorb()
        if isinstance(module, RotaryAttention | Attention):
            module.attend = attend_fast
    for module in model.modules():
        if isinstance(module, Linear):
            module.multiply = multiply
    fuse_gelu(model)
    if precision == "bfloat16":
        for part in _large_parts(model):
            for module in part.modules():
                if isinstance(module, Linear | Conv2d | ConvTranspose2d):
                    module.to(torch.bfloat16)
    if model.device.type == "cpu":
        band_blocks(model)
    if model.device.type == "cuda":
        compile_parts(model)
    return model


def _let_products_round(allowed: bool) -> None:
    """Whether float32 products on GPUs may take TF32, three digits and several times as fast."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def fast_at_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # AVX-512 or AMX instructions for it; both come with the first of them.
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def band_blocks(model: Sam2) -> None:
    """Has the trunk's float32 blocks go through the map in bands; in them bfloat16 is slower."""
    for block in model.image_encoder.trunk.modules():
        if isinstance(block, Block) and block.attn.qkv.weight.dtype == torch.float32:
            block.band = BAND


def fuse_gelu(model: Sam2) -> None:
    """Has the layers before a GELU compute it too."""
    for module in model.modules():
        if isinstance(module, MLP) and isinstance(module.activation, nn.GELU):
            for layer in module.layers[:-1]:
                layer.multiply = multiply_gelu  # type: ignore[assignment]
            module.activation = nn.Identity()


def join_narrowing(model: Sam2) -> None:
    """Makes one 1x1 convolution of the two that the fine maps go through one after the other."""
    decoder = model.sam_mask_decoder
    *_, middle, fine = cast(Sequence[Lateral], model.image_encoder.neck.convs)
    decoder.conv_s1 = _joined(middle.conv, decoder.conv_s1)
    decoder.conv_s0 = _joined(fine.conv, decoder.conv_s0)
    for lateral in (middle, fine):
        lateral.conv = nn.Identity()  # type: ignore[assignment]


def _joined(first: Conv2d, second: Conv2d) -> Conv2d:
    assert first.bias is not None
    joined = Conv2d(first.in_channels, second.out_channels, kernel_size=1)
    # In double: products of float32 may be allowed to round by now.
    wide, narrow = (conv.weight.flatten(1).double() for conv in (first, second))
    joined.weight = nn.Parameter((narrow @ wide).float()[..., None, None])
    assert second.bias is not None
    bias = narrow @ first.bias.double() + second.bias.double()
    joined.bias = nn.Parameter(bias.float())
    return joined


def _large_parts(model: Sam2) -> Sequence[nn.Module]:
    """Where the time goes, but for what is as fast in float32 or moves masks much if rounded."""
    kept = sum(model.config.trunk.blocks[: model.config.float32_stages])
    return [*model.image_encoder.trunk.blocks[kept:], model.memory_attention]
