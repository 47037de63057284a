"""Classic histograms: series of cumulative buckets, told apart by `le`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import notes, ordered
from telemetry.promql.lex import quoted
from telemetry.promql.numbers import general


if TYPE_CHECKING:
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Floats
    from telemetry.promql.values import Vector

_MONOTONIC = (
    "input to histogram_quantile needed to be fixed for monotonicity (see "
    "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classic:
    """One histogram."""

    labels: lb.Labels
    upper: Floats
    """Upper bounds of the buckets, ascending."""

    counts: Floats
    """`buckets x steps`."""

    present: Bools


def gathered(ev: Evaluator, of: Vector, at: int) -> list[Classic]:
    """Return the histograms that the floats of *of* make."""
    there = of.is_float
    groups: dict[lb.Labels, list[tuple[float, int]]] = {}
    for i, labels in enumerate(of.labels):
        if not there[i].any():
            continue
        text = lb.get(labels, lb.BUCKET)
        try:
            upper = float(text.replace("_", "x"))
        except ValueError:
            ev.query.warn(
                f'bucket label "le" is missing or has a malformed value of {quoted(text)}'
                f"{notes.for_metric(lb.get(labels, lb.NAME))}",
                at,
            )
            continue
        groups.setdefault(lb.without(labels, (lb.BUCKET,)), []).append((upper, i))
    found = []
    for labels, members in groups.items():
        members.sort()
        rows = [i for _, i in members]
        found.append(
            Classic(
                labels=labels,
                upper=np.array([upper for upper, _ in members]),
                counts=of.values[rows],
                present=there[rows],
            )
        )
    return found


def quantile(ev: Evaluator, h: Classic, q: Floats, at: int) -> tuple[Floats, Bools]:
    """Return the quantile `q[t]` of a histogram, and say where its buckets fell."""
    values, present, forced = ordered.bucket_quantile(h.upper, h.counts, h.present, q)
    steps = np.flatnonzero(~np.isnan(forced[:, 0]))
    if steps.size:
        low, high, fall = forced[steps, 0].min(), forced[steps, 1].max(), forced[steps, 2].max()
        first, last = (_time(ev, step) for step in (steps[0], steps[-1]))
        ev.query.inform(
            f"{_MONOTONIC}{notes.for_metric(lb.get(h.labels, lb.NAME))}, from buckets "
            f"{general(low)} to {general(high)}, with a max diff of {fall:.2g}, over {steps.size} "
            f"samples from {first} to {last}",
            at,
        )
    return values, present


def _time(ev: Evaluator, step: int) -> str:
    moment = datetime.fromtimestamp(int(ev.times[step]) // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
