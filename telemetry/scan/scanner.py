"""One request judged: is it well-formed, what will be stored, which series are new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError

from meshkit.errors import InvalidInput
from telemetry.scan.batch import BYTES_PER_ROW, Batch, Room, batch_of, empty_sink, expected
from telemetry.scan.batch import warm as warm_batches
from telemetry.scan.cache import drop_stale
from telemetry.scan.described import NewSeries, attribute_places, describe
from telemetry.scan.exponential import scan_exponentials
from telemetry.scan.exposition import root_of, scan_exposition
from telemetry.scan.exposition_described import (
    BadExposition,
    Header,
    describe_scraped,
    opened,
    sealed,
)
from telemetry.scan.hashing import find, find_all, insert_all, int_hash, xxhash64
from telemetry.scan.labels import Column, LabelSets
from telemetry.scan.metrics import list_metrics
from telemetry.scan.points import scan_histograms, scan_numbers, scan_summaries
from telemetry.scan.records import scan_records
from telemetry.scan.remote import scan_remote_write, scan_remote_write_2
from telemetry.scan.remote_described import BadLabels, describe_remote
from telemetry.scan.shapes import AS_ROWS, Signal, shapes
from telemetry.scan.sink import NEW_COLUMNS, PLACES, REFUSE_NEW, Count, Filled, Kind, New, Place
from telemetry.scan.wire import DEPTH_MAX, Fault, Rules, check


if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from telemetry.scan.sink import Sink
    from telemetry.scan.wire import Bytes

    Words = NDArray[np.uint64]

MESSAGES_MAX = 2_000_000
"""Most fields in one request: 2 bytes on the wire can be 100 in the loader's memory."""

OTLP = frozenset({Signal.METRICS, Signal.LOGS, Signal.TRACES})

_POINT_SCANNERS = (
    ({Kind.GAUGE, Kind.COUNTER, Kind.UPDOWN}, scan_numbers),
    ({Kind.HISTOGRAM}, scan_histograms),
    ({Kind.SUMMARY}, scan_summaries),
    ({Kind.EXPONENTIAL}, scan_exponentials),
)
"""Each is compiled when the first of its metrics comes, or before, by `warm_rest`."""

