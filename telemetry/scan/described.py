"""New series, read in full: their labels, kinds and units, once each."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

_SUFFIXES: dict[int, str] = {Part.SUM: "_sum", Part.COUNT: "_count", Part.BUCKET: "_bucket"}
_BOUNDED: dict[int, str] = {Part.BUCKET: "le", Part.QUANTILE: "quantile"}
"""The label that tells a part's bound."""

_KIND, _POINT, _POINT_END = int(New.KIND), int(New.POINT), int(New.POINT_END)
_HISTOGRAM, _EXPONENTIAL = np.uint64(Kind.HISTOGRAM), np.uint64(Kind.EXPONENTIAL)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """What series of one metric have in common."""

    name: str
    kind: Kind
    unit: str
    description: str
    otlp_name: str


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
    headers: dict[tuple[int, int], _Header] = {}
    texts = _Texts()
    ends, places = attribute_places(data, new)
    spans, at = places.tolist(), 0
    for row, end in zip(new.tolist(), ends.tolist(), strict=True):
        # Taken apart at once: a place asked for by its name takes as long as all of them.
        (
            series_id, metric, kind, part, bound, resource, resource_end,
            header, header_end, _, _, flags, fold,
        ) = row  # fmt: skip
        if resource not in targets:
            targets[resource] = names.target_labels(
                _attributes(request, data, resource, resource_end, 1)
            )
        if (header, part) not in headers:
            headers[header, part] = _header(data[header:header_end], kind, part)
        about = headers[header, part]
        attributes = [texts[request[begin:stop]] for begin, stop in spans[at:end]]
        at = end
        labels = names.labels_of(_folded(attributes, fold)) | targets[resource]
        if fold == FOLD_ALL:
            labels[OVERFLOW_LABEL] = "true"
        if part in _BOUNDED:
            (number,) = struct.unpack("<d", struct.pack("<Q", bound))
            labels[_BOUNDED[part]] = names.number_text(number)
        labels["__name__"] = about.name
        yield NewSeries(
            tenant=tenant,
            name=about.name,
            metric=metric,
            series_id=series_id,
            labels=dict(sorted(labels.items())),
            kind=about.kind,
            unit=about.unit,
            description=about.description,
            otlp_name=about.otlp_name,
            delta=bool(flags & DELTA),
            attributes=attributes,
        )


def key_hash(key: str) -> int:
    """Return the fold key of the label *key*, as its sender writes it."""
    data = np.frombuffer(key.encode(), np.uint8)
    return int(xxhash64(data, 0, len(data)))


class _Texts(dict[bytes, tuple[str, str]]):
    """Key and value of KeyValues as texts, by their bytes: a request repeats most of them."""

    def __missing__(self, attribute: bytes) -> tuple[str, str]:
        """Read one that wasn't asked for before."""
        one = KeyValue.FromString(attribute)
        found = self[attribute] = one.key, names.value_text(one.value)
        return found


@compiled
def attribute_places(
    data: Bytes, new: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """
    Return where the attributes of the points of *new* series of OTLP are.

    First how many there are up to each series and with it, then the (begin, end) of each.
    """
    ends = np.zeros(new.shape[0], np.int64)
    places = np.zeros((8 * new.shape[0], 2), np.int64)
    count = 0
    for i in range(new.shape[0]):
        number = 7
        if new[i, _KIND] == _HISTOGRAM:
            number = 9
        elif new[i, _KIND] == _EXPONENTIAL:
            number = 1
        at: Any = np.int64(new[i, _POINT])
        stop: Any = np.int64(new[i, _POINT_END])
        while at < stop:
            found, begin, at = field(data, at, stop)
            if found != number:
                continue
            if count == places.shape[0]:
                more = np.zeros((2 * count, 2), np.int64)
                more[:count] = places
                places = more
            places[count, 0], places[count, 1] = begin, at
            count += 1
        ends[i] = count
    return ends, places[:count]


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


def _header(metric: Bytes, kind: int, part: int) -> _Header:
    """Read what holds for all series of a *metric* that are the same *part* of its points."""
    texts = {
        number: metric[begin:end].tobytes().decode()
        for number, begin, end in payloads(metric, 0, len(metric))
        if number <= 3
    }
    otlp_name, unit = texts.get(1, ""), texts.get(3, "")
    return _Header(
        name=f"{names.metric_name(otlp_name, unit, Kind(kind))}{_SUFFIXES.get(part, '')}",
        kind=Kind(kind),
        unit=unit,
        description=texts.get(2, ""),
        otlp_name=otlp_name,
    )
