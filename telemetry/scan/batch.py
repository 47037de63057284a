"""What one request holds of metrics, as columns; and the arrays that a scan of it fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.sink import (
    ADDS,
    COUNTS,
    EXEMPLAR_COLUMNS,
    FOLDED,
    HISTOGRAM_COLUMNS,
    NEW_COLUMNS,
    REFUSE_NEW,
    SAMPLE_COLUMNS,
    Count,
    Exemplar,
    Filled,
    Histogram,
    Sample,
    Sink,
)
from telemetry.scan.wire import compiled


if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

    Words = NDArray[np.uint64]

BYTES_PER_ROW = 48
"""A request has a sample in as many bytes, or more; where it has not, it is scanned twice."""

_SPARE = 0.9
_SLOWLY = 1.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplars:
    """Exemplars: columns by `sink.Exemplar`, and what they name of the request itself."""

    columns: Words
    """(columns, exemplars); `TRACE` to `END` mean nothing any more."""

    trace_ids: Bytes
    """(exemplars, 16); zeros: none."""

    span_ids: Bytes
    """(exemplars, 8); zeros: none."""

    raw: Sequence[bytes]
    """Each as it came, an OTLP Exemplar."""

    def __len__(self) -> int:
        return int(self.columns.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The rows of a request's metrics, by the columns of `telemetry.scan.sink`."""

    samples: Words
    """(`sink.Sample`, rows). Values are floats' bits: `samples[Sample.VALUE].view(np.float64)`."""

    histograms: Words
    """(`sink.Histogram`, rows)."""

    buckets: NDArray[np.float64]
    """Each histogram's positive buckets, its negative ones and its bounds, one after another."""

    exemplars: Exemplars

    @property
    def rows(self) -> int:
        """How many rows all of it makes."""
        return int(self.samples.shape[1] + self.histograms.shape[1] + len(self.exemplars))

    @property
    def nbytes(self) -> int:
        """Memory of it, about."""
        return self.samples.nbytes + self.histograms.nbytes + self.buckets.nbytes


