"""Native histograms as scripts write them: `{{schema:1 count:3 buckets:[1 2]}}`."""

import re
from dataclasses import dataclass, field, replace

import numpy as np

from telemetry.promql.native.columns import CUSTOM, Hint, Histograms


FIELD = re.compile(r"(\w+):(\[[^\]]*\]|\S+)")
HINTS = {
    "unknown": Hint.UNKNOWN,
    "reset": Hint.RESET,
    "not_reset": Hint.NOT_RESET,
    "gauge": Hint.GAUGE,
}
Buckets = dict[int, float]


@dataclass(frozen=True)
class Histogram:
    """A native histogram."""

    schema: int = 0
    count: float = 0.0
    sum: float = 0.0
    zero_count: float = 0.0
    zero_threshold: float = 0.0
    pos: Buckets = field(default_factory=dict)
    neg: Buckets = field(default_factory=dict)
    bounds: tuple[float, ...] = ()
    hint: Hint = Hint.UNKNOWN
    hint_given: bool = field(default=False, compare=False)


def parse(text: str) -> Histogram:
    """Return what stands between `{{` and `}}`."""
    given = dict(FIELD.findall(text))
    return Histogram(
        schema=int(given.get("schema", 0)),
        count=_number(given.get("count", "0")),
        sum=_number(given.get("sum", "0")),
        zero_count=_number(given.get("z_bucket", "0")),
        zero_threshold=_number(given.get("z_bucket_w", "0")),
        pos=_buckets(given, "buckets", "offset"),
        neg=_buckets(given, "n_buckets", "n_offset"),
        bounds=tuple(_numbers(given.get("custom_values", "[]"))),
        hint=HINTS[given.get("counter_reset_hint", "unknown")],
        hint_given="counter_reset_hint" in given,
    )


def _number(text: str) -> float:
    return float(text)


def _numbers(text: str) -> list[float]:
    return [_number(word) for word in text.strip("[]").split()]


def _buckets(given: dict[str, str], name: str, offset: str) -> Buckets:
    first = int(given.get(offset, 0))
    return {first + i: n for i, n in enumerate(_numbers(given.get(name, "[]")))}


def added(a: Histogram, b: Histogram, sign: float) -> Histogram:
    """Return `a + sign * b`; *b* may have a finer schema, or none of its own."""
    shift = 0 if CUSTOM in (a.schema, b.schema) else b.schema - a.schema
    assert shift >= 0, (a, b)
    hint = a.hint
    if Hint.GAUGE in (a.hint, b.hint):
        hint = Hint.GAUGE
    elif a.hint != b.hint:
        hint = Hint.UNKNOWN
    return replace(
        a,
        count=a.count + sign * b.count,
        sum=a.sum + sign * b.sum,
        zero_count=a.zero_count + sign * b.zero_count,
        pos=_added(a.pos, b.pos, sign, shift),
        neg=_added(a.neg, b.neg, sign, shift),
        hint=hint,
        hint_given=b.hint_given,
    )


def _added(a: Buckets, b: Buckets, sign: float, shift: int) -> Buckets:
    out = dict(a)
    for index, n in b.items():
        target = ((index - 1) >> shift) + 1
        out[target] = out.get(target, 0.0) + sign * n
    return out


def of_classic(buckets: Buckets, count: float | None, total: float) -> Histogram | None:
    """Return a histogram with custom buckets for cumulative ones by upper bound."""
    ordered = sorted(buckets.items())
    if count is None:
        count = ordered[-1][1]
    if not ordered or ordered[-1][0] != np.inf:
        ordered.append((np.inf, count))
    if ordered[-1][1] != count:
        return None
    before = 0.0
    pos = {}
    for i, (_, n) in enumerate(ordered):
        pos[i] = n - before
        before = n
    bounds = tuple(upper for upper, _ in ordered[:-1])
    return Histogram(schema=CUSTOM, count=count, sum=total, pos=pos, bounds=bounds)


def stored(now: Histogram, before: Histogram | None) -> Histogram:
    """Return *now* with the hint that Prometheus's storage gives it behind *before*."""
    if now.hint is Hint.GAUGE:
        return now
    continues = (
        before is not None
        and before.hint is not Hint.GAUGE
        and now.hint is not Hint.RESET
        and now.count >= before.count
        and (now.schema, now.zero_threshold, now.bounds)
        == (before.schema, before.zero_threshold, before.bounds)
        and now.zero_count >= before.zero_count
        and not _fell(now.pos, before.pos)
        and not _fell(now.neg, before.neg)
    )
    return replace(now, hint=Hint.NOT_RESET if continues else Hint.UNKNOWN)


def _fell(now: Buckets, before: Buckets) -> bool:
    return any(now.get(index, 0.0) < n for index, n in before.items())


def columns(histograms: list[Histogram]) -> Histograms:
    """Return histograms as a source hands them over."""
    sides = {}
    for side in ("pos", "neg"):
        all_ = [sorted(getattr(h, side).items()) for h in histograms]
        sides[f"{side}_offsets"] = np.cumsum([0, *map(len, all_)]).astype(np.int64)
        sides[f"{side}_index"] = np.array([i for one in all_ for i, _ in one], np.int32)
        sides[side] = np.array([n for one in all_ for _, n in one], np.float64)
    return Histograms(
        schema=np.array([h.schema for h in histograms], np.int64),
        hint=np.array([h.hint for h in histograms], np.int64),
        zero_threshold=np.array([h.zero_threshold for h in histograms]),
        zero_count=np.array([h.zero_count for h in histograms]),
        counts=np.array([h.count for h in histograms]),
        sums=np.array([h.sum for h in histograms]),
        bounds_offsets=np.cumsum([0, *(len(h.bounds) for h in histograms)]).astype(np.int64),
        bounds=np.array([b for h in histograms for b in h.bounds], np.float64),
        **sides,
    )


def of_row(pool: Histograms, i: int) -> Histogram:
    """Return one row of columns."""
    sides = {}
    for side in ("pos", "neg"):
        offsets = getattr(pool, f"{side}_offsets")
        part = slice(offsets[i], offsets[i + 1])
        index, population = getattr(pool, f"{side}_index")[part], getattr(pool, side)[part]
        sides[side] = dict(zip(index.tolist(), population.tolist(), strict=True))
    first, stop = pool.bounds_offsets[i], pool.bounds_offsets[i + 1]
    return Histogram(
        schema=int(pool.schema[i]),
        count=float(pool.counts[i]),
        sum=float(pool.sums[i]),
        zero_count=float(pool.zero_count[i]),
        zero_threshold=float(pool.zero_threshold[i]),
        bounds=tuple(pool.bounds[first:stop].tolist()),
        hint=Hint(int(pool.hint[i])),
        **sides,
    )
