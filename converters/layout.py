"""The packed layouts of ``src_c/core/format.h`` and the row orders of recurrent matrices.

R16C1: f32 and f16, R16C4: s8, R16G32: s4.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[Any]"

BLOCK = 16  # rows of a tile, units of a recurrent block
GROUP = 4  # columns of a tile, s8
WIDE = 32  # columns of a group, s4


def padded(n: int, to: int) -> int:
    """Round n up to a multiple."""
    return -(-n // to) * to


def pack_r16c1(w: Array, dtype: str = "<f4") -> bytes:
    """[rows, cols] -> "<f4" or "<f2", (r, c) at [(r/16)*cols*16 + c*16 + r%16], rows padded with zeros."""
    rows, cols = w.shape
    full = np.zeros((padded(rows, BLOCK), cols), dtype)
    full[:rows] = w
    return bytes(full.reshape(-1, BLOCK, cols).transpose(0, 2, 1).tobytes())


def unpack_r16c1(data: bytes | memoryview, rows: int, cols: int, dtype: str = "<f4") -> Array:
    """The inverse of `pack_r16c1`: [rows, cols]."""
    tiles = np.frombuffer(data, dtype).reshape(-1, cols, BLOCK)
    return np.array(tiles.transpose(0, 2, 1).reshape(-1, cols)[:rows])


def pack_r16c4(q: Array, scale: Array) -> bytes:
    """s8 [rows, cols] and f32 scale [rows] -> scales, row sums, tiles; all padding zero."""
    rows, cols = q.shape
    full = np.zeros((padded(rows, BLOCK), padded(cols, GROUP)), np.int8)
    full[:rows, :cols] = q
    scales = np.zeros(len(full), "<f4")
    scales[:rows] = scale
    sums = full.sum(axis=1, dtype=np.int32).astype("<i4")
    tiles = full.reshape(-1, BLOCK, full.shape[1] // GROUP, GROUP).transpose(0, 2, 1, 3)
    return bytes(scales.tobytes() + sums.tobytes() + tiles.tobytes())


def unpack_r16c4(data: bytes | memoryview, rows: int, cols: int) -> tuple[Array, Array, Array]:
    """The inverse of `pack_r16c4`: s8 [rows, cols], f32 scale [rows], i32 row_sum [rows]."""
    high, wide = padded(rows, BLOCK), padded(cols, GROUP)
    scale = np.frombuffer(data, "<f4", high)
    sums = np.frombuffer(data, "<i4", high, high * 4)
    tiles = np.frombuffer(data, np.int8, high * wide, high * 8).reshape(-1, wide // GROUP, BLOCK, GROUP)
    q = tiles.transpose(0, 2, 1, 3).reshape(high, wide)
    return q[:rows, :cols].copy(), scale[:rows].copy(), sums[:rows].copy()


def pack_r16g32(q: Array, step: Array, scale: Array) -> bytes:
    """-8 ... 7 [rows, cols], s8 step [rows, groups] and f32 scale [rows] -> scales, steps, tiles of nibbles."""
    rows, cols = q.shape
    high, groups = padded(rows, BLOCK), step.shape[1]
    full = np.full((high, groups * WIDE), 8, np.uint8)
    full[:rows, :cols] = q.astype(np.int16) + 8
    tiles = full.reshape(-1, BLOCK, groups, 4, 2, 4).transpose(0, 2, 3, 4, 1, 5)  # block group tile half row column
    scales, steps = np.zeros(high, "<f4"), np.zeros((high, groups), np.int8)
    scales[:rows], steps[:rows] = scale, step
    by_block = steps.reshape(-1, BLOCK, groups).transpose(0, 2, 1).tobytes()
    nibbles = tiles[:, :, :, 0] | tiles[:, :, :, 1] << 4
    return bytes(scales.tobytes() + by_block.ljust(padded(len(by_block), 64), b"\0") + nibbles.tobytes())


def unpack_r16g32(data: bytes | memoryview, rows: int, cols: int) -> tuple[Array, Array, Array]:
    """The inverse of `pack_r16g32`: q int8 [rows, cols], step int8 [rows, groups], scale f32 [rows]."""
    high, groups = padded(rows, BLOCK), padded(cols, WIDE) // WIDE
    scale = np.frombuffer(data, "<f4", high)
    steps = np.frombuffer(data, np.int8, high * groups, high * 4).reshape(-1, groups, BLOCK)
    at = high * 4 + padded(high * groups, 64)
    both = np.frombuffer(data, np.uint8, high * groups * 16, at).reshape(-1, groups, 4, 1, BLOCK, 4)
    tiles = np.concatenate([both & 15, both >> 4], axis=3)  # block group tile half row column
    q = tiles.transpose(0, 4, 1, 2, 3, 5).reshape(high, groups * WIDE).astype(np.int8) - np.int8(8)
    step = steps.transpose(0, 2, 1).reshape(high, groups)
    return q[:rows, :cols].copy(), step[:rows].copy(), scale[:rows].copy()


def interleave_gates(w: Array) -> Array:
    """[D, G, H, ...] -> [D*G*Hp, ...] with rows [dir][unit/16][gate][unit%16]; padded units are zeros."""
    directions, gates, hidden = w.shape[:3]
    rest = w.shape[3:]
    full = np.zeros((directions, gates, padded(hidden, BLOCK), *rest), w.dtype)
    full[:, :, :hidden] = w
    blocks = full.reshape(directions, gates, -1, BLOCK, *rest)
    return np.ascontiguousarray(np.moveaxis(blocks, 1, 2)).reshape(-1, *rest)


def interleave_gates_reset_first(w: Array) -> Array:
    """R of a GRU with linear_before_reset = 0: per direction first z and r interleaved, then all of h."""
    parts = [part for each in w for part in (interleave_gates(each[None, :2]), interleave_gates(each[None, 2:]))]
    return np.concatenate(parts)
