"""Envoy's matchers of strings, headers, queries and metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import re2

from gateway.explain.call import Headers
from gateway.explain.steps import NotModelled, kind_of, only


MISSING: Any = object()
"""A value that isn't there."""


def string_matches(matcher: Any, value: str) -> bool:
    """Whether a `StringMatcher` takes *value*."""
    kind = kind_of(matcher, "match_pattern", "exact", "prefix", "suffix", "safe_regex", "contains")
    if kind == "safe_regex":
        return regex_matches(matcher.safe_regex, value)
    pattern = getattr(matcher, kind) if kind else ""
    if matcher.ignore_case:
        pattern, value = pattern.lower(), value.lower()
    if kind == "exact":
        return bool(value == pattern)
    if kind == "prefix":
        return value.startswith(pattern)
    if kind == "suffix":
        return value.endswith(pattern)
    if kind == "contains":
        return pattern in value
    raise NotModelled("StringMatcher without a pattern")


def regex_matches(matcher: Any, value: str) -> bool:
    """Whether a `RegexMatcher` takes the whole of *value*."""
    only(matcher, "google_re2", "regex")
    return re2.fullmatch(matcher.regex, value) is not None


def header_matches(matcher: Any, headers: Headers) -> bool:
    """
    Whether a `HeaderMatcher` takes *headers*; a header that isn't there matches no value.

    Of a header that is there several times one must match, as in Envoy 1.39 and later; before,
    all of them were matched as one, with commas between.
    """
    values = headers.values.get(matcher.name.lower(), [])
    kind = kind_of(
        matcher,
        "header_match_specifier",
        "present_match",
        "string_match",
        "exact_match",
        "prefix_match",
        "suffix_match",
        "contains_match",
        "safe_regex_match",
        "range_match",
    )
    if kind in ("", "present_match"):
        wanted = matcher.present_match if kind else True
        return bool((bool(values) == wanted) != matcher.invert_match)
    if not values:
        if not matcher.treat_missing_header_as_empty:
            return False
        values = [""]
    found = any(_value_matches(matcher, kind, value) for value in values)
    return found is not bool(matcher.invert_match)


def _value_matches(matcher: Any, kind: str, value: str) -> bool:
    if kind == "string_match":
        return string_matches(matcher.string_match, value)
    if kind == "safe_regex_match":
        return regex_matches(matcher.safe_regex_match, value)
    if kind == "range_match":
        wanted = matcher.range_match
        number = value.removeprefix("-")
        return number.isdecimal() and wanted.start <= int(value) < wanted.end
    pattern = getattr(matcher, kind)
    if kind == "exact_match":
        return bool(value == pattern)
    if kind == "prefix_match":
        return value.startswith(pattern)
    if kind == "suffix_match":
        return value.endswith(pattern)
    return pattern in value


def query_of(path: str) -> dict[str, str]:
    """Return the query parameters of *path* as they stand, the first of each name."""
    found: dict[str, str] = {}
    for pair in path.partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        if name:
            found.setdefault(name, value)
    return found


def query_matches(matcher: Any, query: Mapping[str, str]) -> bool:
    """Whether a `QueryParameterMatcher` takes *query*."""
    value = query.get(matcher.name)
    kind = kind_of(matcher, "query_parameter_match_specifier", "string_match", "present_match")
    if kind == "string_match":
        return value is not None and string_matches(matcher.string_match, value)
    wanted = matcher.present_match if kind else True
    return bool((value is not None) == wanted)


def route_matches(match: Any, headers: Headers, *, random: int | None = None) -> bool:
    """Whether a `RouteMatch` takes the request."""
    only(
        match,
        *("prefix", "path", "safe_regex", "path_separated_prefix", "case_sensitive"),
        *("headers", "query_parameters", "grpc", "runtime_fraction"),
    )
    return (
        path_matches(match, headers.path)
        and (not match.HasField("grpc") or headers.is_grpc)
        and all(header_matches(one, headers) for one in match.headers)
        and _all_queries(match.query_parameters, headers.path)
        and fraction_matches(match, random)
    )


def path_matches(match: Any, full_path: str) -> bool:
    """Whether the path part of a `RouteMatch` takes *full_path*, whose query doesn't count."""
    kind = kind_of(match, "path_specifier", "prefix", "path", "safe_regex", "path_separated_prefix")
    path = full_path.partition("?")[0].partition("#")[0]
    if kind == "safe_regex":
        return regex_matches(match.safe_regex, path)
    if not kind:
        raise NotModelled("RouteMatch without a path")
    pattern = getattr(match, kind)
    if match.HasField("case_sensitive") and not match.case_sensitive.value:
        path, pattern = path.lower(), pattern.lower()
    if kind == "path":
        return bool(path == pattern)
    if kind == "prefix":
        return path.startswith(pattern)
    return path == pattern or path.startswith(f"{pattern}/")


def _all_queries(matchers: Sequence[Any], path: str) -> bool:
    if not matchers:
        return True
    query = query_of(path)
    return all(query_matches(one, query) for one in matchers)


def fraction_matches(match: Any, random: int | None) -> bool:
    """Whether the runtime fraction of a `RouteMatch` takes the request."""
    if not match.HasField("runtime_fraction"):
        return True
    fraction = match.runtime_fraction.default_value
    whole = (100, 10_000, 1_000_000)[fraction.denominator]
    if fraction.numerator in (0, whole):
        return bool(fraction.numerator)
    if random is None:
        raise NotModelled("a share of the requests, without a random value")
    return bool(random % whole < fraction.numerator)


def metadata_matches(matcher: Any, metadata: Mapping[str, Any]) -> bool:
    """Whether a `MetadataMatcher` takes the request's dynamic *metadata*."""
    only(matcher, "filter", "path", "value", "invert")
    value: Any = metadata.get(matcher.filter, MISSING)
    for segment in matcher.path:
        value = value.get(segment.key, MISSING) if isinstance(value, Mapping) else MISSING
    return value_matches(matcher.value, value) is not bool(matcher.invert)


def value_matches(matcher: Any, value: Any) -> bool:
    """Whether a `ValueMatcher` takes *value*, which is JSON or MISSING."""
    kind = kind_of(
        matcher,
        "match_pattern",
        *("null_match", "double_match", "string_match", "bool_match"),
        *("present_match", "list_match", "or_match"),
    )
    if kind == "present_match":
        return bool((value is not MISSING and value is not None) == matcher.present_match)
    if kind == "null_match":
        return value is None
    if kind == "string_match":
        return isinstance(value, str) and string_matches(matcher.string_match, value)
    if kind == "bool_match":
        return isinstance(value, bool) and value == matcher.bool_match
    if kind == "double_match":
        only(matcher.double_match, "exact")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and float(value) == matcher.double_match.exact
    if kind == "list_match":
        return isinstance(value, list) and any(
            value_matches(matcher.list_match.one_of, item) for item in value
        )
    if kind == "or_match":
        return any(value_matches(one, value) for one in matcher.or_match.value_matchers)
    raise NotModelled("ValueMatcher." + (kind or "nothing"))
