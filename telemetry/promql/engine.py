"""What the rest of telemetry asks: instant and range queries, answered whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import nodes
from telemetry.promql.errors import bad_query, query_too_large
from telemetry.promql.evaluate import Evaluation, Evaluator
from telemetry.promql.limits import Budget, QueryLimits
from telemetry.promql.matching import merge
from telemetry.promql.nodes import Kind
from telemetry.promql.parse import parse
from telemetry.promql.values import Scalar, Text, Value, Vector, Windows


if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from telemetry.promql.kernels import Bools, Floats, Ints
    from telemetry.promql.native.columns import Histograms
    from telemetry.promql.source import Source

_TIMES_MS_MAX = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series of an answer."""

    labels: lb.Labels
    ts: Ints
    """Milliseconds since 1970."""

    values: Floats
    """NaN where a point is a native histogram."""

    histogram: Ints | None = None
    """For each point a row of the answer's *histograms*, -1 for floats; None: all are floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query returns."""

    kind: Kind
    series: Sequence[Series]
    """A scalar is one series without labels."""

    text: str
    """The value of a query of kind string."""

    warnings: tuple[str, ...]
    infos: tuple[str, ...]
    samples: int
    """Samples and cells that were touched."""

    histograms: Histograms | None = None
    """The native histograms among the points."""

    waited_s: float = 0.0
    """How long the query waited for its turn; whoever let it wait knows."""

    evaluated_s: float = 0.0
    """How long its evaluation took, by the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Answers queries over one source. Blocking: call it from worker threads."""

    source: Source
    limits: QueryLimits = QueryLimits()  # noqa: RUF009 - frozen
    lookback: timedelta = timedelta(minutes=5)
    """How long a sample stands for its series when no newer one came."""

    subquery_step: timedelta = timedelta(minutes=1)
    """Step of subqueries that name none."""

    def instant(
        self,
        text: str,
        at_ms: int,
        *,
        parsed: nodes.Node | None = None,
        lookback: timedelta | None = None,
        stop: threading.Event | None = None,
    ) -> Answer:
        """
        Return the value of *text* at one time.

        Args:
            parsed: The tree of *text*, if whoever asks has it already.
            stop: Set it to end the evaluation early.

        Raises:
            InvalidInput: QUERY_INVALID, QUERY_FAILED: fix the query; QUERY_TOO_LARGE: ask
                for less.
            Unavailable: QUERY_TIMED_OUT: ask for less, or wait.

        """
        query, value = self._evaluate(text, (at_ms, at_ms, 0), lookback, stop, parsed)
        match value:
            case Text():
                return _answer(query, Kind.STRING, [], text=value.value)
            case Scalar():
                return _answer(query, Kind.SCALAR, _scalar(np.array([at_ms]), value))
            case Vector():
                rows = _rows(np.array([at_ms]), finished(value))
                return _answer(query, Kind.VECTOR, rows, pool=_pool(value))
            case Windows():
                return _answer(query, Kind.MATRIX, _samples(value), pool=value.pool)

    def range(
        self,
        text: str,
        start_ms: int,
        end_ms: int,
        step_ms: int,
        *,
        lookback: timedelta | None = None,
        stop: threading.Event | None = None,
    ) -> Answer:
        """
        Return the values of *text* from start to end, both inclusive.

        Args:
            stop: Set it to end the evaluation early.

        Raises:
            InvalidInput: QUERY_INVALID, QUERY_FAILED: fix the query; QUERY_TOO_LARGE: ask
                for less.
            Unavailable: QUERY_TIMED_OUT: ask for less, or wait.

        """
        if step_ms <= 0:
            raise bad_query("zero or negative query resolution step widths are not accepted")
        if end_ms < start_ms:
            raise bad_query("end timestamp must not be before start timestamp")
        if (end_ms - start_ms) // step_ms >= self.limits.steps_max:
            raise query_too_large(
                "exceeded maximum resolution of "
                f"{self.limits.steps_max:,} points per timeseries. Try decreasing the query "
                "resolution (?step=XX)",
                steps_max=str(self.limits.steps_max),
            )
        query, value = self._evaluate(text, (start_ms, end_ms, step_ms), lookback, stop)
        times = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        match value:
            case Scalar():
                return _answer(query, Kind.MATRIX, _scalar(times, value))
            case Vector():
                rows = _rows(times, finished(value))
                rows.sort(key=lambda row: row.labels)
                return _answer(query, Kind.MATRIX, rows, pool=_pool(value))
            case Text() | Windows():
                kind = "string" if isinstance(value, Text) else "range vector"
                raise bad_query(
                    f'invalid expression type "{kind}" for range query, must be Scalar or '
                    "instant Vector"
                )

    def _evaluate(
        self,
        text: str,
        grid: tuple[int, int, int],
        lookback: timedelta | None,
        stop: threading.Event | None,
        parsed: nodes.Node | None = None,
    ) -> tuple[Evaluation, Value]:
        start_ms, end_ms, step_ms = grid
        if not -_TIMES_MS_MAX < start_ms <= end_ms < _TIMES_MS_MAX:
            raise bad_query("times are out of range")
        node = parse(text, self.limits) if parsed is None else parsed
        query = Evaluation(
            text=text,
            source=self.source,
            budget=Budget(limits=self.limits, stop=stop),
            start_ms=start_ms,
            end_ms=end_ms,
            step_ms=step_ms,
            lookback_ms=int((lookback or self.lookback) / timedelta(milliseconds=1)),
            subquery_step_ms=int(self.subquery_step / timedelta(milliseconds=1)),
        )
        times = np.arange(start_ms, end_ms + 1, step_ms or 1, dtype=np.int64)
        try:
            return query, Evaluator(query, times).value(node)
        except RecursionError as error:
            raise bad_query("The query nests too deep.") from error


