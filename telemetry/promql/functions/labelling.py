"""Functions of labels, and of the order of series."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import matchers
from telemetry.promql.errors import query_failed
from telemetry.promql.matching import merge
from telemetry.promql.values import Value, Vector, take


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.nodes import Call

_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})|(\\)")
_GROUP = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?!\?)|\(\?P?<(\w+)>", re.DOTALL)
_DIGITS = re.compile(r"(\d+)")


def label_replace(ev: Evaluator, call: Call) -> Value:
    """
    Set a label from a regular expression over another's value.

    Raises:
        InvalidInput: QUERY_FAILED: The expression is malformed, or series become equal.

    """
    of = ev.vector(call.args[0])
    target, replacement, source, pattern = (ev.text(arg) for arg in call.args[1:5])
    if not target:
        raise query_failed(f"invalid destination label name in label_replace(): {target}")
    values = [lb.get(labels, source) for labels in of.labels]
    hits = matchers.re2_match(values, pattern)
    texts = matchers.re2_replace(values, pattern, _rewrite(replacement, pattern))
    new = [
        lb.with_value(labels, target, text) if hit else labels
        for labels, text, hit in zip(of.labels, texts, hits.tolist(), strict=True)
    ]
    return _relabelled(of, new, target, hits)


def _rewrite(replacement: str, pattern: str) -> str:
    r"""Return Go's template (`$1`, `${name}`) as RE2's (`\1`); unknown groups are empty."""
    names = [match[1] or "" for match in _GROUP.finditer(pattern) if match[0].startswith("(")]

    def reference(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        if match[4]:
            return r"\\"
        name = match[2] or match[3]
        if name.isdecimal():
            # RE2's own templates have one digit; more groups than that stay empty.
            return f"\\{name}" if int(name) <= min(len(names), 9) else ""
        return f"\\{names.index(name) + 1}" if name in names else ""

    return _REFERENCE.sub(reference, replacement)


def label_join(ev: Evaluator, call: Call) -> Value:
    """
    Set a label to other labels' values, joined.

    Raises:
        InvalidInput: QUERY_FAILED: Series become equal.

    """
    of = ev.vector(call.args[0])
    target, separator, *sources = (ev.text(arg) for arg in call.args[1:])
    for source in sources:
        if not source:
            raise query_failed(f"invalid source label name in label_join(): {source}")
    if not target:
        raise query_failed(f"invalid destination label name in label_join(): {target}")
    new = [
        lb.with_value(labels, target, separator.join(lb.get(labels, s) for s in sources))
        for labels in of.labels
    ]
    return _relabelled(of, new, target, np.ones(len(new), np.bool_))


def _relabelled(of: Vector, labels: list[lb.Labels], target: str, changed: np.ndarray) -> Vector:
    drop = of.drop_name & ~changed if target == lb.NAME else of.drop_name
    return merge(replace(of, labels=labels, drop_name=drop))


def sort(ev: Evaluator, call: Call) -> Value:
    return _by_value(ev, call, descending=False)


def sort_desc(ev: Evaluator, call: Call) -> Value:
    return _by_value(ev, call, descending=True)


def _by_value(ev: Evaluator, call: Call, *, descending: bool) -> Vector:
    of = ev.floats(call.args[0])
    if not ev.query.is_instant:
        _warn_of_range(ev, call)
        return of
    column = of.values[:, 0] if of.values.shape[1] else np.zeros(0)
    return take(of, np.argsort(-column if descending else column, kind="stable"))


def _warn_of_range(ev: Evaluator, call: Call) -> None:
    ev.query.warn(
        "sort is ineffective for range queries since results are always ordered by labels",
        call.at,
    )


def sort_by_label(ev: Evaluator, call: Call) -> Value:
    return _by_label(ev, call, descending=False)


def sort_by_label_desc(ev: Evaluator, call: Call) -> Value:
    return _by_label(ev, call, descending=True)


def _by_label(ev: Evaluator, call: Call, *, descending: bool) -> Vector:
    of = ev.vector(call.args[0])
    names = [ev.text(arg) for arg in call.args[1:]]
    if not ev.query.is_instant:
        _warn_of_range(ev, call)
        return of
    keys = [_natural_key(labels, names) for labels in of.labels]
    rows = sorted(range(len(keys)), key=keys.__getitem__, reverse=descending)
    return take(of, np.array(rows, np.int64))


def _natural_key(labels: lb.Labels, names: Sequence[str]) -> tuple[object, ...]:
    """Return what sorts by *names*, numbers within by their size, and then by all labels."""
    return (*(_natural(lb.get(labels, name)) for name in names), labels)


def _natural(value: str) -> tuple[tuple[int, int, str], ...]:
    return tuple(
        (0, int(part), part) if part.isdecimal() else (1, 0, part)
        for part in _DIGITS.split(value)
        if part
    )
