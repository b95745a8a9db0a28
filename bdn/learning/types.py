"""Array types of the package."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
"""Images, parameters and gradients: single precision, as on a small device."""

Doubles = npt.NDArray[np.float64]
"""Sums over devices, which must not add rounding of their own."""

Integers = npt.NDArray[np.int64]
"""Labels and indices."""

Pixels = npt.NDArray[Any]
"""Images as stored: float32 in [0, 1] or uint8 in 0…255."""
