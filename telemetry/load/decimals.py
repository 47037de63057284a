"""
Values as the decimals that they were once: an integer and a power of ten.

Counts, bytes, milliseconds, degrees: most values had few digits before they became floats. As
integers they differ little from one sample of a series to the next, and their lowest byte nearly
says it all; a float's bits show neither. A value is split only if its parts give the very same
bits back (`number` in telemetry/store/schema.sql); any other stays a float.
"""

# ruff: noqa: PLR0917 - compiled: no keyword arguments

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.hashing import find
from telemetry.scan.sink import Sample
from telemetry.scan.wire import as_bits, bare


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]
    _Table = tuple[Words, NDArray[np.int8], NDArray[np.uint8]]
    _Parts = tuple[NDArray[np.int8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]

SCALE_MAX = 12
"""Most digits after the point."""

FLOAT = -1
"""The scale of a value that isn't split."""

_MISSES_MAX = 16
"""A series that missed so often is asked about the scale it has and no other, until that fits."""

_ROOM_FIRST = 1 << 10
_DIGITS_MAX = float(1 << 53)
_POWERS = 10.0 ** np.arange(SCALE_MAX + 1, dtype=np.float64)
_U0 = np.uint64(0)
_SERIES, _VALUE = int(Sample.SERIES), int(Sample.VALUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Values in parts: `(high * 256 + low) / 10 ** scale`; where `scale` is `FLOAT`, `floats`."""

    scale: NDArray[np.int8]
    high: NDArray[np.int64]
    low: NDArray[np.uint8]
    floats: NDArray[np.float64]
    whole: int
    """How many values stayed floats."""


@bare
def _split(
    samples: Words,
    values: NDArray[np.float64],
    powers: NDArray[np.float64],
    table: _Table,
    parts: _Parts,
    start: int,
    free: int,
) -> tuple[int, int, int]:
    """Fill *parts* from row *start* on; stop before more than *free* series are new."""
    known, scales, misses = table
    scale, high, low, floats = parts
    whole = new = 0
    for row in range(start, samples.shape[1]):
        at = find(known, samples[_SERIES, row])
        if at < 0:
            if new == free:
                return row, whole, new
            at = -1 - at
            known[at] = samples[_SERIES, row]
            new += 1
        bits, value = samples[_VALUE, row], values[row]
        one = int(scales[at])
        last = one if misses[at] == _MISSES_MAX else SCALE_MAX
        digits = np.int64(0)
        found = False
        while one <= last:
            scaled = value * powers[one]
            if not abs(scaled) < _DIGITS_MAX:  # Nor is a NaN.
                break
            digits = np.int64(np.rint(scaled))
            if as_bits(np.float64(digits) / powers[one]) == bits:
                found = True
                break
            one += 1
        if found:
            scales[at] = one
            misses[at] = 0
            scale[row], high[row], low[row], floats[row] = one, digits >> 8, digits & 255, 0.0
        else:
            # Markers and infinities say nothing of the others.
            if value - value == 0.0 and misses[at] < _MISSES_MAX:
                misses[at] += 1
            scale[row], high[row], low[row], floats[row] = FLOAT, 0, 0, value
            whole += 1
    return samples.shape[1], whole, new


@bare
def _move(table: _Table, larger: _Table) -> None:
    """Put all of *table* into an empty, *larger* one."""
    known, scales, misses = table
    for old in range(known.shape[0]):
        if known[old] != _U0:
            at = -1 - find(larger[0], known[old])
            larger[0][at] = known[old]
            larger[1][at] = scales[old]
            larger[2][at] = misses[old]


class Decimals:
    """How many digits the values of each series have. Used by the loader alone."""

    def __init__(self) -> None:
        self._count = 0
        self._table = _make_table(_ROOM_FIRST)

    def split(self, samples: Words) -> Split:
        """Return the values of *samples*, rows of `telemetry.scan.sink.Sample`, in parts."""
        rows = samples.shape[1]
        values = samples[_VALUE].view(np.float64)
        parts = (
            np.empty(rows, np.int8),
            np.empty(rows, np.int64),
            np.empty(rows, np.uint8),
            np.empty(rows, np.float64),
        )
        row = whole = 0
        while True:
            free = len(self._table[0]) // 2 - self._count
            row, stayed, new = _split(samples, values, _POWERS, self._table, parts, row, free)
            whole += stayed
            self._count += new
            if row == rows:
                break
            larger = _make_table(2 * len(self._table[0]))
            _move(self._table, larger)
            self._table = larger
        scale, high, low, floats = parts
        return Split(scale=scale, high=high, low=low, floats=floats, whole=whole)

    def warm(self) -> None:
        """Load or compile what it runs on."""
        self.split(np.zeros((len(Sample), 0), np.uint64))
        _move(self._table, _make_table(len(self._table[0])))


def _make_table(room: int) -> _Table:
    return np.zeros(room, np.uint64), np.zeros(room, np.int8), np.zeros(room, np.uint8)
