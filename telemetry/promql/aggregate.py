"""Aggregation across series, `by` or `without` labels."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import notes
from telemetry.promql.errors import bad_query, query_failed
from telemetry.promql.folds import Fold, fold_groups
from telemetry.promql.lex import is_valid, quoted
from telemetry.promql.native import folds as native_folds
from telemetry.promql.native.rows import INCOMPATIBLE
from telemetry.promql.native.texts import text
from telemetry.promql.numbers import general, number
from telemetry.promql.ordered import quantile_groups
from telemetry.promql.values import Native, Vector, floats, take


if TYPE_CHECKING:
    from telemetry.promql import nodes
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Floats, Ints

_TAKES_HISTOGRAMS = frozenset({"count", "group", "limitk", "limit_ratio", "topk", "bottomk"})
_FOLDS = {
    "sum": Fold.SUM,
    "avg": Fold.AVG,
    "min": Fold.MIN,
    "max": Fold.MAX,
    "count": Fold.COUNT,
    "group": Fold.COUNT,
    "stdvar": Fold.STDVAR,
    "stddev": Fold.STDVAR,
}


def aggregate(ev: Evaluator, node: nodes.Aggregate) -> Vector:
    """
    Return the value of an aggregation.

    Raises:
        InvalidInput: QUERY_INVALID: The operator isn't supported.
        InvalidInput: QUERY_FAILED: Its parameter makes no sense.

    """
    of = ev.vector(node.expr)
    if node.op == "count_values":
        return _count_values(ev, node, of)
    labels, group = _groups(node, of)
    drop = np.zeros(len(labels), np.bool_)
    np.logical_or.at(drop, group, of.drop_name & of.present.any(axis=1))
    if node.op in ("sum", "avg") and of.native is not None:
        return replace(_sum(ev, node, of, (labels, group)), drop_name=drop)
    if node.op not in _TAKES_HISTOGRAMS and of.native is not None:
        if of.is_native.any():
            notes.ignored_in_aggregation(ev, node.op, node.expr.at)
        of = floats(of)
    if node.op in _FOLDS:
        values, present = fold_groups(
            int(_FOLDS[node.op]), of.values, of.present, group, len(labels)
        )
        if node.op == "group":
            values = np.ones_like(values)
        elif node.op == "stddev":
            values = np.sqrt(values)
        return Vector(labels=labels, values=values, present=present, drop_name=drop)
    if node.param is None:
        raise bad_query(f"{node.op} needs a parameter")
    param = ev.scalar(node.param).values
    if node.op == "quantile":
        for q in np.unique(param[~((param >= 0) & (param <= 1))]):
            ev.query.warn(
                f"quantile value should be between 0 and 1, got {general(q)}", node.param.at
            )
        order = np.argsort(group, kind="stable")
        bounds = np.searchsorted(group[order], np.arange(len(labels) + 1))
        values, present = quantile_groups(of.values, of.present, order, bounds, param)
        return Vector(labels=labels, values=values, present=present, drop_name=drop)
    if node.op == "limit_ratio":
        return _limit_ratio(ev, of, param, node.param.at)
    return _some(ev, node, of, group, param)


def _sum(
    ev: Evaluator, node: nodes.Aggregate, of: Vector, groups: tuple[list[lb.Labels], Ints]
) -> Vector:
    """Return the sum or mean of floats or of histograms; nothing where a group has both."""
    assert of.native is not None
    labels, group = groups
    at = node.expr.at
    values, present = fold_groups(int(_FOLDS[node.op]), of.values, of.is_float, group, len(labels))
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(len(labels) + 1))
    pool, rows, flags = native_folds.fold_groups(
        of.native.pool,
        np.where(of.present, of.native.rows, -1),
        order,
        bounds,
        node.op == "avg",
    )
    histograms = (rows >= 0) | (flags & INCOMPATIBLE > 0)
    mixed = present & histograms
    if mixed.any():
        ev.query.warn("encountered a mix of histograms and floats for aggregation", at)
    result = Vector(
        labels=labels,
        values=values,
        present=(present | (rows >= 0)) & ~mixed,
        drop_name=np.zeros(len(labels), np.bool_),
        native=Native(pool, np.where(mixed, -1, rows)),
    )
    if (flags & INCOMPATIBLE).any():
        failed = np.asarray((flags & INCOMPATIBLE > 0).any(axis=1))[group]
        names = {lb.get(one, lb.NAME) for one, bad in zip(of.labels, failed, strict=True) if bad}
        for name in sorted(names):
            ev.query.warn(f"{notes.MIXED_SCHEMAS} {quoted(name)}", at)
    notes.flagged(ev, result, flags & ~INCOMPATIBLE, at, "aggregation")
    return result


def _groups(node: nodes.Aggregate, of: Vector) -> tuple[list[lb.Labels], Ints]:
    if not node.names and not node.without:
        return [()] if of.labels else [], np.zeros(len(of.labels), np.int64)
    if len(node.names) == 1 and not node.without:
        return _by(node.names[0], of)
    index: dict[lb.Labels, int] = {}
    if node.without:
        names = {*node.names, lb.NAME}
        keys = [lb.without(labels, names) for labels in of.labels]
    else:
        keys = [lb.only(labels, node.names) for labels in of.labels]
    group = np.array([index.setdefault(key, len(index)) for key in keys], np.int64)
    return list(index), group


def _by(name: str, of: Vector) -> tuple[list[lb.Labels], Ints]:
    """Return the groups by one label: a third of the time that more of them take."""
    index: dict[tuple[str, str] | None, int] = {}
    group = []
    for labels in of.labels:
        found = None
        for pair in labels:
            if pair[0] == name:
                found = pair
                break
        group.append(index.setdefault(found, len(index)))
    return [() if pair is None else (pair,) for pair in index], np.array(group, np.int64)


def _some(ev: Evaluator, node: nodes.Aggregate, of: Vector, group: Ints, param: Floats) -> Vector:
    """Return topk, bottomk or limitk: the same series, some of them, at each step."""
    if np.isnan(param).any():
        raise query_failed("Parameter value is NaN")
    if (np.abs(param) > 2.0**63).any():
        raise query_failed(f"Scalar value {number(param[0])} overflows int64")
    op = node.op
    wanted = np.trunc(param)
    if op != "limitk" and of.native is not None:
        if of.is_native.any():
            notes.ignored_in_aggregation(ev, op, node.expr.at)
        of = floats(of)
    rank = np.zeros(of.values.shape, np.int64)
    order: list[int] = []
    for rows in _members(group):
        ranks = _ranks(op, of.values[rows], of.present[rows])
        rank[rows] = ranks
        order.extend(rows[np.argsort(ranks[:, 0], kind="stable")].tolist())
    keep = of.present & (rank < wanted)
    chosen = replace(of, present=keep)
    if ev.query.is_instant and op != "limitk":
        return take(chosen, np.array(order, np.int64))
    return chosen


def _members(group: Ints) -> list[Ints]:
    """Return the rows of each group, in order."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group))[:-1]) if group.size else []


