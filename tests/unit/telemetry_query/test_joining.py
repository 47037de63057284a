"""Floats and native histograms of the same series, from several places, made one."""

import numpy as np

from telemetry.promql.labels import make
from telemetry.promql.native.columns import none
from telemetry.promql.source import Columns
from telemetry.promql.values import STALE_BITS, offsets_of, stale
from telemetry.query.joining import joined, natives
from telemetry.store.histograms import HistogramSamples
from tests.scenarios.telemetry_query.histogram import Histogram, columns, of_row


A, B = make({"__name__": "a"}), make({"__name__": "b"})


def floats(**series):
    samples = [sorted(one.items()) for one in series.values()]
    return Columns(
        labels=[make({"__name__": name}) for name in series],
        ts=np.array([ts for one in samples for ts, _ in one], np.int64),
        values=np.array([value for one in samples for _, value in one], np.float64),
        offsets=offsets_of(np.array([len(one) for one in samples], np.int64)),
    )


def stored(*histograms, ts):
    return HistogramSamples(
        offsets=np.array([0, len(ts)], np.int64),
        ts_ms=np.array(ts, np.int64),
        starts_ms=np.full(len(ts), 77, np.int64),
        histograms=columns(list(histograms)) if histograms else none(),
    )


def test_samples_are_in_the_order_of_time_within_each_series():
    one, two = Histogram(count=1, pos={0: 1}), Histogram(count=2, pos={0: 2})
    native = natives([A], stored(one, two, ts=[2, 5]))
    found = joined([floats(a={1: 1.5, 3: 2.5, 5: 9.0}, b={4: 4.0}), native])
    assert list(found.labels) == [A, B]
    assert found.offsets.tolist() == [0, 4, 5]
    assert found.ts.tolist() == [1, 2, 3, 5, 4]
    assert (found.histogram >= 0).tolist() == [False, True, False, True, False]
    assert [of_row(found.histograms, i).count for i in found.histogram[[1, 3]]] == [1, 2]
    assert found.values[[0, 2, 4]].tolist() == [1.5, 2.5, 4.0]
    assert found.starts.tolist() == [0, 77, 0, 77, 0]


def test_the_end_of_a_series_of_histograms_is_a_staleness_marker():
    marker = np.array([STALE_BITS], np.uint64).view(np.float64)[0]
    ended = Histogram(count=0, sum=float("nan"))
    samples = stored(Histogram(count=1), ended, ts=[1, 2])
    sums = np.array([0.0, marker])
    found = natives(
        [A],
        HistogramSamples(
            offsets=samples.offsets,
            ts_ms=samples.ts_ms,
            starts_ms=samples.starts_ms,
            histograms=samples.histograms._replace(sums=sums),
        ),
    )
    assert found.histogram.tolist() == [0, -1]
    assert stale(found.values).tolist() == [False, True]


def test_nothing_joined_with_nothing_is_nothing():
    found = joined([floats(), natives([], stored(ts=[]))])
    assert found.ts.size == 0
    assert found.offsets.tolist() == [0]
