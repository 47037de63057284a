"""Answers as Prometheus's JSON. Whole columns become text at once: values are the bulk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telemetry.promql.native.texts import populated
from telemetry.promql.nodes import Kind
from telemetry.promql.numbers import number


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.engine import Answer, Series
    from telemetry.promql.kernels import Floats, Ints
    from telemetry.promql.native.columns import Histograms


def success(data: str, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> str:
    """Return the envelope around *data*, which is JSON already."""
    extras = "".join(
        f',"{name}":{compact(list(texts))}'
        for name, texts in (("warnings", warnings), ("infos", infos))
        if texts
    )
    return f'{{"status":"success","data":{data}{extras}}}'


def failure(kind: str, message: str) -> str:
    """Return the envelope of an error."""
    return compact({"status": "error", "errorType": kind, "error": message})


def compact(value: Any) -> str:
    """Return *value* as JSON without blanks."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def answer(of: Answer, at_ms: int, limit: int, *, stats: bool = False) -> str:
    """
    Return a query's answer.

    Args:
        at_ms: Time of an instant query; a string has no other.
        limit: Most series; 0: all.
        stats: Whether to say what the query cost.

    """
    warnings = list(of.warnings)
    series = of.series
    if 0 < limit < len(series):
        series = series[:limit]
        warnings.append("results truncated due to limit")
    match of.kind:
        case Kind.STRING:
            result = f"[{_time(at_ms)},{compact(of.text)}]"
        case Kind.SCALAR:
            result = _points(series[0].ts, series[0].values)[0]
        case Kind.VECTOR:
            result = f"[{','.join(_vector(series, of.histograms))}]"
        case Kind.MATRIX:
            result = f"[{','.join(_matrix(series, of.histograms))}]"
    cost = f',"stats":{compact(_stats(of))}' if stats else ""
    data = f'{{"resultType":"{of.kind.value}","result":{result}{cost}}}'
    return success(data, warnings, of.infos)


def _stats(of: Answer) -> dict[str, Any]:
    return {
        "timings": {
            "evalTotalTime": of.evaluated_s,
            "resultSortTime": 0,
            "queryPreparationTime": 0,
            "innerEvalTime": of.evaluated_s,
            "execQueueTime": of.waited_s,
            "execTotalTime": of.waited_s + of.evaluated_s,
        },
        "samples": {"totalQueryableSamples": of.samples, "peakSamples": of.samples},
    }


def _vector(series: Sequence[Series], pool: Histograms | None) -> list[str]:
    if not series:
        return []
    times = np.array([one.ts[0] for one in series], np.int64)
    points = _points(times, np.array([one.values[0] for one in series]))
    return [
        f'{{"metric":{compact(dict(one.labels))},'
        + (
            f'"value":{point}}}'
            if pool is None or one.histogram is None
            else f'"histogram":{_histogram(pool, int(one.ts[0]), int(one.histogram[0]))}}}'
        )
        for one, point in zip(series, points, strict=True)
    ]


def _matrix(series: Sequence[Series], pool: Histograms | None) -> list[str]:
    if not series:
        return []
    # One conversion for all series: the calls cost more than the values of a short one.
    times = np.concatenate([one.ts for one in series])
    points = _points(times, np.concatenate([one.values for one in series]))
    rows = []
    first = 0
    for one in series:
        stop = first + one.ts.size
        floats, natives = points[first:stop], ""
        if pool is not None and one.histogram is not None:
            rows_of = one.histogram.tolist()
            floats = [point for point, i in zip(floats, rows_of, strict=True) if i < 0]
            found = [
                _histogram(pool, ts, i)
                for ts, i in zip(one.ts.tolist(), rows_of, strict=True)
                if i >= 0
            ]
            natives = f',"histograms":[{",".join(found)}]' if found else ""
        values = f',"values":[{",".join(floats)}]' if floats or not natives else ""
        rows.append(f'{{"metric":{compact(dict(one.labels))}{values}{natives}}}')
        first = stop
    return rows


def _histogram(pool: Histograms, ms: int, i: int) -> str:
    """Return a native histogram as `[seconds,{"count":...,"sum":...,"buckets":[...]}]`."""
    shown: dict[str, Any] = {
        "count": number(float(pool.counts[i])),
        "sum": number(float(pool.sums[i])),
    }
    buckets = [
        [bucket.rule, number(bucket.low), number(bucket.high), number(bucket.population)]
        for bucket in populated(pool, i)
    ]
    if buckets:
        shown["buckets"] = buckets
    return f"[{_time(ms)},{compact(shown)}]"


def _points(ts: Ints, values: Floats) -> list[str]:
    """Return each sample as `[seconds,"value"]`."""
    distinct, which = np.unique(ts, return_inverse=True)
    opening = pa.array([f'[{_time(t)},"' for t in distinct.tolist()], pa.string())
    texts = _values(values)
    joined = pc.binary_join_element_wise(opening.take(pa.array(which)), texts, '"]', "")
    return [str(text) for text in joined.to_pylist()]


def _values(values: Floats) -> Any:
    """Return the values as text: shortest, exponents only below 1e-6 and from 1e21 on."""
    texts = pc.cast(pa.array(values, pa.float64(), from_pandas=False), pa.string())
    size = np.abs(values)
    odd = np.flatnonzero(~np.isfinite(values) | ((size >= 1e15) & (size < 1e21)))
    if odd.size == 0:
        return texts
    mask = np.zeros(values.size, np.bool_)
    mask[odd] = True
    replaced = pa.array([number(v) for v in values[odd].tolist()], pa.string())
    return pc.replace_with_mask(texts, pa.array(mask), replaced)


def _time(ms: int) -> str:
    seconds, fraction = divmod(abs(ms), 1000)
    sign = "-" if ms < 0 else ""
    return f"{sign}{seconds}.{fraction:03d}" if fraction else f"{sign}{seconds}"
