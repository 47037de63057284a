"""A source of samples in memory: what a script loads is all there is."""

import numpy as np

from telemetry.promql import matchers
from telemetry.promql.errors import query_too_large
from telemetry.promql.labels import Labels
from telemetry.promql.matchers import Selection
from telemetry.promql.source import Columns
from telemetry.promql.values import STALE_BITS, offsets_of


STALE_NAN = np.array([STALE_BITS], np.uint64).view(np.float64)[0]


class MemorySource:
    """Keeps samples by series and time; a later sample of the same time replaces."""

    def __init__(self) -> None:
        self._series: dict[Labels, dict[int, np.float64]] = {}

        self._native: set[Labels] = set()
        self.met_native = False
        """Whether a selection found a series that has native histograms, which we leave out."""

    def add_native(self, labels: Labels) -> None:
        self._native.add(labels)

    def add(self, labels: Labels, ts_ms: int, value: np.float64) -> None:
        self._series.setdefault(labels, {})[ts_ms] = value

    def select(
        self, selection: Selection, start_ms: int, end_ms: int, *, series_max: int
    ) -> Columns:
        native = sorted(self._native)
        self.met_native = self.met_native or bool(matchers.selected(native, selection).any())
        known = sorted(self._series)
        chosen = matchers.selected(known, selection)
        labels = [one for one, hit in zip(known, chosen.tolist(), strict=True) if hit]
        if len(labels) > series_max:
            raise query_too_large("too many series")
        ts: list[int] = []
        values: list[np.float64] = []
        counts = []
        for one in labels:
            inside = sorted((t, v) for t, v in self._series[one].items() if start_ms <= t <= end_ms)
            counts.append(len(inside))
            ts += [t for t, _ in inside]
            values += [v for _, v in inside]
        return Columns(
            labels=labels,
            ts=np.array(ts, np.int64),
            values=np.array(values, np.float64),
            offsets=offsets_of(np.array(counts, np.int64)),
        )
