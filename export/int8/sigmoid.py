"""GELU by a sigmoid: twice as fast in onnxruntime as GELU itself, and closer to it than eight bits are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SLOPE = 1.702
"""x * sigmoid(1.702 x) is within 0.021 of GELU (Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2).

onnxruntime has a fast kernel for slope 1 alone, so the slope goes into the scales on either side: what is computed is
y * sigmoid(y) for y = 1.702 x, and the product behind reads it as 1.702 times too large.
"""


def approximation(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """x * sigmoid(1.702 x); any shape."""
    with np.errstate(over="ignore"):  # e^x is infinite where the sigmoid is 0
        approximated: NDArray[np.float32] = values / (1 + np.exp(-SLOPE * values))
    return approximated
