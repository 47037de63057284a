"""Numbers as Prometheus writes them."""

from __future__ import annotations

import math

import numpy as np


def number(value: float) -> str:
    """Return *value* shortest, without exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return np.format_float_positional(value, unique=True, trim="-")


def general(value: float) -> str:
    """Return *value* shortest, with an exponent below 1e-4 and from 1e21 on: Go's `%g`."""
    if not math.isfinite(value) or value == 0 or 1e-4 <= abs(value) < 1e21:
        return number(value)
    return str(np.format_float_scientific(value, unique=True, trim="-", exp_digits=2))
