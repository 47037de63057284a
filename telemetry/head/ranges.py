"""
Between what the values of many selections lie now: most rules need no closer look.

One pass over the head's blocks for all selections together, compiled. What is returned bounds
every value that PromQL would find, and for a single series it is exact.
"""

# ruff: noqa: PLR0917 - compiled: no keyword arguments

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import kernels
from telemetry.scan.wire import compiled
from telemetry.store.model import STALE_NAN_BITS


if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from telemetry.head.blocks import Arena, Slots

    Ints = NDArray[np.int64]
    Ints32 = NDArray[np.int32]
    Floats = NDArray[np.float64]

_STALE = np.uint64(STALE_NAN_BITS)
_LOW, _HIGH, _NEGATIVE, _POSITIVE = 0, 1, 2, 3
_SLACK = 1e-9
"""How much further a sum's bounds are set than they were reckoned: it is added in other orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """One row for each selection."""

    bounds: Floats
    """`selections x 4`: least and greatest value, sum of the negative and of the positive ones."""

    values: Ints
    """How many values there are."""

    samples: Ints
    """How many samples were found at all."""

    odd: NDArray[np.bool_]
    """Whether a NaN or an infinity is among them: then the bounds mean nothing."""

    def bound(self, row: int, fold: str) -> tuple[float, float]:
        """Return between what the values of selection *row* lie once they are folded."""
        low, high, negative, positive = self.bounds[row].tolist()
        if fold != "sum":
            return low, high
        slack = _SLACK * (positive - negative)
        # Where there is nothing negative no sum is, in whatever order it is added.
        return (negative - slack if negative else 0.0), (positive + slack if positive else 0.0)


def make_ranges(selections: int) -> Ranges:
    """Return rows in which nothing has been found yet."""
    bounds = np.zeros((selections, 4))
    bounds[:, _LOW], bounds[:, _HIGH] = np.inf, -np.inf
    return Ranges(
        bounds=bounds,
        values=np.zeros(selections, np.int64),
        samples=np.zeros(selections, np.int64),
        odd=np.zeros(selections, np.bool_),
    )


@compiled
def _count(bounds: Floats, values: Ints, odd: NDArray[np.bool_], row: int, value: float) -> None:
    if not np.isfinite(value):
        odd[row] = True
    values[row] += 1
    bounds[row, 0] = min(bounds[row, 0], value)
    bounds[row, 1] = max(bounds[row, 1], value)
    bounds[row, 2] += min(value, 0.0)
    bounds[row, 3] += max(value, 0.0)


@compiled
def newest(
    arena: Arena,
    slots: Slots,
    chosen: Ints32,
    rows: Ints32,
    start: int,
    end: int,
    bounds: Floats,
    values: Ints,
    samples: Ints,
    odd: NDArray[np.bool_],
) -> None:
    """Take the newest samples of the *chosen* slots in `[start, end]` into their *rows*."""
    for i in range(chosen.shape[0]):
        block = slots.newest[chosen[i]]
        at, value = start - 1, 0.0
        # Later blocks may hold earlier samples: all that reach far enough are looked at.
        while block >= 0 and arena.reach[block] >= start and arena.reach[block] > at:
            for back in range(arena.fill[block]):
                j = arena.fill[block] - 1 - back
                if at < arena.ts[block, j] <= end:
                    at, value = arena.ts[block, j], arena.values[block, j]
            block = arena.before[block]
        if at < start:
            continue
        samples[rows[i]] += 1
        if np.float64(value).view(np.uint64) != _STALE:
            _count(bounds, values, odd, rows[i], value)


@compiled
def folded(
    of: Floats,
    present: NDArray[np.bool_],
    rows: Ints32,
    bounds: Floats,
    values: Ints,
    odd: NDArray[np.bool_],
) -> None:
    """Take the values *of* series, where they are *present*, into their *rows*."""
    for i in range(of.shape[0]):
        if present[i]:
            _count(bounds, values, odd, rows[i], of[i])


@compiled
def without_stale(ts: Ints, values: Floats, offsets: Ints) -> tuple[Ints, Floats, Ints]:
    """Return the columns without samples that only say that their series has ended."""
    bits = values.view(np.uint64)
    kept = np.zeros_like(offsets)
    at = 0
    for s in range(offsets.shape[0] - 1):
        for i in range(offsets[s], offsets[s + 1]):
            if bits[i] != _STALE:
                ts[at], values[at] = ts[i], values[i]
                at += 1
        kept[s + 1] = at
    return ts[:at].copy(), values[:at].copy(), kept


def rates(
    ts: Ints, values: Floats, offsets: Ints, *, end: int, range_ms: int, name: str
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return `rate`, `increase` or `delta` of each series at *end*, and whether there is one."""
    series = len(offsets) - 1
    out, present = np.empty((series, 1)), np.empty((series, 1), np.bool_)
    kernels.extrapolated(
        ts, values, np.zeros(0, np.int64), offsets, np.array([end], np.int64), range_ms,
        name != "delta", name == "rate", out, present, np.zeros((series, 0), np.bool_),
    )  # fmt: skip
    return out[:, 0], present[:, 0]


def owners(counts: Sequence[int]) -> Ints32:
    """Return the row of each of the series of rows with so many series."""
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)
