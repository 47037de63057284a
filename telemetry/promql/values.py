"""What a node evaluates to. Rows of arrays are series, columns are the query's steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql.native.columns import Histograms, concatenated, none


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.kernels import Bools, Floats, Ints
    from telemetry.promql.labels import Labels
    from telemetry.promql.nodes import Edge

STALE_BITS = 0x7FF0000000000002
"""The NaN that says "this series ended here"; every other NaN is a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A number at each step."""

    values: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A string; the same at each step."""

    value: str


@dataclass(frozen=True, slots=True)
class Native:
    """The native histograms of a vector."""

    pool: Histograms
    rows: Ints
    """`series x steps`: a row of *pool*, or -1 where the value is a float or absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """An instant vector at each step."""

    labels: list[Labels]
    values: Floats
    """`series x steps`; what stands where *present* is false means nothing."""

    present: Bools
    """`series x steps`. Apart from the values, since NaN is a value in PromQL."""

    drop_name: Bools
    """
    Per series: its name goes when the query is done. Prometheus calls it delayed name
    removal; until then `by (__name__)` and `label_replace` still see the name.
    """

    native: Native | None = None
    """The values that are native histograms; None: all are floats."""

    @property
    def is_float(self) -> Bools:
        """Where there is a float."""
        return self.present if self.native is None else self.present & (self.native.rows < 0)

    @property
    def is_native(self) -> Bools:
        """Where there is a native histogram."""
        if self.native is None:
            return np.zeros_like(self.present)
        return self.present & (self.native.rows >= 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """A range vector at each step: columns of samples, and where each window ends."""

    labels: list[Labels]
    ts: Ints
    values: Floats
    offsets: Ints
    drop_name: Bools
    ends: Ints
    """Right edge of the window of each step, milliseconds, inclusive, ascending."""

    range_ms: int
    edge: Edge | None = None
    """With one, the samples within *reach_ms* of the windows are there as well."""

    reach_ms: int = 0
    starts: Ints | None = None
    """When the counter of each sample began, 0 where that isn't known; None: nowhere."""

    histogram: Ints | None = None
    """For each sample a row of *pool*, -1 for floats; None: all are floats."""

    pool: Histograms | None = None


Value = Scalar | Text | Vector | Windows


def vector(labels: list[Labels], values: Floats, present: Bools) -> Vector:
    """Return a vector whose names stay."""
    return Vector(
        labels=labels, values=values, present=present, drop_name=np.zeros(len(labels), np.bool_)
    )


def take(value: Vector, rows: Ints) -> Vector:
    """Return *value* with only these *rows*, in their order."""
    return Vector(
        labels=[value.labels[i] for i in rows.tolist()],
        values=value.values[rows],
        present=value.present[rows],
        drop_name=value.drop_name[rows],
        native=None if value.native is None else Native(value.native.pool, value.native.rows[rows]),
    )


def floats(value: Vector) -> Vector:
    """Return *value* without its native histograms."""
    return value if value.native is None else replace(value, present=value.is_float, native=None)


def natives(values: Sequence[Vector]) -> Native | None:
    """Return the histograms of several vectors, one below the other."""
    if all(value.native is None for value in values):
        return None
    pools = [value.native.pool if value.native else none() for value in values]
    rows, before = [], 0
    for value, pool in zip(values, pools, strict=True):
        own = value.native.rows if value.native else np.full(value.values.shape, -1, np.int64)
        rows.append(np.where(own >= 0, own + before, -1))
        before += pool.schema.size
    return Native(concatenated(pools), np.concatenate(rows))


def stale(values: Floats) -> Bools:
    """Return which samples are staleness markers, by their bits."""
    return np.equal(values.view(np.uint64), np.uint64(STALE_BITS))


def offsets_of(counts: Ints) -> Ints:
    """Return where each series begins in concatenated columns, and the end."""
    offsets = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