def no_exemplars() -> Exemplars:
    """Return an empty table of exemplars."""
    return Exemplars(
        columns=np.zeros((EXEMPLAR_COLUMNS, 0), np.uint64),
        trace_ids=np.zeros((0, 16), np.uint8),
        span_ids=np.zeros((0, 8), np.uint8),
        raw=(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many rows a sink takes."""

    samples: int
    new: int = 64
    histograms: int = 16
    buckets: int = 1024
    exemplars: int = 16

    @classmethod
    def of(cls, request_bytes: int, bytes_per_row: float = BYTES_PER_ROW) -> Room:
        """Return what is enough for most requests of that size."""
        return cls(samples=int(request_bytes / bytes_per_row) + 16)

    @classmethod
    def wanted(cls, sink: Sink) -> Room:
        """Return what a scan would have needed."""
        filled = [int(one) + 1 for one in sink.filled]
        return cls(
            samples=filled[Filled.SAMPLES],
            new=filled[Filled.NEW],
            histograms=filled[Filled.HISTOGRAMS],
            buckets=filled[Filled.BUCKETS],
            exemplars=filled[Filled.EXEMPLARS],
        )

    def fits(self, sink: Sink) -> bool:
        """Whether all that a scan found has its place."""
        filled = sink.filled
        return bool(
            filled[Filled.SAMPLES] <= self.samples
            and filled[Filled.NEW] <= self.new
            and filled[Filled.HISTOGRAMS] <= self.histograms
            and filled[Filled.BUCKETS] <= self.buckets
            and filled[Filled.EXEMPLARS] <= self.exemplars
        )


def expected(bytes_per_row: float, request_bytes: int, sink: Sink) -> float:
    """
    Return in how many bytes the next request will have a sample, now that a *sink* is filled.

    Less at once, more little by little: rows that stay empty are memory as long as the others are
    kept, a request that doesn't fit is scanned twice.
    """
    rows = sink.filled[Filled.SAMPLES]
    seen = _SPARE * request_bytes / rows if rows else bytes_per_row
    return float(max(BYTES_PER_ROW, min(seen, _SLOWLY * bytes_per_row)))


def empty_sink(room: Room, known: Words, over: Words, fold: Words) -> Sink:
    """Return a sink with *room*."""
    return Sink(
        known=known,
        over=over,
        fold=fold,
        new=np.empty((room.new, NEW_COLUMNS), np.uint64),
        samples=np.empty((SAMPLE_COLUMNS, room.samples), np.uint64),
        histograms=np.empty((HISTOGRAM_COLUMNS, room.histograms), np.uint64),
        buckets=np.empty(room.buckets, np.float64),
        exemplars=np.empty((EXEMPLAR_COLUMNS, room.exemplars), np.uint64),
        place=np.zeros(REFUSE_NEW + 1, np.uint64),
        filled=np.zeros(len(Filled), np.int64),
        counts=np.zeros(COUNTS, np.int64),
    )


def batch_of(request: bytes, data: Bytes, sink: Sink) -> Batch:
    """Return what a scan of *request* has put into *sink*, which it fitted into."""
    filled = sink.filled
    exemplars = no_exemplars()
    if filled[Filled.EXEMPLARS]:
        columns = sink.exemplars[:, : filled[Filled.EXEMPLARS]]
        places = zip(columns[Exemplar.BEGIN], columns[Exemplar.END], strict=True)
        exemplars = Exemplars(
            columns=columns,
            trace_ids=_gather(data, columns[Exemplar.TRACE], 16),
            span_ids=_gather(data, columns[Exemplar.SPAN], 8),
            raw=[request[begin:end] for begin, end in places],
        )
    samples = sink.samples[:, : filled[Filled.SAMPLES]]
    return Batch(
        samples=_folded(samples) if sink.counts[Count.FOLDED] else samples,
        histograms=sink.histograms[:, : filled[Filled.HISTOGRAMS]],
        buckets=sink.buckets[: filled[Filled.BUCKETS]],
        exemplars=exemplars,
    )


def _folded(samples: Words) -> Words:
    """Join the rows of series that stand for many, where they are of one time."""
    folded = samples[Sample.FLAGS] & np.uint64(FOLDED) != 0
    many = samples[:, folded]
    order = np.lexsort((np.arange(many.shape[1]), many[Sample.TIME], many[Sample.SERIES]))
    many = many[:, order]
    same = (np.diff(many[Sample.SERIES]) == 0) & (np.diff(many[Sample.TIME]) == 0)
    first = np.flatnonzero(np.concatenate([[True], ~same]))
    last = np.concatenate([first[1:], [many.shape[1]]]) - 1
    values = many[Sample.VALUE].view(np.float64)
    joined = many[:, last]
    adds = joined[Sample.FLAGS] & np.uint64(ADDS) != 0
    sums = np.add.reduceat(values, first)
    joined[Sample.VALUE] = np.where(adds, sums, values[last]).view(np.uint64)
    return np.ascontiguousarray(np.concatenate([samples[:, ~folded], joined], axis=1))


def warm() -> None:
    """Load or compile what makes a batch; see `Scanner.warm_rest`."""
    _gather(np.frombuffer(b"", np.uint8), np.zeros(0, np.uint64), 16)


@compiled
def _gather(data: Bytes, places: Words, size: int) -> Bytes:
    """Return *size* bytes of each of *places*, a row each; of place 0 zeros."""
    found = np.zeros((places.shape[0], size), np.uint8)
    for row in range(places.shape[0]):
        place = np.int64(places[row])
        if place:
            for i in range(size):
                found[row, i] = data[place + i]
    return found


def bucket_ends(histograms: Words) -> NDArray[np.int64]:
    """Return where in `buckets` each row's positive ones, negative ones and bounds end: (3, rows)."""
    lengths = histograms[
        [Histogram.POSITIVE_LENGTH, Histogram.NEGATIVE_LENGTH, Histogram.BOUNDS_LENGTH]
    ].astype(np.int64)
    return np.cumsum(lengths.T.reshape(-1)).reshape(-1, 3).T
