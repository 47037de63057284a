"""
OpenTelemetry's names as Prometheus has them (OTel: compatibility/prometheus_and_openmetrics).

What we decided where the specification leaves a choice:

- A metric's name: every run of characters other than letters, digits, `_` and `:` becomes one
  `_`; then the unit as a word (`s` -> `seconds`, `By/s` -> `bytes_per_second`), unless the name
  has it already; then `_total` for a monotonic sum and `_ratio` for a gauge of unit `1`.
  Annotations in braces (`{request}`) are no unit.
- Histograms are classic ones: `_bucket` with `le`, `_count`, `_sum`. Exponential ones are native:
  one series without a suffix. Summaries: `quantile`.
- `service.namespace/service.name` is `job`, `service.instance.id` is `instance`; no other
  resource attribute and no scope becomes a label.
- Labels: characters other than letters, digits and `_` become `_`; a leading digit gets `key_`.
  Attributes that collide are joined with `;` in the order of their original names.
"""

from __future__ import annotations

import base64
import json
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from telemetry.scan.sink import Kind


if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

_NAMES_KEPT = 4096
_NOT_NAME = re.compile(r"[^a-zA-Z0-9_:]+")
_NOT_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_ANNOTATION = re.compile(r"\{[^}]*\}")
_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "kBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
    "1": "",
}
_PER = {
    "s": "second",
    "m": "minute",
    "min": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}


@lru_cache(_NAMES_KEPT)
def metric_name(name: str, unit: str, kind: Kind) -> str:
    """Return the Prometheus name of an OTLP metric; a histogram's without its part."""
    full = _NOT_NAME.sub("_", name)
    if full[:1].isdigit():
        full = f"_{full}"
    total = kind is Kind.COUNTER
    full = full.removesuffix("_total") if total else full
    for word in _unit_words(unit):
        if word and word not in full.split("_"):
            full = f"{full}_{word}"
    if total:
        full = f"{full}_total"
    elif kind is Kind.GAUGE and unit == "1" and not full.endswith("_ratio"):
        full = f"{full}_ratio"
    return full


def _unit_words(unit: str) -> list[str]:
    plain = _ANNOTATION.sub("", unit).strip()
    main, slash, per = plain.partition("/")
    words = [_NOT_NAME.sub("_", _UNITS.get(main, main)).strip("_")]
    if slash and per:
        words.append("per_" + _NOT_NAME.sub("_", _PER.get(per, per)).strip("_"))
    return words


def target_labels(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Return `job` and `instance` of a resource, where it has them."""
    known = {
        attribute.key: value_text(attribute.value)
        for attribute in attributes
        if attribute.key in {"service.name", "service.namespace", "service.instance.id"}
    }
    labels = {}
    if name := known.get("service.name"):
        space = known.get("service.namespace")
        labels["job"] = f"{space}/{name}" if space else name
    if instance := known.get("service.instance.id"):
        labels["instance"] = instance
    return labels


def point_labels(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Return the labels of a data point's attributes; those of empty values are absent."""
    return labels_of((one.key, value_text(one.value)) for one in attributes)


def labels_of(attributes: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the labels of attributes whose values are texts already."""
    labels: dict[str, str] = {}
    for key, value in sorted(attributes):
        label = label_name(key)
        if label and value:
            labels[label] = f"{labels[label]};{value}" if label in labels else value
    return labels


@lru_cache(_NAMES_KEPT)
def label_name(key: str) -> str:
    """Return the label of an attribute's *key*."""
    label = _NOT_LABEL.sub("_", key)
    return f"key_{label}" if label[:1].isdigit() else label


def value_text(value: AnyValue) -> str:
    """Return an attribute's value as text; lists and maps as JSON, bytes in base64."""
    if value.HasField("string_value"):
        return value.string_value
    if value.HasField("int_value"):
        return str(value.int_value)
    plain = _plain(value)
    if isinstance(plain, str):
        return plain
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


def _plain(value: AnyValue) -> object:
    match value.WhichOneof("value"):
        case "array_value":
            return [_plain(one) for one in value.array_value.values]
        case "kvlist_value":
            return {one.key: _plain(one.value) for one in value.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "double_value":
            return number_text(value.double_value)
        case None:
            return ""
        case which:
            plain: object = getattr(value, which)
            return plain


def number_text(number: float) -> str:
    """Return *number* as Prometheus writes it in `le` and `quantile`: `0.005`, `10`, `+Inf`."""
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    if math.isnan(number):
        return "NaN"
    short = repr(number)
    if "e" not in short:
        return short.removesuffix(".0")
    digits, _, exponent = short.partition("e")
    places = max(0, len(digits.partition(".")[2]) - int(exponent))
    return f"{number:.{places}f}"
