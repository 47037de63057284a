"""What a node evaluates to. Rows of arrays are series, columns are the query's steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from telemetry.promql.kernels import Bools, Floats, Ints
    from telemetry.promql.labels import Labels

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
    )


def stale(values: Floats) -> Bools:
    """Return which samples are staleness markers, by their bits."""
    return np.equal(values.view(np.uint64), np.uint64(STALE_BITS))


def offsets_of(counts: Ints) -> Ints:
    """Return where each series begins in concatenated columns, and the end."""
    offsets = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
