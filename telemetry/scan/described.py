"""New series, read in full: their labels, kinds and units, once each."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from telemetry.scan import names
from telemetry.scan.hashing import xxhash64
from telemetry.scan.sink import DELTA, FOLD_ALL, Kind, New, Part
from telemetry.scan.wire import compiled, field


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

OVERFLOW = "__overflow__"
"""What the value of a folded label becomes."""

OVERFLOW_LABEL = "otel_metric_overflow"
"""Where every label is folded this one remains, as in OpenTelemetry's SDKs."""

_ATTRIBUTES = {Kind.HISTOGRAM: 9, Kind.EXPONENTIAL: 1}
"""Field number of a point's attributes; 7 for all others."""

_KINDS = {int(one): one for one in Kind}
_PARTS = {int(one): one for one in Part}
_SUFFIXES = {Part.SUM: "_sum", Part.COUNT: "_count", Part.BUCKET: "_bucket"}


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
    delta: bool = False
    """Whether its values come as differences; they are stored added up."""

    attributes: Sequence[tuple[str, str]] = ()
    """Its labels as its sender writes them, without those of its resource."""


def describe(
    request: bytes, data: Bytes, new: NDArray[np.uint64], tenant: str
) -> Iterator[NewSeries]:
    """
    Read the labels of *new* series of OTLP, a request's parts once each.

    Raises:
        DecodeError: An attribute is no KeyValue, or not UTF-8.
        UnicodeDecodeError: A name is not UTF-8.

    """
    targets: dict[int, dict[str, str]] = {}
    headers: dict[int, tuple[str, str, str]] = {}
    texts: dict[bytes, tuple[str, str]] = {}
    for row in new.tolist():
        resource, start = row[New.RESOURCE], row[New.HEADER]
        kind, part = _KINDS[row[New.KIND]], _PARTS[row[New.PART]]
        if resource not in targets:
            targets[resource] = names.target_labels(
                _attributes(request, data, resource, row[New.RESOURCE_END], 1)
            )
        if start not in headers:
            headers[start] = _header(request, data, start, row[New.HEADER_END])
        otlp_name, description, unit = headers[start]
        name = f"{names.metric_name(otlp_name, unit, kind)}{_SUFFIXES.get(part, '')}"
        point = data[row[New.POINT] : row[New.POINT_END]]
        places = attribute_places(point, _ATTRIBUTES.get(kind, 7)).tolist()
        raw = request[row[New.POINT] : row[New.POINT_END]]
        attributes = [_text(raw[begin:end], texts) for begin, end in places]
        labels = names.labels_of(_folded(attributes, row[New.FOLD])) | targets[resource]
        if row[New.FOLD] == FOLD_ALL:
            labels[OVERFLOW_LABEL] = "true"
        if part in {Part.BUCKET, Part.QUANTILE}:
            (bound,) = struct.unpack("<d", struct.pack("<Q", row[New.BOUND]))
            labels["le" if part is Part.BUCKET else "quantile"] = names.number_text(bound)
        labels["__name__"] = name
        yield NewSeries(
            tenant=tenant,
            name=name,
            metric=row[New.METRIC],
            series_id=row[New.SERIES],
            labels=dict(sorted(labels.items())),
            kind=kind,
            unit=unit,
            description=description,
            otlp_name=otlp_name,
            delta=bool(row[New.FLAGS] & DELTA),
            attributes=attributes,
        )


def key_hash(key: str) -> int:
    """Return the fold key of the label *key*, as its sender writes it."""
    data = np.frombuffer(key.encode(), np.uint8)
    return int(xxhash64(data, 0, len(data)))


def _text(attribute: bytes, known: dict[bytes, tuple[str, str]]) -> tuple[str, str]:
    """Return key and value of a KeyValue as texts; a request repeats most of them."""
    found = known.get(attribute)
    if found is None:
        one = KeyValue.FromString(attribute)
        found = known[attribute] = one.key, names.value_text(one.value)
    return found


@compiled
def attribute_places(data: Bytes, number: int) -> NDArray[np.int64]:
    """Return where the fields *number* of a message begin and end."""
    count = 0
    at = 0
    while at < data.shape[0]:
        found, begin, at = field(data, at, data.shape[0])
        count += found == number
    places = np.zeros((count, 2), np.int64)
    count = 0
    at = 0
    while at < data.shape[0]:
        found, begin, at = field(data, at, data.shape[0])
        if found == number:
            places[count, 0], places[count, 1] = begin, at
            count += 1
    return places


def _folded(attributes: list[tuple[str, str]], fold: int) -> list[tuple[str, str]]:
    """Return *attributes* with the folded one's value replaced; none if all are."""
    if fold == 0:
        return attributes
    if fold == FOLD_ALL:
        return []
    return [(key, OVERFLOW if key_hash(key) == fold else value) for key, value in attributes]


def payloads(data: Bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, stop) of the fields of the message at `data[start:stop]`."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        yield number, begin, at


def _attributes(request: bytes, data: Bytes, start: int, stop: int, number: int) -> list[KeyValue]:
    return [
        KeyValue.FromString(request[begin:end])
        for found, begin, end in payloads(data, start, stop)
        if found == number
    ]


def _header(request: bytes, data: Bytes, start: int, stop: int) -> tuple[str, str, str]:
    """Return (name, description, unit) of a Metric."""
    texts = {
        number: request[begin:end].decode()
        for number, begin, end in payloads(data, start, stop)
        if number <= 3
    }
    return texts.get(1, ""), texts.get(2, ""), texts.get(3, "")
