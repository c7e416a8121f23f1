"""Where a token of a map is: learned absolute embeddings and rotary ones, for any grid. Layout (B, L, C), row-major."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers.extra_tokens import insert_tokens, split_tokens, token_places

Grid = tuple[int, ...]  # rows and columns; in a clip frames, rows and columns


def resize_grid(x: Tensor, old: Grid, new: Grid) -> Tensor:
    """One vector per place of a grid for another grid, (B, h * w, C) -> (B, h' * w', C), bicubically.

    Where the grids are those of clips, (B, t * h * w, C), every frame bicubically, then linearly over the frames.
    """
    if tuple(old) == tuple(new):
        return x
    if len(old) == 3:
        frames = resize_grid(x.unflatten(1, (old[0], -1)).flatten(0, 1), old[1:], new[1:]).unflatten(0, (-1, old[0]))
        return _resize_time(frames, new[0]).flatten(1, 2)
    x = x.unflatten(1, tuple(old)).permute(0, 3, 1, 2)  # (1, h * w, C) -> (1, C, h, w)
    # Resizing to fewer places is not smoothed: so it was published.
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    x = F.interpolate(wide, size=tuple(new), mode='bicubic', align_corners=False).to(x.dtype)
    return x.flatten(2).transpose(1, 2)


def _resize_time(x: Tensor, frames: int) -> Tensor:
    """(B, t, L, C) to (B, frames, L, C), linearly."""
    if x.shape[1] == frames:
        return x
    wide = x.flatten(2).transpose(1, 2).to(torch.promote_types(x.dtype, torch.float32))
    resized = F.interpolate(wide, size=frames, mode='linear', align_corners=False).to(x.dtype)
    return resized.transpose(1, 2).unflatten(2, x.shape[2:])


class PositionEmbed(nn.Module):
    """A learned vector per place of a grid, and per extra token where those have one here, (1, M + n, C).

    Args:
        embed_dims: width of a token, C.
        grid: rows and columns, in a clip frames, rows and columns, that the vectors are learned for.
        placement: of the extra tokens, as in :func:`token_places`; None: no vectors for any.
    """

    def __init__(self, embed_dims: int, grid: Grid, placement: str | None = None) -> None:
        super().__init__()
        self.grid, self.placement = tuple(grid), placement
        length = math.prod(grid) + len(token_places(placement, math.prod(grid)))
        self.weight = nn.Parameter(torch.empty(1, length, embed_dims))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, grid: Grid) -> Tensor:
        """The vectors for the tokens of any grid, those of the extra tokens unchanged."""
        return self._resized(self.weight, self.grid, grid)

    def fitted(self, leaf: str, tensor: Tensor) -> Tensor:
        """A checkpoint's ``weight`` for this grid; unchanged where it is not of a square one, which nothing tells.

        Nor does anything tell how many frames there were in a clip.
        """
        patches = tensor.shape[1] - len(token_places(self.placement, 0)) if tensor.dim() == 3 else -1
        side = math.isqrt(max(patches, 0))
        if leaf != 'weight' or len(self.grid) == 3 or side == 0 or side**2 != patches:
            return tensor
        return self._resized(tensor, (side, side), self.grid)

    def spread(self, tensor: Tensor) -> Tensor:
        """The vectors of an image, (1, h * w, C), in every frame of this grid of clips.

        Those of another square grid are resized; unchanged where they are of neither.
        """
        frames, *grid = self.grid
        side = math.isqrt(tensor.shape[1])
        if tensor.shape[1] != math.prod(grid):
            if side**2 != tensor.shape[1]:
                return tensor
            tensor = resize_grid(tensor, (side, side), grid)
        return tensor.repeat(1, frames, 1)

    def _resized(self, weight: Tensor, old: Grid, new: Grid) -> Tensor:
        if tuple(old) == tuple(new):
            return weight
        tokens, patches = split_tokens(weight, token_places(self.placement, math.prod(old)))
        patches = resize_grid(patches, old, new)
        return insert_tokens(patches, tokens, token_places(self.placement, math.prod(new)))


class RotaryEmbed(nn.Module):
    """Rotation of neighbouring channels by the row (first half of the channels) and the column (second half).

    The tables for the grid that the model is built for are part of its state, as published. Rotations are linear: those
    before each layer add up along the residual stream.

    Args:
        embed_dims: width of a token, C, a multiple of 4.
        grid: rows and columns of the tables.
        length: what the last row's position runs up to, whatever the grid.
        resize_tables: for another grid resize the tables bicubically, as LocalVim does; else work them out for it.

    Raises:
        ValueError: if ``embed_dims`` is not a multiple of 4.
    """

    def __init__(self, embed_dims: int, grid: Grid, *, length: int = 14, resize_tables: bool = False) -> None:
        super().__init__()
        if embed_dims % 4:
            raise ValueError(f'rotary embedding: embed_dims {embed_dims} is not a multiple of 4')
        self.embed_dims, self.grid, self.length, self.resize_tables = embed_dims, tuple(grid), length, resize_tables
        angles = self._angles(self.grid, torch.get_default_dtype(), None)
        self.register_buffer('cos', angles.cos())
        self.register_buffer('sin', angles.sin())

    def tables(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Cosines and sines for a grid, (h * w, C) each."""
        if tuple(grid) == self.grid:
            return self.cos, self.sin
        if self.resize_tables:
            return tuple(resize_grid(table[None], self.grid, grid)[0] for table in (self.cos, self.sin))
        angles = self._angles(grid, self.cos.dtype, self.cos.device)
        return angles.cos(), angles.sin()

    def fitted(self, leaf: str, tensor: Tensor) -> Tensor:
        """The tables of this grid in place of a checkpoint's: they are not learned."""
        return self.state_dict()[leaf] if tensor.dim() == 2 and tensor.shape[1] == self.embed_dims else tensor

    def _angles(self, grid: Grid, dtype: torch.dtype, device: torch.device | None) -> Tensor:
        half = self.embed_dims // 2
        frequencies = 10000.0 ** (-torch.arange(0, half, 2, dtype=dtype, device=device) / half)
        rows, cols = (
            torch.outer(
                torch.arange(size, dtype=dtype, device=device) / size * self.length, frequencies
            ).repeat_interleave(2, dim=1)  # both channels of a pair
            for size in grid
        )
        shape = (*grid, half)
        return torch.cat([rows[:, None].expand(shape), cols[None].expand(shape)], dim=-1).flatten(0, 1)


def rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Turn every pair of neighbouring channels of (B, L, C) by the angles of :meth:`RotaryEmbed.tables`."""
    cos, sin = tables
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)  # (a, b) -> (-b, a)
    return x * cos + turned * sin