_ALL = 1 << 64
_BYTES_PER_MESSAGE = 2
_NO_LABELS = np.zeros((0, len(Column)), np.uint64)
_TABLE_START = 1 << 14
_EMPTY = np.frombuffer(b"", np.uint8)  # Read-only, as requests are: compiled for nothing else.
_NO_METRICS = np.zeros(2, np.uint64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a request holds. `items` = stored items + all of `refused`."""

    items: int
    """Points, log records or spans."""

    rows: int
    """Rows that the loader will make: a histogram's point is several."""

    folded: int
    """Items stored under a series that stands for many."""

    refused: dict[Count, int]
    new_series: list[NewSeries]

    batch: Batch | None
    """The rows themselves, of a request of metrics."""

    labels: Words
    """Label sets to be remembered, see `Scanner.remember`."""

    @property
    def stored(self) -> int:
        """Items that will be stored."""
        return self.items - sum(self.refused.values())


class TooManyNew(Exception):
    """A request holds more series that aren't known than were to be described."""

    def __init__(self, series: int, items: int) -> None:
        super().__init__(f"{series} new series")
        self.series = series
        self.items = items


class Scanner:
    """
    Judges requests, and remembers which series are known.

    `judge` may run on any thread; it reads what `learn`, `remember` and `fold`, called on one
    thread, replace.
    """

    def __init__(self) -> None:
        drop_stale()
        self._known = np.zeros(_TABLE_START, np.uint64)
        self._count = 0
        self._folds = (_NO_METRICS, _NO_METRICS)
        self._labels = LabelSets()
        self._bytes_per_row: dict[Signal, float] = {}

    @property
    def series(self) -> int:
        """How many series are known."""
        return self._count

    def learn(self, ids: Iterable[int]) -> None:
        """Remember the series *ids*."""
        keys = np.fromiter(ids, np.uint64)
        room = len(self._known)
        while (self._count + len(keys)) * 2 > room:
            room *= 2
        table = self._known
        if room != len(table):
            table = np.zeros(room, np.uint64)
            insert_all(table, self._known[self._known != 0])
        self._count += insert_all(table, keys[keys != 0])
        self._known = table

    def remember(self, scan: Scan) -> None:
        """Have the labels in *scan* known by their bytes. On the thread that calls `learn`."""
        self._labels.learn(scan.labels)

    def fold(self, keys: dict[int, int]) -> None:
        """Fold unknown series of the metrics in *keys* (by `group_of`), by the key there."""
        room = 2
        while len(keys) * 2 > room:
            room *= 2
        over, fold = np.zeros(room, np.uint64), np.zeros(room, np.uint64)
        for group, key in keys.items():
            at = -1 - find(over, np.uint64(group))
            over[at], fold[at] = group, key
        self._folds = (over, fold)

    def are_known(self, ids: Iterable[int]) -> list[bool]:
        """Whether each of the series *ids* is known."""
        known: list[bool] = find_all(self._known, np.fromiter(ids, np.uint64)).tolist()
        return known

    def judge(
        self,
        signal: Signal,
        request: bytes,
        received_ns: int,
        tenant: str = "",
        *,
        refuse_new: bool = False,
        new_max: int | None = None,
    ) -> Scan:
        """
        Check and count *request*.

        Args:
            refuse_new: Refuse points of series that aren't known.
            new_max: How many series may be new; None: any number.

        Raises:
            TooManyNew: More are; none of them was described, which is what costs.
            InvalidInput: `MALFORMED_OTLP`, `MALFORMED_REMOTE_WRITE`: the bytes can't be read, by
                us or by the store.

        """
        data = np.frombuffer(request, np.uint8)
        if not _is_checked_later(signal, data):
            _refuse(signal, *check(data, 0, len(data), _rules(signal)))
        batch = None
        labels = _NO_LABELS
        new_series: list[NewSeries] = []
        received = np.uint64(received_ns)
        if signal in AS_ROWS:
            sink, labels = self._scan_rows(signal, request, received, tenant, refuse_new=refuse_new)
            counts = sink.counts
            batch = batch_of(request, data, sink)
            counts[Count.ROWS] = batch.rows
            _check_new(sink, new_max)
            new_series = _described(signal, request, data, sink, tenant)
        else:
            counts = scan_records(data, received, signal is Signal.TRACES)
        return Scan(
            items=int(counts[Count.ITEMS]),
            rows=int(counts[Count.ROWS]),
            folded=int(counts[Count.FOLDED]),
            refused={one: int(counts[one]) for one in Count if one >= Count.TIME and counts[one]},
            new_series=new_series,
            batch=batch,
            labels=labels,
        )

    def _scan_rows(
        self,
        signal: Signal,
        request: bytes,
        received: np.uint64,
        tenant: str,
        *,
        refuse_new: bool,
    ) -> tuple[Sink, Words]:
        data = np.frombuffer(request, np.uint8)
        name = np.frombuffer(tenant.encode(), np.uint8) if tenant else _EMPTY
        tenant_hash = np.uint64(xxhash64(name, 0, len(name)))  # numba returns plain ints
        over, fold = self._folds
        known = self._known
        remembered = self._labels.for_scan() if signal is Signal.REMOTE_WRITE else None

        def scan(room: Room) -> Sink:
            sink = empty_sink(room, known, over, fold)
            sink.place[REFUSE_NEW] = refuse_new
            if signal is Signal.METRICS:
                metrics = list_metrics(data, tenant_hash, received)
                kinds = set(metrics[:, Place.KIND].tolist())
                for scanned, points in _POINT_SCANNERS:
                    if kinds & scanned:
                        points(data, metrics, sink)
            elif signal is Signal.SCRAPE:
                sink.place[Place.RECEIVED] = received
                _scan_scrape(request, data, tenant, sink)
            elif remembered is not None:
                rules = _rules(signal)
                remembered.filled[0] = 0
                _refuse(
                    signal,
                    *scan_remote_write(data, tenant_hash, received, sink, rules, remembered),
                )
            else:
                scan_remote_write_2(data, tenant_hash, received, sink)
            return sink

        bytes_per_row = self._bytes_per_row.get(signal, BYTES_PER_ROW)
        room = Room.of(len(data), bytes_per_row)
        sink = scan(room)
        self._bytes_per_row[signal] = expected(bytes_per_row, len(data), sink)
        if not room.fits(sink):
            sink = scan(Room.wanted(sink))
        return sink, _NO_LABELS if remembered is None else remembered.new[: remembered.filled[0]]

    def warm(self) -> None:
        """Load or compile what most requests need; the first time on a machine takes a while."""
        for signal in (Signal.METRICS, Signal.LOGS, Signal.TRACES):
            self.judge(signal, b"", 1)
        self._warm_points({Kind.GAUGE, Kind.HISTOGRAM, Kind.SUMMARY})
        attribute_places(_EMPTY, np.zeros((0, NEW_COLUMNS), np.uint64))
        self.learn([])
        self.fold({1: 1})
        self.fold({})
        self.are_known([1])

    def warm_rest(self) -> None:
        """Load or compile all the others, so that no sender waits for it. On a thread of its own."""
        self._warm_points(set(Kind))
        warm_batches()
        for signal in (Signal.REMOTE_WRITE, Signal.REMOTE_WRITE_2):
            self.judge(signal, b"", 1)
        self._labels.warm()
        self.judge(Signal.SCRAPE, sealed(Header(labels={}), b""), 1)

    def _warm_points(self, kinds: set[Kind]) -> None:
        sink = empty_sink(Room.of(0), self._known, *self._folds)
        nothing = np.zeros((0, PLACES), np.uint64)
        for scanned, points in _POINT_SCANNERS:
            if kinds & scanned:
                points(_EMPTY, nothing, sink)


def _check_new(sink: Sink, most: int | None) -> None:
    if most is not None and sink.filled[Filled.NEW] > most:
        series = len(np.unique(sink.new[: sink.filled[Filled.NEW], New.SERIES]))
        if series > most:
            raise TooManyNew(series, int(sink.counts[Count.ITEMS]))


def _is_checked_later(signal: Signal, data: Bytes) -> bool:
    """Whether a scan checks *data*: what was checked before it needn't check again."""
    return signal is Signal.SCRAPE or (
        signal is Signal.REMOTE_WRITE and len(data) < _BYTES_PER_MESSAGE * MESSAGES_MAX
    )


def _rules(signal: Signal) -> Rules:
    tables = shapes(signal)
    return Rules(
        kinds=tables.kinds,
        children=tables.children,
        groups=tables.groups,
        messages_max=np.array([MESSAGES_MAX]),
        stack=np.empty((3, DEPTH_MAX), np.int64),
    )


def _refuse(signal: Signal, fault: int, offset: int) -> None:
    if fault:
        raise InvalidInput(
            "MALFORMED_OTLP" if signal in OTLP else "MALFORMED_REMOTE_WRITE",
            "The request can't be read.",
            fault=Fault(fault).name,
            offset=str(offset),
        )


def _scan_scrape(request: bytes, data: Bytes, tenant: str, sink: Sink) -> None:
    try:
        header, target, start = opened(request)
    except BadExposition as error:
        raise InvalidInput("MALFORMED_SCRAPE", str(error), offset="0") from None
    root = root_of(target, tenant)
    bad = scan_exposition(data, start, root, header.seconds, header.stale, sink)
    if bad >= 0:
        line = request[bad : request.find(b"\n", bad)][:100]
        raise InvalidInput(
            "MALFORMED_SCRAPE", "A line can't be read.", offset=str(bad), line=repr(line)
        )


def group_of(tenant: str, metric: int) -> int:
    """Return the number by which a tenant's *metric*, `NewSeries.metric`, is folded."""
    name = np.frombuffer(tenant.encode(), np.uint8) if tenant else _EMPTY
    whose = np.uint64(xxhash64(name, 0, len(name)))
    return int(int_hash(np.uint64((int(whose) + metric) % _ALL)))


def _described(
    signal: Signal, request: bytes, data: Bytes, sink: Sink, tenant: str
) -> list[NewSeries]:
    """Return the series that a scan found new, each once."""
    new: NDArray[np.uint64] = sink.new[: sink.filled[1]]
    if not len(new):
        return []
    _, first = np.unique(new[:, New.SERIES], return_index=True)
    try:
        if signal in OTLP:
            return list(describe(request, data, new[first], tenant))
        if signal is Signal.SCRAPE:
            return list(describe_scraped(request, opened(request)[0], new[first], tenant))
        return list(describe_remote(signal, request, data, new[first], tenant))
    except (DecodeError, UnicodeDecodeError):
        raise InvalidInput(
            "MALFORMED_OTLP" if signal in OTLP else "MALFORMED_REMOTE_WRITE",
            "A name or an attribute is not UTF-8.",
            fault="ENCODING",
        ) from None
    except BadExposition as error:
        raise InvalidInput("MALFORMED_SCRAPE", str(error), fault="LABELS") from None
    except BadLabels as error:
        raise InvalidInput("MALFORMED_REMOTE_WRITE", str(error), fault="LABELS") from None
