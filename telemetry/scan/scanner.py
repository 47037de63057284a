"""One OTLP request judged: is it well-formed, what will be stored, which series are new."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from meshkit.errors import InvalidInput
from telemetry.scan import names
from telemetry.scan.hashing import find, insert_all, xxhash64
from telemetry.scan.points import NEW_FIELDS, Count, Kind, Part, scan_metrics
from telemetry.scan.records import scan_records
from telemetry.scan.shapes import Signal, shapes
from telemetry.scan.wire import Fault, check, field


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

MESSAGES_MAX = 2_000_000
"""Most fields in one request: 2 bytes on the wire can be 100 in the loader's memory."""

_TABLE_START = 1 << 14
_EMPTY = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSeries:
    """A series seen for the first time, as its row in the table `series`."""

    tenant: str
    name: str
    metric: int
    series_id: int
    labels: dict[str, str]
    kind: Kind
    unit: str
    description: str
    otlp_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a request holds. `items` = stored items + all of `refused`."""

    items: int
    """Points, log records or spans."""

    rows: int
    """Rows that the loader will make: a histogram's point is several."""

    refused: dict[Count, int]
    new_series: list[NewSeries]

    @property
    def stored(self) -> int:
        """Items that will be stored."""
        return self.items - sum(self.refused.values())


class Scanner:
    """
    Judges requests, and remembers which series are known.

    `judge` may run on any thread; it reads what `learn`, called on one thread, replaces.
    """

    def __init__(self) -> None:
        self._known = np.zeros(_TABLE_START, np.uint64)
        self._count = 0

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

    def is_known(self, series_id: int) -> bool:
        """Whether the series is known."""
        return bool(find(self._known, np.uint64(series_id)) >= 0)

    def judge(self, signal: Signal, request: bytes, received_ns: int, tenant: str = "") -> Scan:
        """
        Check and count *request*.

        Raises:
            InvalidInput: `MALFORMED_OTLP`: the bytes can't be read, by us or by the store.

        """
        data = np.frombuffer(request, np.uint8)
        tables = shapes(signal)
        fault, offset = check(data, tables.kinds, tables.children, tables.groups, MESSAGES_MAX)
        if fault:
            raise InvalidInput(
                "MALFORMED_OTLP",
                "The request is not well-formed OTLP.",
                fault=Fault(fault).name,
                offset=str(offset),
            )
        new_series: list[NewSeries] = []
        received = np.uint64(received_ns)
        if signal is Signal.METRICS:
            counts, new = self._scan_metrics(data, received, tenant)
            new_series = list(_describe(request, data, new, tenant))
        else:
            counts = scan_records(data, received, signal is Signal.TRACES)
        return Scan(
            items=int(counts[Count.ITEMS]),
            rows=int(counts[Count.ROWS]),
            refused={one: int(counts[one]) for one in Count if one >= Count.TIME and counts[one]},
            new_series=new_series,
        )

    def _scan_metrics(
        self, data: Bytes, received: np.uint64, tenant: str
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        name = np.frombuffer(tenant.encode(), np.uint8) if tenant else _EMPTY
        tenant_hash = np.uint64(xxhash64(name, 0, len(name)))  # numba returns plain ints
        new = np.zeros((64, NEW_FIELDS), np.uint64)
        counts, filled = scan_metrics(data, tenant_hash, received, self._known, new)
        if filled > len(new):
            new = np.zeros((filled, NEW_FIELDS), np.uint64)
            counts, filled = scan_metrics(data, tenant_hash, received, self._known, new)
        _, first = np.unique(new[:filled, 0], return_index=True)
        return counts, new[first]

    def warm(self) -> None:
        """Load or compile every scanner; the first time on a machine takes ten seconds."""
        for signal in Signal:
            self.judge(signal, b"", 1)
        self.learn([])
        self.is_known(1)


def _describe(
    request: bytes, data: Bytes, new: NDArray[np.uint64], tenant: str
) -> Iterator[NewSeries]:
    """Read the labels of new series, a request's parts once each."""
    try:
        targets: dict[int, dict[str, str]] = {}
        headers: dict[int, tuple[str, str, str]] = {}
        for row in new.tolist():
            series_id, metric, kind_number, part_number, bits = row[:5]
            resource, resource_end, start, stop, point, point_end = row[5:]
            kind, part = Kind(kind_number), Part(part_number)
            if resource not in targets:
                targets[resource] = names.target_labels(
                    _attributes(request, data, resource, resource_end, 1)
                )
            if start not in headers:
                headers[start] = _header(request, data, start, stop)
            otlp_name, description, unit = headers[start]
            name = names.metric_name(otlp_name, unit, kind)
            suffix = {Part.SUM: "_sum", Part.COUNT: "_count", Part.BUCKET: "_bucket"}.get(part, "")
            attributes = _attributes(
                request, data, point, point_end, 9 if kind is Kind.HISTOGRAM else 7
            )
            labels = names.point_labels(attributes) | targets[resource]
            if part in {Part.BUCKET, Part.QUANTILE}:
                (bound,) = struct.unpack("<d", struct.pack("<Q", bits))
                key = "le" if part is Part.BUCKET else "quantile"
                labels[key] = names.number_text(bound)
            labels["__name__"] = f"{name}{suffix}"
            yield NewSeries(
                tenant=tenant,
                name=labels["__name__"],
                metric=metric,
                series_id=series_id,
                labels=dict(sorted(labels.items())),
                kind=kind,
                unit=unit,
                description=description,
                otlp_name=otlp_name,
            )
    except (DecodeError, UnicodeDecodeError):
        raise InvalidInput(
            "MALFORMED_OTLP", "A name or an attribute is not UTF-8.", fault="ENCODING"
        ) from None


def _payloads(data: Bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, stop) of the fields of the message at `data[start:stop]`."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        yield number, begin, at


def _attributes(request: bytes, data: Bytes, start: int, stop: int, number: int) -> list[KeyValue]:
    return [
        KeyValue.FromString(request[begin:end])
        for found, begin, end in _payloads(data, start, stop)
        if found == number
    ]


def _header(request: bytes, data: Bytes, start: int, stop: int) -> tuple[str, str, str]:
    """Return (name, description, unit) of a Metric."""
    texts = {
        number: request[begin:end].decode()
        for number, begin, end in _payloads(data, start, stop)
        if number <= 3
    }
    return texts.get(1, ""), texts.get(2, ""), texts.get(3, "")
