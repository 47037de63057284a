"""A source of samples in memory: what a script loads is all there is."""

import numpy as np

from telemetry.promql import matchers
from telemetry.promql.errors import query_too_large
from telemetry.promql.labels import Labels
from telemetry.promql.matchers import Selection
from telemetry.promql.source import Columns
from telemetry.promql.values import STALE_BITS, offsets_of
from tests.scenarios.telemetry_query.histogram import Histogram, columns, stored


STALE_NAN = np.array([STALE_BITS], np.uint64).view(np.float64)[0]
Sample = tuple[np.float64 | Histogram, int]


class MemorySource:
    """Keeps samples by series and time; a later sample of the same time replaces."""

    def __init__(self) -> None:
        self._series: dict[Labels, dict[int, Sample]] = {}
        self.met_native = False
        """Whether a selection found a native histogram."""

    def add(
        self, labels: Labels, ts_ms: int, value: np.float64 | Histogram, start_ms: int = 0
    ) -> None:
        samples = self._series.setdefault(labels, {})
        if isinstance(value, Histogram):
            before = samples[max(samples)][0] if samples else None
            value = stored(value, before if isinstance(before, Histogram) else None)
        samples[ts_ms] = (value, start_ms)

    def select(
        self, selection: Selection, start_ms: int, end_ms: int, *, series_max: int
    ) -> Columns:
        known = sorted(self._series)
        chosen = matchers.selected(known, selection)
        labels = [one for one, hit in zip(known, chosen.tolist(), strict=True) if hit]
        if len(labels) > series_max:
            raise query_too_large("too many series")
        found = [
            [
                (t, *self._series[one][t])
                for t in sorted(self._series[one])
                if start_ms <= t <= end_ms
            ]
            for one in labels
        ]
        samples = [sample for series in found for sample in series]
        natives = [value for _, value, _ in samples if isinstance(value, Histogram)]
        place = iter(range(len(natives)))
        rows = [next(place) if isinstance(value, Histogram) else -1 for _, value, _ in samples]
        starts = [start for _, _, start in samples]
        self.met_native = self.met_native or bool(natives)
        return Columns(
            labels=labels,
            ts=np.array([t for t, _, _ in samples], np.int64),
            values=np.array(
                [0.0 if isinstance(v, Histogram) else v for _, v, _ in samples], np.float64
            ),
            offsets=offsets_of(np.array([len(series) for series in found], np.int64)),
            histograms=columns(natives) if natives else None,
            histogram=np.array(rows, np.int64) if natives else None,
            starts=np.array(starts, np.int64) if any(starts) else None,
        )
