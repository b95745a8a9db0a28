"""The same CNN as in `models.plain`, several times as fast: few operations on large arrays.

| letter | meaning | shape |
|---|---|---|
| P | the sixteen stride-2 planes of the padded images | (B, 16, 196) |
| K | the filters, spread over those planes, one row for each pool phase and filter | (40, 16) |
| C | convolution without bias at the four phases | (block, 4, 10, 196) |
| M | its maximum over the phases | (block, 10, 196) |
| H | ReLU(M + b1), flattened | (B, 1960) |
| A, S, dY | as in `bdn.learning.models.plain` | |

Pool window (i, j) covers the pixels (2i+a, 2j+b) for the four *phases* a, b ∈ {0, 1}. The 3×3
filter at such a pixel reads the padded image at (2i+r, 2j+s) with r = a+u, s = b+v ∈ {0, …, 3}:
sixteen planes serve all four phases, so that one matrix product per image gives them all. Bias and
ReLU are monotone and so can wait until after the maximum, on a quarter of the values. Backward,
three pairwise comparisons say which phase won (`>=`: the first of equals), as the maximum was
taken.

Images pass through convolution and pooling in blocks small enough for a core's cache; the backward
pass needs only the planes and three bits a window of them. Blocks are independent, so ``threads``
can share them out (numpy lets go of Python's lock); their sums are added in order of the blocks, so
that the result does not depend on how many threads there were.

Where it may differ from the plain version beyond rounding: two phases that are *equal only after*
the bias is added and rounded are a tie there and none here. Ties of equal pixels, the common kind,
are ties in both.
"""

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bdn.learning.models.classifier import cross_entropy
from bdn.learning.models.shapes import FEATURES, FILTERS, POOLED, SIDE, Layers, split_layers
from bdn.learning.types import Floats, Integers

PHASES = tuple((a, b) for a in range(2) for b in range(2))
"""Pixels of a pool window, in the order in which ties are decided."""

CELLS = POOLED * POOLED
"""Pool windows of a filter: 196."""

BLOCK = 16
"""Images in a block: C takes half a megabyte."""

Mask = npt.NDArray[np.bool_]


class _Block(NamedTuple):
    """What the backward pass needs of a block's convolution and pooling."""

    rows: slice  # of the batch
    planes: Floats  # P
    above: Mask  # phases 0 and 1 hold the maximum (the first of equals), not 2 and 3
    first: Mask  # phase 0 wins over 1
    third: Mask  # phase 2 wins over 3


class _Trail(NamedTuple):
    """What the backward pass needs from the forward pass."""

    blocks: list[_Block]
    pooled: Floats  # H
    hidden: Floats  # ReLU(A)
    scores: Floats  # S


def scores(w: Floats, images: Floats, classes: int, threads: int = 1) -> Floats:
    """S, the classes' scores before softmax (B, classes)."""
    return _forward(split_layers(w, classes), images, threads).scores


def loss_and_gradient(
    w: Floats, images: Floats, labels: Integers, classes: int, out: Floats | None = None,
    threads: int = 1,
) -> tuple[float, Floats]:  # fmt: skip
    """Mean cross-entropy of the batch and its gradient, a flat vector like ``w``.

    ``out``, if given, receives the gradient (every entry is overwritten).
    """
    layers = split_layers(w, classes)
    trail = _forward(layers, images, threads)
    loss, dS = cross_entropy(trail.scores, labels)
    gradient = np.empty_like(w) if out is None else out
    _backward(layers, trail, dS, split_layers(gradient, classes), threads)
    return loss, gradient


def _spread(w1: Floats) -> Floats:
    """K: row (phase, filter) holds the filter's nine taps at the planes that the phase reads."""
    K = np.zeros((4, FILTERS, 4, 4), np.float32)
    for phase, (a, b) in enumerate(PHASES):
        K[phase, :, a : a + 3, b : b + 3] = w1[:, 0]
    return K.reshape(4 * FILTERS, 16)


def _gather(dK: Floats) -> Floats:
    """The transpose of `_spread`: a tap's gradient is the sum over the phases (10, 3, 3)."""
    taps = dK.reshape(4, FILTERS, 4, 4)
    total = np.zeros((FILTERS, 3, 3), np.float32)
    for phase, (a, b) in enumerate(PHASES):
        total += taps[phase, :, a : a + 3, b : b + 3]
    return total


