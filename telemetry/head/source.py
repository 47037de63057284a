"""The evaluator's source of samples: the head, and the store for what is older."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql.source import Columns, SamplesNeeded
from telemetry.query.joining import joined as both
from telemetry.query.rolling import WIDTHS_MS, rolled


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from telemetry.head.head import Head
    from telemetry.head.recent import Recent
    from telemetry.promql.labels import Labels
    from telemetry.promql.matchers import Selection
    from telemetry.promql.source import Rows, Span
    from telemetry.query.source import StoreSource


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSource:
    """One tenant's samples. The seam is a time, so no sample is seen twice."""

    head: Head
    store: StoreSource
    """Blocks: only ever asked on worker threads."""

    tenant: str

    def select(
        self, selection: Selection, start_ms: int, end_ms: int, *, series_max: int
    ) -> Columns:
        """
        Return the samples of the matching series.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: More than *series_max* series match.
            Unavailable: QUERY_TIMED_OUT: The store took too long.

        """
        recent = self.head.read(self.tenant, selection, start_ms, end_ms, series_max=series_max)
        found = self._floats(recent, selection, start_ms, end_ms, series_max)
        first_ms = max(start_ms, recent.horizon_ms + 1)
        if first_ms > end_ms or not self.head.may_be_native(self.tenant, selection):
            return found
        # The head holds no native histograms: the store does, about a second later.
        natives = self.store.natives(selection, first_ms, end_ms, series_max=series_max)
        return both([found, natives]) if natives.ts.size else found

    def pieces(
        self, selection: Selection, start_ms: int, end_ms: int, size: int, series_max: int
    ) -> Sequence[Callable[[], Columns]] | None:
        """
        Return reads of the matching series, *size* each; None unless memory has all of them.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: Too many series match.
            SamplesNeeded: By a read: by now memory doesn't have all any more.

        """
        head = self.head
        if start_ms <= head.horizon_ms or head.may_be_native(self.tenant, selection):
            return None
        chosen = head.choose(self.tenant, selection)
        # Some of them may have no samples in that time: only what is read tells.
        if not size < len(chosen.labels) <= series_max:
            return None

        def read(first: int) -> Columns:
            last = min(first + size, len(chosen.labels))
            found = head.read_part(chosen, (first, last), start_ms, end_ms)
            if found is None:
                raise SamplesNeeded
            ts, values, offsets = found
            return Columns(labels=chosen.labels[first:last], ts=ts, values=values, offsets=offsets)

        firsts = range(0, len(chosen.labels), size)
        return [functools.partial(read, first) for first in firsts]

    @property
    def widths_ms(self) -> Sequence[int]:
        """Lengths of the windows that samples are rolled up in, longest first."""
        return WIDTHS_MS

    def rolled(self, span: Span) -> Iterator[Rows] | None:
        """
        Return what samples come to, some series at a time; None where memory has them all.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: Too many series match.
            Unavailable: QUERY_TIMED_OUT: The store took too long.

        """
        if span.after_ms >= self.head.horizon_ms:
            return None
        return rolled(self.store, self, span)

    def _floats(
        self, recent: Recent, selection: Selection, start_ms: int, end_ms: int, series_max: int
    ) -> Columns:
        if start_ms > recent.horizon_ms:
            return Columns(
                labels=recent.labels, ts=recent.ts, values=recent.values, offsets=recent.offsets
            )
        older = self.store.select(
            selection, start_ms, min(end_ms, recent.horizon_ms), series_max=series_max
        )
        return older if not recent.labels else joined(older, recent)


def joined(older: Columns, recent: Recent) -> Columns:
    """Return both, the *recent* samples of a series behind its *older* ones."""
    at = {labels: i for i, labels in enumerate(older.labels)}
    labels: list[Labels] = list(older.labels)
    for one in recent.labels:
        if one not in at:
            at[one] = len(labels)
            labels.append(one)
    owners = np.fromiter((at[one] for one in recent.labels), np.int64, len(recent.labels))
    counts = np.zeros((2, len(labels)), np.int64)
    counts[0, : len(older.labels)] = np.diff(older.offsets)
    counts[1, owners] = np.diff(recent.offsets)
    offsets = np.zeros(len(labels) + 1, np.int64)
    np.cumsum(counts.sum(axis=0), out=offsets[1:])
    first = offsets[:-1]
    ts = np.empty(int(offsets[-1]), np.int64)
    values = np.empty(int(offsets[-1]), np.float64)
    for source, begins in (
        ((older.ts, older.values, older.offsets), first[: len(older.labels)]),
        ((recent.ts, recent.values, recent.offsets), (first + counts[0])[owners]),
    ):
        places = _places(source[2], begins)
        ts[places], values[places] = source[0], source[1]
    return Columns(labels=labels, ts=ts, values=values, offsets=offsets)


def _places(offsets: NDArray[np.int64], begins: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each sample of columns with *offsets* goes, its series beginning at *begins*."""
    lengths = np.diff(offsets)
    return np.arange(int(offsets[-1])) + np.repeat(begins - offsets[:-1], lengths)
