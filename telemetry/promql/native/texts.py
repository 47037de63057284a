"""Native histograms as text, and as the parts of Prometheus's JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from telemetry.promql.native.quantiles import buckets
from telemetry.promql.native.rows import row
from telemetry.promql.numbers import general


if TYPE_CHECKING:
    from telemetry.promql.native.columns import Histograms


class Bucket(NamedTuple):
    """A populated bucket."""

    rule: int
    """Which bounds belong to it: 0 the upper, 1 the lower, 2 none, 3 both."""

    low: float
    high: float
    population: float


def populated(pool: Histograms, i: int) -> list[Bucket]:
    """Return the buckets of row *i* that aren't empty, ascending."""
    one = row(pool, i)
    zero = one.neg.size if one.zero_count > 0 else -1
    found = []
    for k, (low, high, count) in enumerate(zip(*buckets(one), strict=True)):
        if count != 0:
            rule = 3 if k == zero else 1 if k < one.neg.size else 0
            found.append(Bucket(rule, float(low), float(high), float(count)))
    return found


def text(pool: Histograms, i: int) -> str:
    """Return row *i* as Prometheus prints it: `{count:3, sum:4, (1,2]:3}`."""
    parts = [f"count:{general(pool.counts[i])}", f"sum:{general(pool.sums[i])}"]
    for bucket in populated(pool, i):
        opening = "[" if bucket.rule in (1, 3) else "("
        closing = "]" if bucket.rule in (0, 3) else ")"
        low, high = general(bucket.low), general(bucket.high)
        parts.append(f"{opening}{low},{high}{closing}:{general(bucket.population)}")
    return "{" + ", ".join(parts) + "}"
