"""
Scrapes as the log has them, and their new series read in full.

A scrape's record is a line of JSON (`Header`) and the text as the target gave it.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from telemetry.scan.described import NewSeries
from telemetry.scan.sink import Kind, New


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

_LABEL = re.compile(rb'\s*([a-zA-Z_][a-zA-Z0-9_.]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,?)')
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:.]*")
_ESCAPED = re.compile(r"\\(.)")
_COMMENT = re.compile(rb"^#\s+(TYPE|HELP|UNIT)\s+(\S+)[ \t]*(.*)$", re.MULTILINE)
_KINDS = {
    "counter": Kind.COUNTER,
    "gauge": Kind.GAUGE,
    "histogram": Kind.HISTOGRAM,
    "gaugehistogram": Kind.HISTOGRAM,
    "summary": Kind.SUMMARY,
    "info": Kind.GAUGE,
    "stateset": Kind.GAUGE,
}
_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_created", "_info")


class BadExposition(Exception):
    """A scrape can't be read; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is known of a scrape besides its text."""

    labels: Mapping[str, str]
    """The target's own, `job` and `instance` among them."""

    seconds: bool = False
    """Whether times in it are seconds (OpenMetrics)."""

    stale: bool = False
    """Whether it says which series have ended, whatever their values."""


def sealed(header: Header, text: bytes) -> bytes:
    """Return the request that a scrape is."""
    end = b"" if text.endswith(b"\n") else b"\n"
    return b"".join((json.dumps(asdict(header), sort_keys=True).encode(), b"\n", text, end))


def opened(request: bytes) -> tuple[Header, bytes, int]:
    """
    Return a scrape's header, what makes its target's series ids, and where its text begins.

    Raises:
        BadExposition: It has no header, or doesn't end in a line's end.

    """
    end = request.find(b"\n") + 1
    if not end or not request.endswith(b"\n"):
        raise BadExposition("no header, or cut off")
    try:
        told = json.loads(request[:end])
        header = Header(**told)
    except (ValueError, TypeError):
        raise BadExposition("no header") from None
    return header, json.dumps(dict(header.labels), sort_keys=True).encode(), end


def describe_scraped(
    request: bytes, header: Header, new: NDArray[np.uint64], tenant: str
) -> Iterator[NewSeries]:
    """
    Read the labels of *new* series of a scrape.

    Raises:
        BadExposition: Labels can't be read.
        UnicodeDecodeError: Something is not UTF-8.

    """
    families = _families(request)
    for row in new.tolist():
        key = request[row[New.HEADER] : row[New.HEADER_END]]
        name_bytes, brace, rest = key.partition(b"{")
        name = name_bytes.strip().decode()
        if not _NAME.fullmatch(name):
            raise BadExposition(f"no name of a metric: {name[:100]!r}")
        own = _labels(rest[:-1]) if brace else {}
        labels = {label: value for label, value in own.items() if value}
        for label, value in header.labels.items():
            if label in labels:
                labels[f"exported_{label}"] = labels[label]
            labels[label] = value
        labels["__name__"] = name
        family = families.get(name) or families.get(_family(name), {})
        yield NewSeries(
            tenant=tenant,
            name=name,
            metric=row[New.METRIC],
            series_id=row[New.SERIES],
            labels=dict(sorted(labels.items())),
            kind=_KINDS.get(family.get("TYPE", ""), Kind.UNKNOWN),
            unit=family.get("UNIT", ""),
            description=family.get("HELP", ""),
            otlp_name=name,
            attributes=list(own.items()),
        )


def keys_of(request: bytes) -> Iterator[bytes]:
    """Yield the name and labels of each line of a scrape that was read before."""
    _, _, start = opened(request)
    for raw in request[start:].splitlines():
        line = raw.strip()
        if line and not line.startswith(b"#"):
            match = _KEY.match(line)
            if match:
                yield match[0]


_KEY = re.compile(rb'[^{\s]+(?:[ \t]*\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?')


def _families(request: bytes) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for kind, name, text in _COMMENT.findall(request):
        found.setdefault(name.decode(), {})[kind.decode()] = text.strip().decode()
    return found


def _family(name: str) -> str:
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


def _labels(text: bytes) -> dict[str, str]:
    labels: dict[str, str] = {}
    at = 0
    divided = b","
    while text[at:].strip():
        match = _LABEL.match(text, at)
        if match is None or not divided:
            raise BadExposition(f"labels can't be read: {text[:100]!r}")
        name = match[1].decode()
        if name in labels:
            raise BadExposition(f"a label is there twice: {name}")
        labels[name] = _ESCAPED.sub(
            lambda one: "\n" if one[1] == "n" else one[1], match[2].decode()
        )
        at, divided = match.end(), match[3]
    return labels
