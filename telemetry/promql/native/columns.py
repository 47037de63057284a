"""Native histograms in columns, a row each."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray


if TYPE_CHECKING:
    from collections.abc import Sequence

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


def concatenated(pools: Sequence[Histograms]) -> Histograms:
    """Return the rows of all *pools*, one behind the other."""
    pools = [pool for pool in pools if pool.schema.size]
    if not pools:
        return none()
    if len(pools) == 1:
        return pools[0]
    columns = {}
    for name in Histograms._fields:
        parts = [getattr(pool, name) for pool in pools]
        if name.endswith("_offsets"):
            ends = np.cumsum([part[-1] for part in parts])
            shifts = [0, *ends[:-1].tolist()]
            parts = [part[1:] + shift for part, shift in zip(parts, shifts, strict=True)]
            parts.insert(0, np.zeros(1, np.int64))
        columns[name] = np.concatenate(parts)
    return Histograms(**columns)


def select(pool: Histograms, rows: Ints) -> Histograms:
    """Return these *rows* of *pool*, in their order."""
    columns = {name: getattr(pool, name)[rows] for name in _PER_ROW}
    for side, parts in _SIDES.items():
        offsets = getattr(pool, f"{side}_offsets")
        first, sizes = offsets[rows], np.diff(offsets)[rows]
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        picked = np.arange(ends[-1]) + np.repeat(first - ends[:-1], sizes)
        columns[f"{side}_offsets"] = ends
        for part in parts:
            columns[part] = getattr(pool, part)[picked]
    return Histograms(**columns)


_PER_ROW = ("schema", "hint", "zero_threshold", "zero_count", "counts", "sums")
_SIDES = {"pos": ("pos_index", "pos"), "neg": ("neg_index", "neg"), "bounds": ("bounds",)}


def owned(pool: Histograms) -> Histograms:
    """Return *pool* as kernels take it: other types or layouts would have them compiled anew."""
    kinds = dict.fromkeys(("schema", "hint", *(f"{side}_offsets" for side in _SIDES)), np.int64)
    indexes = {"pos_index": np.int32, "neg_index": np.int32}
    return Histograms(
        *(
            np.require(column, kinds.get(name, indexes.get(name, np.float64)), ["C", "W"])
            for name, column in zip(Histograms._fields, pool, strict=True)
        )
    )


def forgotten(pool: Histograms) -> Histograms:
    """Return *pool* without hints: the histograms no longer follow one another."""
    return pool._replace(hint=np.where(pool.hint == Hint.GAUGE, pool.hint, Hint.UNKNOWN))