def _ranks(op: str, values: Floats, present: Bools) -> Ints:
    if op == "limitk":
        return np.where(present, np.cumsum(present, axis=0) - 1, np.iinfo(np.int64).max)
    key = -values if op == "topk" else values.copy()
    # NaN is the worst of both; what is absent comes behind it.
    tier = np.where(present, np.isnan(key), 2)
    key[np.isnan(key) | ~present] = 0.0
    order = np.lexsort((key, tier), axis=0)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[0])[:, np.newaxis], axis=0)
    return ranks


def _limit_ratio(ev: Evaluator, of: Vector, param: Floats, at: int) -> Vector:
    if np.isnan(param).any():
        raise query_failed("Ratio value is NaN")
    for ratio in np.unique(param[np.abs(param) > 1]):
        capped = math.copysign(1, ratio)
        ev.query.warn(
            f"ratio value should be between -1 and 1, got {general(ratio)}, capping to {capped:g}",
            at,
        )
    ratio = np.clip(param, -1.0, 1.0)
    place = np.array([_place(labels) for labels in of.labels]).reshape(-1, 1)
    keep = np.where(ratio >= 0, place < ratio, place >= 1.0 + ratio)
    return replace(of, present=of.present & keep)


def _place(labels: lb.Labels) -> float:
    """Return a number in [0, 1) that always is the same for *labels*."""
    digest = hashlib.blake2b(repr(labels).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2.0**48


def _written(of: Vector) -> tuple[list[str], Ints]:
    """Return the texts of histograms, and which of them each is."""
    assert of.native is not None
    rows, which = np.unique(of.native.rows[of.is_native], return_inverse=True)
    texts = [text(of.native.pool, i) for i in rows.tolist()]
    distinct = sorted(set(texts))
    place = np.array([distinct.index(one) for one in texts], np.int64)
    return distinct, place[which]


def _count_values(ev: Evaluator, node: nodes.Aggregate, of: Vector) -> Vector:
    if node.param is None:
        raise bad_query("count_values needs a parameter")
    name = ev.raw_text(node.param)
    if not name or not is_valid(name):
        raise query_failed(f"invalid label name {quoted(name)}")
    steps = of.values.shape[1]
    distinct, codes = np.unique(of.values[of.is_float], return_inverse=True)
    code = np.full(of.values.shape, -1, np.int64)
    code[of.is_float] = codes
    index: dict[lb.Labels, int] = {}
    counts: list[Floats] = []
    texts = [number(v) for v in distinct]
    if of.native is not None and of.is_native.any():
        written, where = _written(of)
        code[of.is_native] = len(texts) + where
        texts += written
    for i, labels in enumerate(of.labels):
        for c in np.unique(code[i][of.present[i]]).tolist():
            valued = lb.with_value(labels, name, texts[c])
            if node.without:
                key = lb.without(valued, {*node.names, lb.NAME})
            else:
                key = lb.only(valued, {*node.names, name})
            row = index.setdefault(key, len(index))
            if row == len(counts):
                ev.query.budget.spend(steps)
                counts.append(np.zeros(steps))
            counts[row] += code[i] == c
    values = np.array(counts).reshape(len(counts), steps)
    return Vector(
        labels=list(index),
        values=values,
        present=values > 0,
        drop_name=np.zeros(len(index), np.bool_),
    )
