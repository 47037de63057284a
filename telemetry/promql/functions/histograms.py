"""Functions of classic histograms: series of cumulative buckets, told apart by `le`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import ordered
from telemetry.promql.aggregate import number
from telemetry.promql.values import Scalar, Value, Vector


if TYPE_CHECKING:
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Floats
    from telemetry.promql.nodes import Node

Args = tuple["Node", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Histogram:
    labels: lb.Labels
    upper: Floats
    """Upper bounds of the buckets, ascending."""

    counts: Floats
    present: Bools


def histogram_quantile(ev: Evaluator, args: Args) -> Value:
    q = ev.scalar(args[0])
    _warn_of_quantile(ev, q)
    found = _histograms(ev, ev.vector(args[1]))
    return _collect(ev, [(h.labels, *_quantile(ev, h, q)) for h in found])


def histogram_quantiles(ev: Evaluator, args: Args) -> Value:
    found = _histograms(ev, ev.vector(args[0]))
    name = ev.text(args[1])
    rows = []
    for arg in args[2:]:
        q = ev.scalar(arg)
        _warn_of_quantile(ev, q)
        text = _open_metrics(float(q.values[0]))
        rows += [(lb.with_value(h.labels, name, text), *_quantile(ev, h, q)) for h in found]
    return _collect(ev, rows)


def histogram_fraction(ev: Evaluator, args: Args) -> Value:
    low, high = ev.scalar(args[0]).values, ev.scalar(args[1]).values
    rows = []
    for h in _histograms(ev, ev.vector(args[2])):
        values, present = ordered.bucket_fraction(h.upper, h.counts, h.present, low, high)
        rows.append((h.labels, values, present))
    return _collect(ev, rows)


def _warn_of_quantile(ev: Evaluator, q: Scalar) -> None:
    for wrong in np.unique(q.values[~((q.values >= 0) & (q.values <= 1))]):
        ev.query.warn(f"quantile value should be between 0 and 1, got {number(wrong)}")


def _quantile(ev: Evaluator, h: _Histogram, q: Scalar) -> tuple[Floats, Bools]:
    values, present, forced = ordered.bucket_quantile(h.upper, h.counts, h.present, q.values)
    for step in np.flatnonzero(~np.isnan(forced[:, 0]))[:1]:
        low, high, fall = forced[step]
        ev.query.inform(
            "input to histogram_quantile needed to be fixed for monotonicity (see "
            "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
            f" for metric name {lb.get(h.labels, lb.NAME)!r}, from buckets {low:g} to {high:g}, "
            f"with a max diff of {fall:.2g}"
        )
    return values, present


def _histograms(ev: Evaluator, of: Vector) -> list[_Histogram]:
    groups: dict[lb.Labels, list[tuple[float, int]]] = {}
    for i, labels in enumerate(of.labels):
        if not of.present[i].any():
            continue
        text = lb.get(labels, lb.BUCKET)
        try:
            upper = float(text.replace("_", "x"))
        except ValueError:
            ev.query.warn(
                f'bucket label "le" is missing or has a malformed value of "{text}" for '
                f'metric name "{lb.get(labels, lb.NAME)}"'
            )
            continue
        groups.setdefault(lb.without(labels, (lb.BUCKET,)), []).append((upper, i))
    found = []
    for labels, members in groups.items():
        members.sort()
        rows = [i for _, i in members]
        found.append(
            _Histogram(
                labels=labels,
                upper=np.array([upper for upper, _ in members]),
                counts=of.values[rows],
                present=of.present[rows],
            )
        )
    return found


def _collect(ev: Evaluator, rows: list[tuple[lb.Labels, Floats, Bools]]) -> Vector:
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
