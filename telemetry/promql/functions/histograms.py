"""Functions of histograms, classic and native ones beside each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import notes, ordered
from telemetry.promql.functions import classic
from telemetry.promql.native import quantiles
from telemetry.promql.native.columns import none
from telemetry.promql.numbers import general
from telemetry.promql.values import Scalar, Value, Vector


if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.functions.classic import Classic
    from telemetry.promql.kernels import Bools, Floats, Ints
    from telemetry.promql.native.columns import Histograms
    from telemetry.promql.nodes import Call

_Row = tuple[lb.Labels, "Floats", "Bools"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Both:
    """The histograms in a vector."""

    classics: list[Classic]
    natives: Vector
    """Only series that have native histograms, with nothing where they aren't."""

    pool: Histograms
    rows: Ints
    """Rows of *pool* for the cells of *natives*."""


def _gathered(ev: Evaluator, of: Vector, at: int) -> _Both:
    """Return both kinds, without those of either that are there in the other kind as well."""
    classics = classic.gathered(ev, of, at)
    there = of.is_native
    keep = np.flatnonzero(there.any(axis=1))
    labels = [of.labels[i] for i in keep.tolist()]
    present = there[keep]
    if of.native is not None:
        place = {one: i for i, one in enumerate(labels)}
        for n, h in enumerate(classics):
            i = place.get(h.labels)
            clash = present[i] & h.present.any(axis=0) if i is not None else np.zeros(0, np.bool_)
            if not clash.any():
                continue
            name = notes.for_metric(lb.get(h.labels, lb.NAME))
            ev.query.warn(f"vector contains a mix of classic and native histograms{name}", at)
            present[i] &= ~clash
            classics[n] = replace(h, present=h.present & ~clash)
    natives = Vector(
        labels=labels,
        values=of.values[keep],
        present=present,
        drop_name=np.ones(len(labels), np.bool_),
    )
    pool = none() if of.native is None else of.native.pool
    rows = np.full(present.shape, -1, np.int64)
    if of.native is not None:
        rows = np.where(present, of.native.rows[keep], -1)
    return _Both(classics=classics, natives=natives, pool=pool, rows=rows)


def histogram_quantile(ev: Evaluator, call: Call) -> Value:
    q = ev.scalar(call.args[0])
    _warn_of_quantile(ev, q, call.args[0].at)
    at = call.args[1].at
    return _collect(ev, _quantiles(ev, _gathered(ev, ev.vector(call.args[1]), at), q.values, at))


def histogram_quantiles(ev: Evaluator, call: Call) -> Value:
    at = call.args[0].at
    found = _gathered(ev, ev.vector(call.args[0]), at)
    name = ev.text(call.args[1])
    rows = []
    for arg in call.args[2:]:
        q = ev.scalar(arg)
        _warn_of_quantile(ev, q, arg.at)
        text = _open_metrics(float(q.values[0]))
        rows += [
            (lb.with_value(labels, name, text), values, present)
            for labels, values, present in _quantiles(ev, found, q.values, at)
        ]
    return _collect(ev, rows)


def _quantiles(ev: Evaluator, found: _Both, q: Floats, at: int) -> list[_Row]:
    values, flags = quantiles.quantiles(found.pool, found.rows, q)
    _tell(ev, found, flags & quantiles.NO_ANSWER > 0, at, "result is NaN")
    _tell(ev, found, flags & quantiles.SKEWED > 0, at, "result is skewed higher")
    rows = _natives(found, values)
    return rows + [(h.labels, *classic.quantile(ev, h, q, at)) for h in found.classics]


def _tell(ev: Evaluator, found: _Both, where: Bools, at: int, what: str) -> None:
    for i in np.flatnonzero(where.any(axis=1)).tolist():
        name = notes.for_metric(lb.get(found.natives.labels[i], lb.NAME))
        ev.query.inform(f"input to histogram_quantile has NaN observations, {what}{name}", at)


def _natives(found: _Both, values: Floats) -> list[_Row]:
    return list(zip(found.natives.labels, values, found.natives.present, strict=True))


def histogram_fraction(ev: Evaluator, call: Call) -> Value:
    low, high = ev.scalar(call.args[0]).values, ev.scalar(call.args[1]).values
    at = call.args[2].at
    found = _gathered(ev, ev.vector(call.args[2]), at)
    values, flags = quantiles.fractions(found.pool, found.rows, low, high)
    for i in np.flatnonzero(flags.any(axis=1)).tolist():
        name = notes.for_metric(lb.get(found.natives.labels[i], lb.NAME))
        text = "input to histogram_fraction has NaN observations, which are excluded from all"
        ev.query.inform(f"{text} fractions{name}", at)
    rows = _natives(found, values)
    for h in found.classics:
        shares, present = ordered.bucket_fraction(h.upper, h.counts, h.present, low, high)
        rows.append((h.labels, shares, present))
    return _collect(ev, rows)


def _warn_of_quantile(ev: Evaluator, q: Scalar, at: int) -> None:
    for wrong in np.unique(q.values[~((q.values >= 0) & (q.values <= 1))]):
        ev.query.warn(f"quantile value should be between 0 and 1, got {general(wrong)}", at)


def _collect(ev: Evaluator, rows: list[_Row]) -> Vector:
    shape = (len(rows), ev.times.size)
    return Vector(
        labels=[row[0] for row in rows],
        values=np.array([row[1] for row in rows]).reshape(shape),
        present=np.array([row[2] for row in rows], np.bool_).reshape(shape),
        drop_name=np.ones(len(rows), np.bool_),
    )


def _open_metrics(value: float) -> str:
    """Return *value* as OpenMetrics writes labels: always with a point."""
    text = repr(value)
    return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(text, text)


def _of_each(take: Callable[[Histograms], Floats]) -> Callable[[Evaluator, Call], Value]:
    def apply(ev: Evaluator, call: Call) -> Value:
        # Nobody sees the hints, so they may say more than the samples do: what contradicts
        # itself is found.
        of = replace(ev, detects_resets=True).vector(call.args[0])
        values = np.full(of.values.shape, np.nan)
        there = of.is_native
        if of.native is not None and there.any():
            with np.errstate(all="ignore"):
                values[there] = take(of.native.pool)[of.native.rows[there]]
        drop = np.ones(len(of.labels), np.bool_)
        return replace(of, values=values, present=there, drop_name=drop, native=None)

    return apply


histogram_avg = _of_each(lambda pool: pool.sums / pool.counts)
histogram_count = _of_each(lambda pool: pool.counts)
histogram_stddev = _of_each(lambda pool: np.sqrt(quantiles.variances(pool)))
histogram_stdvar = _of_each(lambda pool: np.asarray(quantiles.variances(pool)))
histogram_sum = _of_each(lambda pool: pool.sums)
