"""Memory attention: the current frame reads the object's memory (paper: "Memory attention")."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2.attention import Attend, attend
from sam2.config import ModelConfig
from sam2.layers import Linear
from sam2.position import rotary_turns, rotate


class Rotary(nn.Module):
    """How queries and keys turn by the place of their cell, so that attention sees offsets."""

    turns: Tensor

    def __init__(self, channels: int, grid: int) -> None:
        super().__init__()
        self.register_buffer("turns", rotary_turns(channels, grid), persistent=False)

    def forward(self, maps: int, rest: int) -> Tensor:
        """The turns of `maps` maps, and of `rest` tokens that have no place and stay as they are:
        (maps*h*w + rest, C/2, 2).
        """
        turns = self.turns.repeat(maps, 1, 1)
        still = torch.stack((torch.ones_like(turns[0, :, 0]), torch.zeros_like(turns[0, :, 0])), -1)
        return torch.cat((turns, still.expand(rest, -1, -1)))


class RotaryAttention(nn.Module):
    """One-head attention whose keys and values may be narrower than its queries."""

    attend: Attend = staticmethod(attend)

    def __init__(self, channels: int, memory_channels: int) -> None:
        super().__init__()
        self.q_proj = Linear(channels, channels)
        self.k_proj = Linear(memory_channels, channels)
        self.v_proj = Linear(memory_channels, channels)
        self.out_proj = Linear(channels, channels)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, turns_q: Tensor, turns_k: Tensor) -> Tensor:
        """(B, hw, C), (B, N, C'), (B, N, C'), (hw, C/2, 2), (N, C/2, 2) -> (B, hw, C)."""
        q, k = rotate(self.q_proj(q), turns_q), rotate(self.k_proj(k), turns_k)
        v = self.v_proj(v).to(q.dtype)
        x = self.attend(q[:, None], k[:, None], v[:, None])[:, 0]
        return self.out_proj(x)  # type: ignore[no-any-return]

    def absorb(self) -> None:
        """Makes one matrix of those of value and output, so that memory itself is attended to.

        The weights of a query sum to 1: P (M Wv + bv) Wo + bo = (P M) (Wv Wo) + (bv Wo + bo).
        """
        v, out = self.v_proj, self.out_proj
        joined = Linear(v.in_features, out.out_features)
        joined.weight = nn.Parameter((out.weight.double() @ v.weight.double()).to(out.weight.dtype))
        joined.bias = nn.Parameter(out(v.bias))
        self.v_proj, self.out_proj = nn.Identity(), joined  # type: ignore[assignment]


class MemoryAttentionLayer(nn.Module):
    """Self-attention over the frame, cross-attention to the memory, MLP; norms come first."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.channels
        self.self_attn = RotaryAttention(channels, channels)
        self.cross_attn_image = RotaryAttention(channels, config.memory_channels)
        self.linear1 = Linear(channels, config.feedforward)
        self.linear2 = Linear(config.feedforward, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def look(self, x: Tensor, turns: Tensor) -> Tensor:
        """The frame's cells see each other: (B, hw, C) -> (B, hw, C)."""
        y = self.norm1(x)
        return x + self.self_attn(y, y, y, turns, turns)  # type: ignore[no-any-return]

    def read(
        self, x: Tensor, turns: Tensor, memory: Tensor, memory_pos: Tensor, memory_turns: Tensor
    ) -> Tensor:
        """(B, hw, C) reads memory (B, N, M) with its positions -> (B, hw, C)."""
        y = self.norm2(x)
        x = x + self.cross_attn_image(y, memory + memory_pos, memory, turns, memory_turns)
        y = F.relu(self.linear1(self.norm3(x)))
        return x + self.linear2(y)  # type: ignore[no-any-return]


class MemoryAttention(nn.Module):
    """The stack of layers through which a frame's features hear from memory."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(config) for _ in range(config.memory_layers)
        )
        self.norm = nn.LayerNorm(config.channels)
        self.rotary = Rotary(config.channels, config.grid)

    def look(self, image: Tensor, image_pos: Tensor) -> Tensor:
        """What a frame sees of itself before it reads any memory: (B, hw, C) -> (B, hw, C)."""
        x = image + 0.1 * image_pos  # the share of position the published weights expect
        return self._stack[0].look(x, self.rotary.turns)

    def forward(
        self, looked: Tensor, memory: Tensor, memory_pos: Tensor, memory_turns: Tensor
    ) -> Tensor:
        """What `look` saw (B, hw, C) reads memory tokens (B, N, M) -> (B, hw, C).

        The tokens come with their positions (B, N, M) and with how they turn (N, C/2, 2).
        """
        turns = self.rotary.turns
        first, *rest = self._stack
        x = first.read(looked, turns, memory, memory_pos, memory_turns)
        for layer in rest:
            x = layer.read(layer.look(x, turns), turns, memory, memory_pos, memory_turns)
        return self.norm(x)  # type: ignore[no-any-return]

    @property
    def _stack(self) -> Sequence[MemoryAttentionLayer]:
        return cast(Sequence[MemoryAttentionLayer], self.layers)