def _planes(X: Floats) -> Floats:
    """P: plane 4r+s holds the padded pixels (2i+r, 2j+s)."""
    B = len(X)
    padded = np.zeros((B, SIDE + 2, SIDE + 2), np.float32)
    padded[:, 1:-1, 1:-1] = X
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(1, 2))[:, ::2, ::2]
    P = np.ascontiguousarray(tiles.transpose(0, 3, 4, 1, 2))  # (B, 4, 4, 14, 14)
    return P.reshape(B, 16, CELLS)


def _forward(layers: Layers, X: Floats, threads: int) -> _Trail:
    K = _spread(layers.w1)
    H = np.empty((len(X), FEATURES), np.float32)

    def convolve(rows: slice) -> _Block:
        return _convolve(layers, K, X[rows], H[rows], rows)

    blocks = list(_each(convolve, _blocks(len(X)), threads))
    hidden = H @ layers.w2
    hidden += layers.b2
    np.maximum(hidden, 0, out=hidden)
    S: Floats = np.matmul(hidden, layers.w3)
    S += layers.b3
    return _Trail(blocks, H, hidden, S)


def _convolve(layers: Layers, K: Floats, X: Floats, H: Floats, rows: slice) -> _Block:
    """Convolution, pooling and ReLU of one block; its features are written to ``H``."""
    P = _planes(X)
    C = np.matmul(K, P).reshape(len(X), 4, FILTERS, CELLS)
    top = np.maximum(C[:, 0], C[:, 1])
    bottom = np.maximum(C[:, 2], C[:, 3])
    M = np.maximum(top, bottom)
    M += layers.b1
    np.maximum(M, 0, out=H.reshape(M.shape))
    return _Block(rows, P, top >= bottom, C[:, 0] >= C[:, 1], C[:, 2] >= C[:, 3])


def _backward(
    layers: Layers, trail: _Trail, dS: Floats, gradient: Layers, threads: int
) -> None:
    np.matmul(trail.hidden.T, dS, out=gradient.w3)
    dS.sum(axis=0, out=gradient.b3[0])
    dA = dS @ layers.w3.T
    dA *= trail.hidden > 0
    np.matmul(trail.pooled.T, dA, out=gradient.w2)
    dA.sum(axis=0, out=gradient.b2[0])
    dH: Floats = np.matmul(dA, layers.w2.T)

    def route(block: _Block) -> tuple[Floats, Floats]:
        dM = dH[block.rows] * (trail.pooled[block.rows] > 0)
        return _route(block, dM.reshape(-1, FILTERS, CELLS))

    dK = np.zeros((4 * FILTERS, 16), np.float32)
    gradient.b1[:] = 0
    for dK_block, db1_block in _each(route, trail.blocks, threads):
        dK += dK_block
        gradient.b1[:, 0] += db1_block
    gradient.w1[:, 0] = _gather(dK)


def _route(block: _Block, dM: Floats) -> tuple[Floats, Floats]:
    """A block's dK (40, 16) and db1 (10,): each window's gradient goes to the phase that won."""
    B = len(dM)
    dC: Floats = np.empty((B, 4, FILTERS, CELLS), np.float32)
    d_top = dM * block.above
    d_bottom = dM - d_top
    np.multiply(d_top, block.first, out=dC[:, 0])
    np.subtract(d_top, dC[:, 0], out=dC[:, 1])
    np.multiply(d_bottom, block.third, out=dC[:, 2])
    np.subtract(d_bottom, dC[:, 2], out=dC[:, 3])
    flat = dC.reshape(B, 4 * FILTERS, CELLS)
    dK: Floats = np.matmul(flat, block.planes.transpose(0, 2, 1)).sum(axis=0)
    return dK, dM.sum(axis=(0, 2))


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def _each(function: Callable[[Any], Any], items: list[Any], threads: int) -> Iterable[Any]:
    """``function`` of every item, in order."""
    if threads == 1 or len(items) == 1:
        return map(function, items)
    return _pool(threads).map(function, items)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="bdn-cnn")
