"""Hiera, the trunk of the image encoder: a transformer over windows that halves its map thrice."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2.attention import Attend, attend
from sam2.config import TrunkConfig
from sam2.layers import MLP, Conv2d, Linear, join_heads, split_heads


def split_windows(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B*windows, window, window, C), zero-padded at the right and bottom."""
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    x = x.view(batch, x.shape[1] // window, window, x.shape[2] // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window, window, channels)


def join_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """(B*windows, w, w, C) -> (B, height, width, C), without the padding."""
    window, channels = windows.shape[1], windows.shape[3]
    rows, columns = -(-height // window), -(-width // window)
    x = windows.view(-1, rows, columns, window, window, channels).transpose(2, 3)
    x = x.reshape(-1, rows * window, columns * window, channels)
    return x[:, :height, :width]


def halve(x: Tensor) -> Tensor:
    """Max-pools a (B, H, W, C) map 2x2."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class PatchEmbedding(nn.Module):
    """Cuts a picture into overlapping patches, one every 4 pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = Conv2d(3, width, kernel_size=7, stride=4, padding=3)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, S/4, S/4, C)."""
        return self.proj(image).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Self-attention within a window; at the first block of a stage the queries are pooled 2x2."""

    attend: Attend = staticmethod(attend)

    def __init__(self, width_in: int, width: int, heads: int, pool: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool = pool
        self.qkv = Linear(width_in, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C'), or (B, H/2, W/2, C') where the queries are pooled."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.pool:
            q = halve(q)
        batch, height, width, _ = q.shape
        q, k, v = (split_heads(t.flatten(1, 2), self.heads) for t in (q, k, v))
        x = join_heads(self.attend(q, k, v)).view(batch, height, width, -1)
        return self.proj(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """One transformer block; `window` 0 attends over the whole map."""

    band = 0  # tokens to compute at a time, as windows know nothing of each other; 0: all at once

    def __init__(self, width_in: int, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.opens_stage = width != width_in
        self.norm1 = nn.LayerNorm(width_in, eps=1e-6)
        self.attn = Attention(width_in, width, heads, pool=self.opens_stage)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, 4 * width, width, activation=nn.GELU)
        if self.opens_stage:
            self.proj = Linear(width_in, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C), or (B, H/2, W/2, 2C) where a stage opens."""
        if not self.band or not self.window:
            return self._transform(x)
        windows = self.band // (self.window * x.shape[2])
        bands = torch.split(x, self.window * max(windows, 1), dim=1)
        return torch.cat([self._transform(band) for band in bands], dim=1)

    def _transform(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        # Once here and not at every use. An adapter in the place of the layer may have no weight.
        normed = normed.to(getattr(self.attn.qkv, "weight", normed).dtype)
        shortcut = halve(self.proj(normed)).float() if self.opens_stage else x
        x = shortcut + self._attend(normed, shortcut.shape[1], shortcut.shape[2])
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor, height: int, width: int) -> Tensor:
        if not self.window:
            return self.attn(x)  # type: ignore[no-any-return]
        # Padding joins after the norm and is not masked: the published weights were trained so.
        return join_windows(self.attn(split_windows(x, self.window)), height, width)


class Hiera(nn.Module):
    """The trunk: four maps of a picture, at strides 4, 8, 16 and 32."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        window = config.windows[0]
        self.patch_embed = PatchEmbedding(config.width)
        self.pos_embed = nn.Parameter(
            torch.zeros(1, config.width, config.position_grid, config.position_grid)
        )
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.width, window, window))
        self.blocks = nn.ModuleList(_blocks(config))
        ends = [sum(config.blocks[: stage + 1]) - 1 for stage in range(4)]
        self.stage_ends = frozenset(ends)
        self.positions: Tensor | None = None  # once the weights change no more

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> four maps (B, C, S/4, S/4) to (B, 8C, S/32, S/32)."""
        x = self.patch_embed(image)
        x = x + (self._positions(x.shape[1]) if self.positions is None else self.positions)
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                maps.append(x.permute(0, 3, 1, 2))
        return maps

    def keep_positions(self, size: int) -> None:
        """Computes the positions of a picture of this size once for all."""
        self.positions = self._positions(size // 4).detach()

    def _positions(self, size: int) -> Tensor:
        """A coarse learnt map stretched over the picture plus a fine one in each window."""
        coarse = F.interpolate(self.pos_embed, size=(size, size), mode="bicubic")
        repeats = size // self.pos_embed_window.shape[-1]
        fine = self.pos_embed_window.tile(1, 1, repeats, repeats)
        return (coarse + fine).permute(0, 2, 3, 1)


def _blocks(config: TrunkConfig) -> list[Block]:
    blocks: list[Block] = []
    width_in = config.width
    for stage, (count, width) in enumerate(zip(config.blocks, config.channels, strict=True)):
        for position in range(count):
            # The block that opens a stage still works on the windows of the stage before.
            window = config.windows[stage - 1 if stage and position == 0 else stage]
            if len(blocks) in config.global_blocks:
                window = 0
            blocks.append(Block(width_in, width, config.heads << stage, window))
            width_in = width
    return blocks
