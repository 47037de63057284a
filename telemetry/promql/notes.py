"""What a query says beside its answer: warnings and remarks about native histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql.lex import quoted
from telemetry.promql.native.rates import NO_COUNTER, NO_GAUGE, OVERLAP, RECONCILED_SUM
from telemetry.promql.native.rows import COLLISION, INCOMPATIBLE, RECONCILED


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Ints
    from telemetry.promql.values import Vector, Windows


_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")
MIXED_SCHEMAS = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name"


def _names(of: Vector | Windows, where: Bools) -> list[str]:
    """Return the metrics' names of the series that have something at *where*."""
    rows = np.flatnonzero(where.any(axis=1)).tolist()
    return sorted({lb.get(of.labels[i], lb.NAME) for i in rows})


def flagged(
    ev: Evaluator,
    of: Vector | Windows,
    flags: Ints,
    at: int,
    operation: str = "subtraction",
) -> None:
    """Say what *flags* of *of*'s series mean."""
    if not flags.any():
        return
    by_name: Sequence[tuple[int, str]] = (
        (NO_COUNTER, "this native histogram metric is not a counter:"),
        (NO_GAUGE, "this native histogram metric is not a gauge:"),
        (INCOMPATIBLE, MIXED_SCHEMAS),
    )
    for flag, text in by_name:
        for name in _names(of, flags & flag > 0):
            ev.query.warn(f"{text} {quoted(name)}", at)
    if (flags & OVERLAP).any():
        overlapping(ev, of, flags & OVERLAP > 0, at)
    if (flags & RECONCILED).any():
        reconciled(ev, at, operation)
    if (flags & RECONCILED_SUM).any():
        reconciled(ev, at, "addition")
    if (flags & COLLISION).any():
        collision(ev, at, operation)


def reconciled(ev: Evaluator, at: int, operation: str) -> None:
    """Say that custom buckets had different bounds."""
    ev.query.inform(f"mismatched custom buckets were reconciled during {operation}", at)


def collision(ev: Evaluator, at: int, operation: str) -> None:
    """Say that hints about counter resets contradict one another."""
    ev.query.warn(f"conflicting counter resets during histogram {operation}", at)


def overlapping(ev: Evaluator, of: Vector | Windows, where: Bools, at: int) -> None:
    """Say that samples claim to have begun before those before them."""
    for name in _names(of, where):
        rows = [i for i, labels in enumerate(of.labels) if lb.get(labels, lb.NAME) == name]
        count = int(where[rows].sum())
        often = f" ({count} occurrences)" if count > 1 else ""
        ev.query.warn(
            "sample has start time that overlaps with previous sample timestamp for metric "
            f"{quoted(name)}{often}",
            at,
        )


def mixed(ev: Evaluator, of: Vector | Windows, where: Bools, at: int) -> None:
    """Say that there is nothing where floats and histograms are mixed."""
    for name in _names(of, where):
        text = "encountered a mix of histograms and floats for metric name"
        ev.query.warn(f"{text} {quoted(name)}", at)


def doubtful_counters(ev: Evaluator, of: Vector, at: int) -> None:
    """Say which metrics that have a value don't have the name of a counter."""
    for name in _names(of, of.present):
        if name and not name.endswith(_COUNTER_SUFFIXES):
            ev.query.inform(
                "metric might not be a counter, name does not end in "
                f'_total/_sum/_count/_bucket: "{name}"',
                at,
            )


def ignored_in_range(ev: Evaluator, of: Windows, where: Bools, at: int) -> None:
    """Say that histograms beside floats were left out."""
    for name in _names(of, where):
        ev.query.inform(
            "ignored histograms in a range containing both floats and histograms for metric name "
            f"{quoted(name)}",
            at,
        )


def ignored_in_aggregation(ev: Evaluator, op: str, at: int) -> None:
    """Say that an aggregation knows nothing of histograms."""
    ev.query.inform(f"ignored histogram in {op} aggregation", at)


def for_metric(name: str) -> str:
    """Return ` for metric name "..."`, nothing where there is no name."""
    return f" for metric name {quoted(name)}" if name else ""
