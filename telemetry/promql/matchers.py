"""Which series a selector means. Regular expressions are RE2's: linear in time, anchored."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from telemetry.promql import labels as lb
from telemetry.promql.errors import bad_query
from telemetry.promql.kernels import Bools


_META = frozenset(r"\.+*?()[]{}^$")
PATTERN_BYTES_MAX = 4096


class MatchOp(enum.Enum):
    """How a matcher compares."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; a label that isn't there has the value ""."""

    name: str
    op: MatchOp
    value: str


Selection = tuple[tuple[Matcher, ...], ...]
"""A series is meant if all matchers of any one of the alternatives match."""


def equals(selection: Selection, name: str) -> str:
    """Return the value that every alternative demands of *name*; "" if there is none."""
    found = {
        next((m.value for m in group if m.name == name and m.op is MatchOp.EQUAL), "")
        for group in selection
    }
    return found.pop() if len(found) == 1 else ""


def check(selection: Selection) -> None:
    """
    Refuse what RE2 can't read.

    Raises:
        InvalidInput: QUERY_INVALID: A regular expression is malformed or too long.

    """
    for group in selection:
        for matcher in group:
            if matcher.op in (MatchOp.REGEX, MatchOp.NOT_REGEX):
                matches([""], matcher)


def selected(series: Sequence[lb.Labels], selection: Selection) -> Bools:
    """Return which of *series* the selection means."""
    chosen = np.zeros(len(series), np.bool_)
    for group in selection:
        alternative = np.ones(len(series), np.bool_)
        for matcher in group:
            alternative &= matches([lb.get(labels, matcher.name) for labels in series], matcher)
        chosen |= alternative
    return chosen


def matches(values: Sequence[str], matcher: Matcher) -> Bools:
    """
    Return which of *values* satisfy *matcher*.

    Raises:
        InvalidInput: QUERY_INVALID: Its regular expression is malformed or too long.

    """
    wanted = matcher.value
    if matcher.op is MatchOp.EQUAL:
        return np.fromiter((v == wanted for v in values), np.bool_, len(values))
    if matcher.op is MatchOp.NOT_EQUAL:
        return np.fromiter((v != wanted for v in values), np.bool_, len(values))
    found = _full_match(values, wanted)
    return found if matcher.op is MatchOp.REGEX else ~found


def _full_match(values: Sequence[str], pattern: str) -> Bools:
    if not _META.intersection(pattern):
        alternatives = frozenset(pattern.split("|"))
        return np.fromiter((v in alternatives for v in values), np.bool_, len(values))
    distinct = sorted(set(values))
    hits = re2_match(distinct, pattern)
    found = {value for value, hit in zip(distinct, hits.tolist(), strict=True) if hit}
    return np.fromiter((v in found for v in values), np.bool_, len(values))


def re2_match(values: Sequence[str], pattern: str) -> Bools:
    """Return which *values* the whole of *pattern* matches."""
    try:
        hits = pc.match_substring_regex(pa.array(values, pa.string()), anchored(pattern))
    except pa.ArrowInvalid as error:
        raise bad_query(f"invalid regular expression {pattern!r}", pattern=pattern) from error
    return np.asarray(hits.to_numpy(zero_copy_only=False), np.bool_)


def re2_replace(values: Sequence[str], pattern: str, replacement: str) -> list[str]:
    r"""Return *values*, each matched whole by *pattern*, as *replacement* (`\1`) has them."""
    try:
        out = pc.replace_substring_regex(
            pa.array(values, pa.string()), pattern=anchored(pattern), replacement=replacement
        )
    except pa.ArrowInvalid as error:
        raise bad_query(f"invalid regular expression {pattern!r}", pattern=pattern) from error
    return [str(value) for value in out.to_pylist()]


def anchored(pattern: str) -> str:
    r"""Return *pattern* so that it matches whole values, newlines included."""
    if len(pattern) > PATTERN_BYTES_MAX:
        raise bad_query(
            "A regular expression is too long.", pattern_bytes_max=str(PATTERN_BYTES_MAX)
        )
    return rf"\A(?s:{pattern})\z"
