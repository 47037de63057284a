"""Native histograms in columns, a row each."""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Indexes = NDArray[np.int32]

CUSTOM = -53
"""The schema of histograms with bounds of their own ("custom buckets")."""


class Hint(enum.IntEnum):
    """What a histogram says of a counter reset since the one before it."""

    UNKNOWN = 0
    """Compare the two."""

    RESET = 1
    NOT_RESET = 2
    GAUGE = 3
    """No counter: it may fall. Delta temporality of OTLP counts as this."""


class Histograms(NamedTuple):
    """
    Native histograms, a row each. Arrays are never written to once they are in here.

    Buckets are sparse: those of row `i` are `pos_offsets[i]:pos_offsets[i+1]` of *pos_index*,
    strictly ascending, and *pos*, their populations; the same for negative observations.
    With an exponential schema `s` (-4 to 8), bucket `k` holds `(b^(k-1), b^k]`, where
    `b = 2^(2^-s)`; OTLP's bucket `k` is this `k + 1`. With the schema `CUSTOM`, bucket `k`
    holds `(bounds[k-1], bounds[k]]`, the first begins at -Inf, the last ends at +Inf, and
    there are no negative or zero buckets.
    """

    schema: Ints
    hint: Ints
    """`Hint`."""

    zero_threshold: Floats
    """The zero bucket holds `[-threshold, threshold]`."""

    zero_count: Floats
    counts: Floats
    """Observations, NaN among them; at least the sum of all buckets."""

    sums: Floats
    pos_offsets: Ints
    pos_index: Indexes
    pos: Floats
    neg_offsets: Ints
    neg_index: Indexes
    """Of the absolute values."""

    neg: Floats
    bounds_offsets: Ints
    bounds: Floats
    """Upper bounds of custom buckets, ascending, without +Inf."""


def none() -> Histograms:
    """Return no histogram at all."""
    ints, floats, indexes = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int32)
    start = np.zeros(1, np.int64)
    return Histograms(
        schema=ints,
        hint=ints,
        zero_threshold=floats,
        zero_count=floats,
        counts=floats,
        sums=floats,
        pos_offsets=start,
        pos_index=indexes,
        pos=floats,
        neg_offsets=start,
        neg_index=indexes,
        neg=floats,
        bounds_offsets=start,
        bounds=floats,
    )
