"""The paper's CNN as one would write it on a board: the specification of `models.fast`.

| letter | meaning | shape |
|---|---|---|
| X | images | (B, 28, 28) |
| Z | convolution before ReLU | (B, 10, 28, 28) |
| R | after ReLU | (B, 10, 28, 28) |
| H | pooled, flattened | (B, 1960) |
| A | fully connected, before ReLU | (B, 128) |
| S | scores of the classes | (B, classes) |
| dY | gradient of the mean loss with respect to Y | as Y |

Input → Conv w1, b1 (same padding) → ReLU → 2×2 max pool → FC w2, b2 → ReLU → FC w3, b3 → softmax
cross-entropy. In a pool window the first of equal maxima takes the whole gradient, in the order
top left, top right, bottom left, bottom right; that is also PyTorch's rule. ReLU's slope at 0 is 0.
"""

from typing import NamedTuple

import numpy as np

from bdn.learning.models.classifier import cross_entropy
from bdn.learning.models.shapes import FEATURES, FILTERS, POOLED, SIDE, Layers, split_layers
from bdn.learning.types import Floats, Integers


class _Trail(NamedTuple):
    """What the backward pass needs from the forward pass."""

    padded: Floats  # (B, 30, 30)
    rectified: Floats  # R
    pooled: Floats  # H
    hidden: Floats  # ReLU(A)
    scores: Floats  # S


def scores(w: Floats, images: Floats, classes: int, threads: int = 1) -> Floats:  # noqa: ARG001 - the fast kernel's signature; there is one thread here
    """S, the classes' scores before softmax (B, classes)."""
    return _forward(split_layers(w, classes), images).scores


def loss_and_gradient(
    w: Floats, images: Floats, labels: Integers, classes: int, out: Floats | None = None,
    threads: int = 1,  # noqa: ARG001 - the fast kernel's signature; there is one thread here
) -> tuple[float, Floats]:  # fmt: skip
    """Mean cross-entropy of the batch and its gradient, a flat vector like ``w``.

    ``out``, if given, receives the gradient (every entry is overwritten).
    """
    layers = split_layers(w, classes)
    trail = _forward(layers, images)
    loss, dS = cross_entropy(trail.scores, labels)
    gradient = np.empty_like(w) if out is None else out
    _backward(layers, trail, dS, split_layers(gradient, classes))
    return loss, gradient


def _forward(layers: Layers, X: Floats) -> _Trail:
    B = len(X)
    padded = np.zeros((B, SIDE + 2, SIDE + 2), np.float32)
    padded[:, 1:-1, 1:-1] = X
    Z = np.zeros((B, FILTERS, SIDE, SIDE), np.float32)
    for u in range(3):
        for v in range(3):
            window = padded[:, None, u : u + SIDE, v : v + SIDE]  # (B, 1, 28, 28)
            Z += layers.w1[:, 0, u, v, None, None] * window
    Z += layers.b1[:, :, None]
    R = np.maximum(Z, 0)
    H = _windows(R).max(axis=-1).reshape(B, FEATURES)
    A = H @ layers.w2 + layers.b2
    hidden = np.maximum(A, 0)
    S = hidden @ layers.w3 + layers.b3
    return _Trail(padded, R, H, hidden, S)


def _backward(layers: Layers, trail: _Trail, dS: Floats, gradient: Layers) -> None:
    B = len(dS)
    gradient.w3[:] = trail.hidden.T @ dS
    gradient.b3[:] = dS.sum(axis=0)
    dA = (dS @ layers.w3.T) * (trail.hidden > 0)  # (B, 128)
    gradient.w2[:] = trail.pooled.T @ dA
    gradient.b2[:] = dA.sum(axis=0)
    dH = (dA @ layers.w2.T).reshape(B, FILTERS, POOLED, POOLED)
    winners = _windows(trail.rectified).argmax(axis=-1)  # the first of equals, by numpy's rule
    dR = np.zeros((B, FILTERS, POOLED, POOLED, 4), np.float32)
    np.put_along_axis(dR, winners[..., None], dH[..., None], axis=-1)
    dZ = _from_windows(dR) * (trail.rectified > 0)  # (B, 10, 28, 28)
    for u in range(3):
        for v in range(3):
            window = trail.padded[:, u : u + SIDE, v : v + SIDE]
            gradient.w1[:, 0, u, v] = np.einsum("bfij,bij->f", dZ, window)
    gradient.b1[:, 0] = dZ.sum(axis=(0, 2, 3))


def _windows(R: Floats) -> Floats:
    """(B, F, 28, 28) → (B, F, 14, 14, 4): the pool windows, in reading order."""
    B, F = R.shape[:2]
    tiles = R.reshape(B, F, POOLED, 2, POOLED, 2)
    return tiles.transpose(0, 1, 2, 4, 3, 5).reshape(B, F, POOLED, POOLED, 4)


def _from_windows(W: Floats) -> Floats:
    """The inverse of `_windows`."""
    B, F = W.shape[:2]
    tiles = W.reshape(B, F, POOLED, POOLED, 2, 2)
    return tiles.transpose(0, 1, 2, 4, 3, 5).reshape(B, F, SIDE, SIDE)
