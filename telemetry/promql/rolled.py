"""
Which parts of a query are answered from roll-ups, and how; see `docs/specs/promql.md`.

Only where the answer is that of the samples: no edge of a window cuts a row, and the function asks
for nothing that rows don't have. All else is read from samples.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from telemetry.promql import folds, kernels, nodes, notes, rolls
from telemetry.promql.folds import Fold
from telemetry.promql.source import SamplesNeeded, Span, is_rolling
from telemetry.promql.values import Vector


if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Floats, Ints
    from telemetry.promql.labels import Labels
    from telemetry.promql.source import Rows


class _Windows(NamedTuple):
    """Rows, and which of them are in each window."""

    rows: Rows
    lo: Ints
    hi: Ints
    ends: Ints
    range_ms: int

    def first(self, column: str) -> Floats:
        """Return *column* of each window's first row; anything where there is none."""
        return self._at(column, np.where(self.hi > self.lo, self.lo, 0))

    def last(self, column: str) -> Floats:
        """Return *column* of each window's last row; anything where there is none."""
        return self._at(column, np.maximum(self.hi - 1, 0))

    def total(self, column: str) -> Floats:
        """Return the sum of the whole numbers of *column* in each window."""
        upto = np.zeros(self.rows.end_ms.size + 1, np.int64)
        np.cumsum(self.rows.columns[column], out=upto[1:])
        return (upto[self.hi] - upto[self.lo]).astype(np.float64)

    def folded(self, fold: Fold, column: str) -> Floats:
        """Return *fold* of *column* in each window."""
        values = np.require(self.rows.columns[column], np.float64, ["C", "W"])
        return folds.fold_windows(int(fold), self.rows.end_ms, values, self.lo, self.hi)[0]

    def _at(self, column: str, places: Ints) -> Floats:
        of = self.rows.columns[column]
        return of[places].astype(np.float64) if of.size else np.zeros(places.shape)


@dataclass(frozen=True, slots=True)
class _Function:
    """What a function of windows asks of rows."""

    apply: Callable[[_Windows], tuple[Floats, Bools]]
    columns: tuple[str, ...]
    keeps_name: bool = False
    of_counters: bool = False


def _plain(what: Callable[[_Windows], Floats]) -> Callable[[_Windows], tuple[Floats, Bools]]:
    """Return a function whose value is there wherever there is a sample."""
    return lambda windows: (what(windows), windows.hi > windows.lo)


def _grown(*, is_counter: bool, is_rate: bool) -> _Function:
    def apply(of: _Windows) -> tuple[Floats, Bools]:
        first_ms, last_ms, count, first, last, fell = (of.rows.columns[name] for name in _GROWN)
        return rolls.grown(
            of.rows.offsets, of.ends, of.range_ms, of.lo, of.hi,
            first_ms, last_ms, count, first, last, fell, is_counter, is_rate,
        )  # fmt: skip

    return _Function(apply, _GROWN, of_counters=is_counter)


def _resets(of: _Windows) -> tuple[Floats, Bools]:
    inner, first, last = (of.rows.columns[name] for name in ("resets", "first", "last"))
    return rolls.resets(of.lo, of.hi, inner, first, last)


def _average(of: _Windows) -> Floats:
    with np.errstate(all="ignore"):
        return of.folded(Fold.SUM, "sum") / of.total("count")


_GROWN = ("first_ms", "last_ms", "count", "first", "last", "fell")
_FUNCTIONS = {
    "avg_over_time": _Function(_plain(_average), ("sum", "count")),
    "count_over_time": _Function(_plain(lambda of: of.total("count")), ("count",)),
    "delta": _grown(is_counter=False, is_rate=False),
    "first_over_time": _Function(_plain(lambda of: of.first("first")), ("first",), keeps_name=True),
    "increase": _grown(is_counter=True, is_rate=False),
    "last_over_time": _Function(_plain(lambda of: of.last("last")), ("last",), keeps_name=True),
    "max_over_time": _Function(_plain(lambda of: of.folded(Fold.MAX, "max")), ("max",)),
    "min_over_time": _Function(_plain(lambda of: of.folded(Fold.MIN, "min")), ("min",)),
    "present_over_time": _Function(_plain(lambda of: np.ones(of.lo.shape)), ("count",)),
    "rate": _grown(is_counter=True, is_rate=True),
    "resets": _Function(_resets, ("resets", "first", "last")),
    "sum_over_time": _Function(_plain(lambda of: of.folded(Fold.SUM, "sum")), ("sum",)),
    "ts_of_first_over_time": _Function(
        _plain(lambda of: of.first("first_ms") / 1000.0), ("first_ms",)
    ),
    "ts_of_last_over_time": _Function(_plain(lambda of: of.last("last_ms") / 1000.0), ("last_ms",)),
}