def finished(value: Vector) -> Vector:
    """
    Return *value* with the names gone that must, and equal series made one.

    Raises:
        InvalidInput: QUERY_FAILED: Series without their names are the same.

    """
    labels = [
        lb.without_metadata(labels) if drop else labels
        for labels, drop in zip(value.labels, value.drop_name.tolist(), strict=True)
    ]
    return merge(replace(value, labels=labels))


def _rows(times: Ints, value: Vector) -> list[Series]:
    there = value.present.any(axis=1)
    complete = set(np.flatnonzero(value.present.all(axis=1)).tolist())
    rows = []
    for i in np.flatnonzero(there).tolist():
        native = None if value.native is None else value.native.rows[i]
        if i in complete:
            rows.append(_series(value.labels[i], times, value.values[i], native))
        else:
            here: Bools = value.present[i]
            native = None if native is None else native[here]
            rows.append(_series(value.labels[i], times[here], value.values[i][here], native))
    return rows


def _series(labels: lb.Labels, ts: Ints, values: Floats, native: Ints | None) -> Series:
    if native is None or not (native >= 0).any():
        return Series(labels=labels, ts=ts, values=values)
    values = np.where(native >= 0, np.nan, values)
    return Series(labels=labels, ts=ts, values=values, histogram=native)


def _scalar(times: Ints, value: Scalar) -> list[Series]:
    return [Series(labels=(), ts=times, values=value.values)]


def _samples(windows: Windows) -> list[Series]:
    end = int(windows.ends[0])
    rows = []
    for i, labels in enumerate(windows.labels):
        first, stop = int(windows.offsets[i]), int(windows.offsets[i + 1])
        ts = windows.ts[first:stop]
        inside = (ts > end - windows.range_ms) & (ts <= end)
        if inside.any():
            values = windows.values[first:stop][inside]
            own = None
            if windows.histogram is not None:
                own = windows.histogram[first:stop][inside]
            rows.append(_series(labels, ts[inside], values, own))
    return sorted(rows, key=lambda row: row.labels)


def _answer(
    query: Evaluation,
    kind: Kind,
    series: list[Series],
    *,
    text: str = "",
    pool: Histograms | None = None,
) -> Answer:
    return Answer(
        kind=kind,
        series=series,
        text=text,
        warnings=tuple(query.warnings),
        infos=tuple(query.infos),
        samples=query.budget.samples,
        histograms=pool,
    )


def _pool(value: Vector) -> Histograms | None:
    return None if value.native is None else value.native.pool
