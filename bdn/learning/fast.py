"""The same CNN as `bdn.learning.plain`, several times as fast: few operations on large arrays.

| letter | meaning | shape |
|---|---|---|
| P | the sixteen stride-2 planes of the padded images | (B, 16, 196) |
| K | the filters, spread over those planes, one row for each pool phase and filter | (40, 16) |
| C | convolution without bias at the four phases | (B, 4, 10, 196) |
| M | its maximum over the phases | (B, 10, 196) |
| H | ReLU(M + b1), flattened | (B, 1960) |
| A, S, dY | as in `bdn.learning.plain` | |

Pool window (i, j) covers the pixels (2i+a, 2j+b) for the four *phases* a, b ∈ {0, 1}. The 3×3
filter at such a pixel reads the padded image at (2i+r, 2j+s) with r = a+u, s = b+v ∈ {0, …, 3}:
sixteen planes serve all four phases, so that one matrix product per image gives them all. Bias and
ReLU are monotone and so can wait until after the maximum, on a quarter of the values. Backward,
three pairwise comparisons say which phase won (`>=`: the first of equals), as the maximum was
taken.

Where it may differ from the plain version beyond rounding: two phases that are *equal only after*
the bias is added and rounded are a tie there and none here. Ties of equal pixels, the common kind,
are ties in both.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bdn.learning.plain import cross_entropy
from bdn.learning.shapes import FEATURES, FILTERS, POOLED, SIDE, Layers, split_layers
from bdn.learning.types import Floats, Integers

PHASES = tuple((a, b) for a in range(2) for b in range(2))
"""Pixels of a pool window, in the order in which ties are decided."""

CELLS = POOLED * POOLED
"""Pool windows of a filter: 196."""


class _Trail(NamedTuple):
    """What the backward pass needs from the forward pass."""

    planes: Floats  # P
    phases: Floats  # C
    top: Floats  # the larger of phases 0 and 1
    bottom: Floats  # the larger of phases 2 and 3
    pooled: Floats  # H
    hidden: Floats  # ReLU(A)
    scores: Floats  # S


def scores(w: Floats, images: Floats, classes: int) -> Floats:
    """S, the classes' scores before softmax (B, classes)."""
    return _forward(split_layers(w, classes), images).scores


def loss_and_gradient(
    w: Floats, images: Floats, labels: Integers, classes: int, out: Floats | None = None
) -> tuple[float, Floats]:
    """Mean cross-entropy of the batch and its gradient, a flat vector like ``w``.

    ``out``, if given, receives the gradient (every entry is overwritten).
    """
    layers = split_layers(w, classes)
    trail = _forward(layers, images)
    loss, dS = cross_entropy(trail.scores, labels)
    gradient = np.empty_like(w) if out is None else out
    _backward(layers, trail, dS, split_layers(gradient, classes))
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


def _forward(layers: Layers, X: Floats) -> _Trail:
    B = len(X)
    P = _planes(X)
    C = np.matmul(_spread(layers.w1), P).reshape(B, 4, FILTERS, CELLS)
    top = np.maximum(C[:, 0], C[:, 1])
    bottom = np.maximum(C[:, 2], C[:, 3])
    M = np.maximum(top, bottom)
    M += layers.b1
    H = np.maximum(M, 0, out=M).reshape(B, FEATURES)
    hidden = H @ layers.w2
    hidden += layers.b2
    np.maximum(hidden, 0, out=hidden)
    S = hidden @ layers.w3
    S += layers.b3
    return _Trail(P, C, top, bottom, H, hidden, S)


def _backward(layers: Layers, trail: _Trail, dS: Floats, gradient: Layers) -> None:
    B = len(dS)
    np.matmul(trail.hidden.T, dS, out=gradient.w3)
    dS.sum(axis=0, out=gradient.b3[0])
    dA = dS @ layers.w3.T
    dA *= trail.hidden > 0
    np.matmul(trail.pooled.T, dA, out=gradient.w2)
    dA.sum(axis=0, out=gradient.b2[0])
    dH: Floats = np.matmul(dA, layers.w2.T)
    dH *= trail.pooled > 0
    dM: Floats = dH.reshape(B, FILTERS, CELLS)
    dC = _route(trail, dM).reshape(B, 4 * FILTERS, CELLS)
    dK = np.matmul(dC, trail.planes.transpose(0, 2, 1)).sum(axis=0)  # (40, 16)
    gradient.w1[:, 0] = _gather(dK)
    dM.sum(axis=(0, 2), out=gradient.b1[:, 0])


def _route(trail: _Trail, dM: Floats) -> Floats:
    """dC: each window's gradient goes to the phase that won, (B, 4, 10, 196)."""
    C = trail.phases
    dC: npt.NDArray[np.float32] = np.empty_like(C)
    above = trail.top >= trail.bottom
    d_top = dM * above
    d_bottom = dM - d_top
    np.multiply(d_top, C[:, 0] >= C[:, 1], out=dC[:, 0])
    np.subtract(d_top, dC[:, 0], out=dC[:, 1])
    np.multiply(d_bottom, C[:, 2] >= C[:, 3], out=dC[:, 2])
    np.subtract(d_bottom, dC[:, 2], out=dC[:, 3])
    return dC