def called(ev: Evaluator, call: nodes.Call) -> Vector | None:
    """Return the value of a function of a range vector; None: the samples must be read."""
    function = _FUNCTIONS.get(call.name)
    if function is None or not isinstance(call.args[0], nodes.Range):
        return None
    selector, length = call.args[0].selector, call.args[0].length
    if selector.edge is not None:
        return None
    ends, range_ms = ev.ends(selector.when), ev.query.ms(length, positive=True)
    width = _widest(ev, ends, range_ms)
    if width is None:
        return None
    span = _span(ev, selector, int(ends[0]) - range_ms, int(ends[-1]), width, function.columns)

    def apply(rows: Rows) -> tuple[Floats, Bools]:
        lo, hi = kernels.bounds(rows.end_ms, rows.offsets, ends, range_ms)
        ev.query.budget.windows(int((hi - lo).sum()))
        return function.apply(_Windows(rows, lo, hi, ends, range_ms))

    found = _gathered(ev, span, ends, apply, keeps_name=function.keeps_name)
    if found is not None and function.of_counters:
        notes.doubtful_counters(ev, found, call.args[0].at)
    return found


def selected(ev: Evaluator, node: nodes.Selector) -> Vector | None:
    """Return each step's newest samples; None: the samples must be read."""
    if node.edge is not None or ev.times.size < 2:
        return None
    ends, lookback_ms = ev.ends(node.when), ev.query.lookback_ms
    source = ev.query.source
    # What ended within the lookback is only known of the shortest windows.
    if not is_rolling(source) or lookback_ms > min(source.widths_ms):
        return None
    width = None if ends[0] == ends[-1] else _widest(ev, ends, 0)
    if width is None:
        return None
    span = _span(ev, node, int(ends[0]) - width, int(ends[-1]), width, ("last", "last_ms", "ended"))

    def apply(rows: Rows) -> tuple[Floats, Bools]:
        lo, hi = kernels.bounds(rows.end_ms, rows.offsets, ends, width)
        windows = _Windows(rows, lo, hi, ends, width)
        newest = windows.last("last_ms") > ends - lookback_ms
        return windows.last("last"), (hi > lo) & newest & (windows.last("ended") == 0)

    return _gathered(ev, span, ends, apply, keeps_name=True)


def _widest(ev: Evaluator, ends: Ints, range_ms: int) -> int | None:
    """Return the longest width of rows that no edge of a window cuts; None: there is none."""
    source = ev.query.source
    if not is_rolling(source):
        return None
    widths = source.widths_ms
    if ends[0] == ends[-1]:
        # A single window: what its edges cut is read from samples.
        return widths[0] if range_ms > widths[0] else None
    step = int(ends[1] - ends[0])
    for width in widths:
        if int(ends[0]) % width == step % width == range_ms % width == 0:
            return width
    return None


def _span(  # noqa: PLR0917 - a part of the functions above
    ev: Evaluator,
    selector: nodes.Selector,
    after_ms: int,
    until_ms: int,
    width: int,
    columns: tuple[str, ...],
) -> Span:
    return Span(
        selection=selector.selection,
        after_ms=after_ms,
        until_ms=until_ms,
        widest_ms=width,
        columns=columns,
        series_max=ev.query.budget.limits.series_max,
    )


def _gathered(
    ev: Evaluator,
    span: Span,
    ends: Ints,
    apply: Callable[[Rows], tuple[Floats, Bools]],
    *,
    keeps_name: bool,
) -> Vector | None:
    source, budget = ev.query.source, ev.query.budget
    assert is_rolling(source)
    chunks = source.rolled(span)
    if chunks is None:
        return None
    labels: list[Labels] = []
    values, present = [np.zeros((0, ends.size))], [np.zeros((0, ends.size), np.bool_)]
    try:
        with contextlib.closing(chunks):  # type: ignore[type-var]
            for rows in chunks:
                budget.rows(rows.end_ms.size)
                budget.spend(len(rows.labels) * ends.size)
                of, there = apply(rows)
                some = np.flatnonzero(there.any(axis=1))
                labels += [rows.labels[i] for i in some.tolist()]
                values.append(of if some.size == len(of) else of[some])
                present.append(there if some.size == len(of) else there[some])
    except SamplesNeeded:
        return None
    return Vector(
        labels=labels,
        values=np.concatenate(values),
        present=np.concatenate(present),
        drop_name=np.full(len(labels), not keeps_name),
    )
