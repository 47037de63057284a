"""
The functions of Prometheus's templates (prometheus.io: configuration/template_reference).

All but `query` and what depends on where the console is are pure.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

import re2

from telemetry.rules.model import parse_duration
from telemetry.rules.template.values import (
    TemplateError,
    compare,
    is_true,
    printf,
    text_of,
)


Function = Callable[..., object]
Query = Callable[[str], Sequence[Mapping[str, object]]]
"""An instant query at the time of evaluation: samples as `{"Labels": ..., "Value": ...}`."""

_SMALL = ("m", "u", "n", "p", "f", "a", "z", "y")
_LARGE = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_BINARY = ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_GROUP = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")
_PATTERN_CHARS_MAX = 4_096


def functions(*, query: Query, now: float, external_url: str = "") -> dict[str, Function]:
    """
    Return all functions by name.

    Args:
        now: Unix seconds of the evaluation.
        external_url: Where people find the console.

    """
    return _PURE | {
        "query": query,
        "now": lambda: now,
        "externalURL": lambda: external_url,
        "pathPrefix": lambda: "",
        "graphLink": lambda expr: _link(expr, 0),
        "tableLink": lambda expr: _link(expr, 1),
    }


def number(value: object) -> float:
    """Return *value* as a number; texts are read."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        return float(value)
    raise TemplateError(f"can't convert {text_of(value)} to a number")


def _g4(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.4g}"


def humanize(given: object) -> str:
    value = number(given)
    if value == 0 or not math.isfinite(value):
        return _g4(value)
    prefix = ""
    if abs(value) >= 1:
        for one in _LARGE:
            if abs(value) < 1000:
                break
            prefix, value = one, value / 1000
    else:
        for one in _SMALL:
            if abs(value) >= 1:
                break
            prefix, value = one, value * 1000
    return f"{_g4(value)}{prefix}"


def humanize1024(given: object) -> str:
    value = number(given)
    if abs(value) <= 1 or not math.isfinite(value):
        return _g4(value)
    prefix = ""
    for one in _BINARY:
        if abs(value) < 1024:
            break
        prefix, value = one, value / 1024
    return f"{_g4(value)}{prefix}"


def humanize_duration(given: object) -> str:
    value = number(given)
    if not math.isfinite(value):
        return _g4(value)
    if value == 0:
        return "0s"
    if abs(value) < 1:
        prefix = ""
        for one in _SMALL:
            if abs(value) >= 1:
                break
            prefix, value = one, value * 1000
        return f"{_g4(value)}{prefix}s"
    sign, value = ("-", -value) if value < 0 else ("", value)
    whole = int(value)
    seconds, minutes, hours, days = (
        whole % 60,
        whole // 60 % 60,
        whole // 3600 % 24,
        whole // 86400,
    )
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{sign}{_g4(value)}s"


def humanize_timestamp(given: object) -> str:
    value = number(given)
    return _g4(value) if not math.isfinite(value) else text_of(to_time(value))


def to_time(given: object) -> datetime:
    value = number(given)
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise TemplateError(f"{text_of(value)} is no time") from None


def first(samples: object) -> object:
    if isinstance(samples, Sequence) and samples:
        return samples[0]
    raise TemplateError("first() called on vector with no elements")


def _part(sample: object, name: str) -> object:
    if not isinstance(sample, Mapping):
        raise TemplateError("not a sample")
    return sample[name]


def _label(name: object, sample: object) -> object:
    labels = _part(sample, "Labels")
    return labels.get(name, "") if isinstance(labels, Mapping) else ""


def _sort_by_label(name: object, samples: object) -> object:
    if not isinstance(samples, Sequence):
        raise TemplateError("not a vector")
    return sorted(samples, key=lambda sample: str(_label(name, sample)))


def _pattern(pattern: object) -> Any:
    if len(str(pattern)) > _PATTERN_CHARS_MAX:
        raise TemplateError("the regular expression is too long")
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(str(pattern), options)
    except re2.error:
        raise TemplateError(f"invalid regular expression {pattern!r}") from None


def _match(pattern: object, text: object) -> bool:
    return _pattern(pattern).search(str(text)) is not None


def _replace_all(pattern: object, replacement: object, text: object) -> str:
    def put(found: Any) -> str:
        def group(name: re.Match[str]) -> str:
            key = name[1] or name[2]
            if key is None:
                return "$"
            try:
                return found.group(int(key) if key.isdigit() else key) or ""
            except (IndexError, KeyError):
                return ""

        return _GROUP.sub(group, str(replacement))

    return str(_pattern(pattern).sub(put, str(text)))


def _link(expr: object, tab: int) -> str:
    return f"/graph?g0.expr={quote_plus(str(expr))}&g0.tab={tab}"


def _index(value: object, *keys: object) -> object:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "")
        elif isinstance(value, Sequence) and isinstance(key, int):
            value = value[key]
        else:
            raise TemplateError("can't index it")
    return value


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping | Sequence):
        return len(value)
    raise TemplateError("len of what has no length")


def _strip_port(text: object) -> str:
    host = str(text)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _strip_domain(text: object) -> str:
    host, colon, port = str(text).partition(":")
    if not host.replace(".", "").isdigit():
        host = host.split(".")[0]
    return f"{host}{colon}{port}"


def _print(*values: object) -> str:
    out = ""
    for i, value in enumerate(values):
        texts = isinstance(value, str) or (i and isinstance(values[i - 1], str))
        out += ("" if not i or texts else " ") + text_of(value)
    return out


_PURE: dict[str, Function] = {
    "first": first,
    "value": lambda sample: _part(sample, "Value"),
    "strvalue": lambda sample: _label("__value__", sample),
    "label": _label,
    "args": lambda *values: {f"arg{i}": value for i, value in enumerate(values)},
    "sortByLabel": _sort_by_label,
    "humanize": humanize,
    "humanize1024": humanize1024,
    "humanizeDuration": humanize_duration,
    "humanizePercentage": lambda value: f"{_g4(number(value) * 100)}%",
    "humanizeTimestamp": humanize_timestamp,
    "toTime": to_time,
    "toDuration": humanize_duration,
    "parseDuration": lambda text: parse_duration(str(text)) / 1000,
    "title": lambda text: re.sub(r"(^|\s)\w", lambda m: m[0].upper(), str(text)),
    "toUpper": lambda text: str(text).upper(),
    "toLower": lambda text: str(text).lower(),
    "match": _match,
    "reReplaceAll": _replace_all,
    "stripPort": _strip_port,
    "stripDomain": _strip_domain,
    "safeHtml": lambda text: text,
    "html": lambda text: html.escape(str(text)),
    "urlquery": lambda text: quote_plus(str(text)),
    "urlQueryEscape": lambda text: quote_plus(str(text)),
    "js": lambda text: json.dumps(str(text))[1:-1],
    "not": lambda value: not is_true(value),
    "eq": lambda left, *others: any(compare(left, other) == 0 for other in others),
    "ne": lambda left, right: compare(left, right) != 0,
    "lt": lambda left, right: compare(left, right) < 0,
    "le": lambda left, right: compare(left, right) <= 0,
    "gt": lambda left, right: compare(left, right) > 0,
    "ge": lambda left, right: compare(left, right) >= 0,
    "len": _length,
    "index": _index,
    "print": _print,
    "println": lambda *values: " ".join(text_of(value) for value in values) + "\n",
    "printf": lambda pattern, *values: printf(str(pattern), values),
}
