"""`info()`: series get labels of info metrics such as `target_info`, by `instance` and `job`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import nodes
from telemetry.promql.errors import bad_query, query_failed
from telemetry.promql.matchers import Matcher, MatchOp, matches
from telemetry.promql.matching import merge
from telemetry.promql.values import Value, Vector, take


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Ints

_IDENTIFYING = frozenset({"instance", "job"})
_NONE = -1

Winners = dict[lb.Labels, dict[str, "Ints"]]
"""Identifying labels, to name of an info metric, to each step's row of it, or `_NONE`."""


def info(ev: Evaluator, call: nodes.Call) -> Value:
    """
    Add labels of info metrics to each series that has some.

    Raises:
        InvalidInput: QUERY_FAILED: two info series disagree; QUERY_INVALID.

    """
    base = ev.vector(call.args[0])
    given: tuple[Matcher, ...] = ()
    if len(call.args) > 1:
        if not isinstance(call.args[1], nodes.Selector) or len(call.args[1].selection) != 1:
            raise bad_query("info() takes one set of matchers as its second argument")
        given = call.args[1].selection[0]
    data = tuple(m for m in given if m.name != lb.NAME)
    names = _name_matchers([m for m in given if m.name == lb.NAME])
    selector = nodes.Selector((names + data,), _reference(ev, call.args[0]) or nodes.When())
    found = ev.selected(selector)
    infos, sampled = found.vector, found.ts
    if infos.is_native.any():
        wrong = lb.text(infos.labels[int(infos.is_native.any(axis=1).argmax())])
        raise query_failed(f"this should be an info metric, with float samples: {wrong}")
    winners = _winners(infos, sampled)
    itself = _satisfy([lb.get(labels, lb.NAME) for labels in base.labels], names)
    keeps_bare = all(matches([""], matcher)[0] for matcher in data)
    wanted = frozenset(matcher.name for matcher in data)
    rows: list[tuple[lb.Labels, int, Bools]] = []
    for i, labels in enumerate(base.labels):
        known = lb.only(labels, _IDENTIFYING)
        if itself[i]:
            rows.append((labels, i, base.present[i]))
            continue
        of_names = winners.get(known, {}) if known else {}
        for chosen, where in _combinations(of_names, base.present[i]):
            if not chosen and not keeps_bare:
                continue
            added = _added(labels, [infos.labels[row] for row in chosen], wanted)
            rows.append((lb.make([*labels, *added.items()]), i, where))
    ev.query.budget.spend(len(rows) * ev.times.size)
    of = np.array([i for _, i, _ in rows], np.int64)
    return merge(
        Vector(
            labels=[labels for labels, _, _ in rows],
            values=base.values[of],
            present=np.array([where for _, _, where in rows], np.bool_).reshape(
                len(rows), ev.times.size
            ),
            drop_name=base.drop_name[of],
            native=take(base, of).native,
        )
    )


def _name_matchers(given: list[Matcher]) -> tuple[Matcher, ...]:
    """Return what an info metric's name must satisfy: `target_info` unless said."""
    if any(m.op in (MatchOp.EQUAL, MatchOp.REGEX) for m in given):
        return tuple(given)
    if given:
        return (Matcher(lb.NAME, MatchOp.REGEX, ".+_info"), *given)
    return (Matcher(lb.NAME, MatchOp.EQUAL, "target_info"),)


def _satisfy(values: Sequence[str], conditions: Sequence[Matcher]) -> Bools:
    found = np.ones(len(values), np.bool_)
    for matcher in conditions:
        found &= matches(values, matcher)
    return found


def _reference(ev: Evaluator, node: nodes.Node) -> nodes.When | None:
    """Return which time the first selector in *node* looks at: its info series' time too."""
    match node:
        case nodes.Selector():
            return node.when
        case nodes.Range():
            return node.selector.when
        case nodes.Subquery():
            inner = _reference(ev, node.expr)
            if inner is None or inner.at is not None:
                return inner
            offset = ev.query.ms(inner.offset) + ev.query.ms(node.when.offset)
            return nodes.When(offset=offset, at=node.when.at)
        case nodes.Unary() | nodes.Aggregate():
            return _reference(ev, node.expr)
        case nodes.Binary():
            return _reference(ev, node.left) or _reference(ev, node.right)
        case nodes.Call():
            return next((found for arg in node.args if (found := _reference(ev, arg))), None)
        case _:
            return None


def _winners(infos: Vector, sampled: Ints) -> Winners:
    """Return at each step the info series with the newest sample, by what they identify."""
    groups: dict[tuple[lb.Labels, str], list[int]] = {}
    for row, labels in enumerate(infos.labels):
        key = (lb.only(labels, _IDENTIFYING), lb.get(labels, lb.NAME))
        groups.setdefault(key, []).append(row)
    found: Winners = {}
    for (known, name), rows in groups.items():
        age = np.where(infos.present[rows], sampled[rows], np.iinfo(np.int64).min)
        best = age.argmax(axis=0)
        there = infos.present[rows].any(axis=0)
        tied = ((age == age.max(axis=0)) & infos.present[rows]).sum(axis=0) > 1
        if tied.any():
            texts = sorted(lb.text(infos.labels[row]) for row in rows)
            raise query_failed(f"found duplicate series for info metric: {', '.join(texts[:2])}")
        found.setdefault(known, {})[name] = np.where(there, np.array(rows)[best], _NONE)
    return found


def _combinations(of_names: dict[str, Ints], present: Bools) -> list[tuple[tuple[int, ...], Bools]]:
    """Return each set of info series that belongs to a series at some steps, and which."""
    if not of_names:
        return [((), present)]
    stacked = np.array(list(of_names.values()))
    distinct, which = np.unique(stacked, axis=1, return_inverse=True)
    return [
        (tuple(row for row in distinct[:, k].tolist() if row != _NONE), where)
        for k in range(distinct.shape[1])
        if (where := present & (which.reshape(-1) == k)).any()
    ]


def _added(base: lb.Labels, chosen: Sequence[lb.Labels], wanted: frozenset[str]) -> dict[str, str]:
    """Return the labels that *chosen* info series add; the series' own labels stay."""
    own = {name for name, _ in base} | {lb.NAME}
    added: dict[str, str] = {}
    for labels in chosen:
        for name, value in labels:
            if name == lb.NAME or (wanted and name not in wanted):
                continue
            if added.get(name, value) != value:
                raise query_failed(f"conflicting label: {name}")
            if name not in own:
                added[name] = value
    return added
