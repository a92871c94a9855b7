"""Memory attention: the current frame reads the object's memory (paper: "Memory attention")."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2.config import ModelConfig
from sam2.layers import attend
from sam2.position import rotary_turns, rotate


class Rotary(nn.Module):
    """Turns queries and keys by the place of their cell, so that attention sees offsets."""

    turns: Tensor

    def __init__(self, channels: int, grid: int) -> None:
        super().__init__()
        self.register_buffer("turns", rotary_turns(channels, grid), persistent=False)

    def forward(self, x: Tensor, maps: int = 1) -> Tensor:
        """Turns the first `maps` maps' worth of tokens of (B, N, C); the rest has no place."""
        turns = self.turns.repeat(maps, 1, 1)
        placed, rest = x[:, : len(turns)], x[:, len(turns) :]
        return torch.cat((rotate(placed, turns), rest), dim=1)


class RotaryAttention(nn.Module):
    """One-head attention whose keys and values may be narrower than its queries."""

    def __init__(self, channels: int, memory_channels: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(memory_channels, channels)
        self.v_proj = nn.Linear(memory_channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, rotary: Rotary, maps: int = 1) -> Tensor:
        """(B, hw, C), (B, N, C'), (B, N, C') -> (B, hw, C); `maps` maps of k are turned."""
        q, k = rotary(self.q_proj(q)), rotary(self.k_proj(k), maps)
        return self.out_proj(attend(q, k, self.v_proj(v), heads=1))  # type: ignore[no-any-return]


class MemoryAttentionLayer(nn.Module):
    """Self-attention over the frame, cross-attention to the memory, MLP; norms come first."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.channels
        self.self_attn = RotaryAttention(channels, channels)
        self.cross_attn_image = RotaryAttention(channels, config.memory_channels)
        self.linear1 = nn.Linear(channels, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(
        self, x: Tensor, memory: Tensor, memory_pos: Tensor, rotary: Rotary, maps: int
    ) -> Tensor:
        """(B, hw, C) reads memory (B, N, M) with its positions -> (B, hw, C)."""
        y = self.norm1(x)
        x = x + self.self_attn(y, y, y, rotary)
        y = self.norm2(x)
        x = x + self.cross_attn_image(y, memory + memory_pos, memory, rotary, maps)
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

    def forward(
        self, image: Tensor, image_pos: Tensor, memory: Tensor, memory_pos: Tensor, maps: int
    ) -> Tensor:
        """Image tokens (B, hw, C) read memory tokens (B, N, M) -> (B, hw, C).

        The memory starts with `maps` whole maps of h*w tokens; what follows are pointer tokens,
        which have no place in the picture.
        """
        x = image + 0.1 * image_pos  # the share of position the published weights expect
        for layer in self.layers:
            x = layer(x, memory, memory_pos, self.rotary, maps)
        return self.norm(x)  # type: ignore[no-any-return]
