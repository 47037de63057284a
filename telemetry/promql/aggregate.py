"""Aggregation across series, `by` or `without` labels."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql.errors import bad_query, query_failed
from telemetry.promql.folds import Fold, fold_groups
from telemetry.promql.ordered import quantile_groups
from telemetry.promql.values import Vector, take


if TYPE_CHECKING:
    from telemetry.promql import nodes
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Floats, Ints

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
            ev.query.warn(f"quantile value should be between 0 and 1, got {number(q)}")
        order = np.argsort(group, kind="stable")
        bounds = np.searchsorted(group[order], np.arange(len(labels) + 1))
        values, present = quantile_groups(of.values, of.present, order, bounds, param)
        return Vector(labels=labels, values=values, present=present, drop_name=drop)
    if node.op == "limit_ratio":
        return _limit_ratio(ev, of, param)
    return _some(ev, node.op, of, group, param)


def _groups(node: nodes.Aggregate, of: Vector) -> tuple[list[lb.Labels], Ints]:
    index: dict[lb.Labels, int] = {}
    if node.without:
        names = node.names | {lb.NAME}
        keys = (lb.without(labels, names) for labels in of.labels)
    else:
        keys = (lb.only(labels, node.names) for labels in of.labels)
    group = np.fromiter((index.setdefault(key, len(index)) for key in keys), np.int64)
    return list(index), group


def _some(ev: Evaluator, op: str, of: Vector, group: Ints, param: Floats) -> Vector:
    """Return topk, bottomk or limitk: the same series, some of them, at each step."""
    if np.isnan(param).any():
        raise query_failed("Parameter value is NaN")
    if (np.abs(param) > 2.0**63).any():
        raise query_failed(f"Scalar value {number(param[0])} overflows int64")
    wanted = np.trunc(param)
    rank = np.zeros(of.values.shape, np.int64)
    order: list[int] = []
    for rows in _members(group):
        ranks = _ranks(op, of.values[rows], of.present[rows])
        rank[rows] = ranks
        order.extend(rows[np.argsort(ranks[:, 0], kind="stable")].tolist())
    keep = of.present & (rank < wanted)
    chosen = Vector(labels=of.labels, values=of.values, present=keep, drop_name=of.drop_name)
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


def _limit_ratio(ev: Evaluator, of: Vector, param: Floats) -> Vector:
    if np.isnan(param).any():
        raise query_failed("Ratio value is NaN")
    for ratio in np.unique(param[np.abs(param) > 1]):
        capped = math.copysign(1, ratio)
        ev.query.warn(
            f"ratio value should be between -1 and 1, got {number(ratio)}, capping to {capped:g}"
        )
    ratio = np.clip(param, -1.0, 1.0)
    place = np.array([_place(labels) for labels in of.labels]).reshape(-1, 1)
    keep = np.where(ratio >= 0, place < ratio, place >= 1.0 + ratio)
    return Vector(
        labels=of.labels, values=of.values, present=of.present & keep, drop_name=of.drop_name
    )


def _place(labels: lb.Labels) -> float:
    """Return a number in [0, 1) that always is the same for *labels*."""
    digest = hashlib.blake2b(repr(labels).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2.0**48


def _count_values(ev: Evaluator, node: nodes.Aggregate, of: Vector) -> Vector:
    if node.param is None:
        raise bad_query("count_values needs a parameter")
    name = ev.text(node.param)
    if not name:
        raise query_failed(f'invalid label name "{name}"')
    steps = of.values.shape[1]
    distinct, codes = np.unique(of.values[of.present], return_inverse=True)
    code = np.full(of.values.shape, -1, np.int64)
    code[of.present] = codes
    index: dict[lb.Labels, int] = {}
    counts: list[Floats] = []
    texts = [number(v) for v in distinct]
    for i, labels in enumerate(of.labels):
        for c in np.unique(code[i][of.present[i]]).tolist():
            valued = lb.with_value(labels, name, texts[c])
            if node.without:
                key = lb.without(valued, node.names | {lb.NAME})
            else:
                key = lb.only(valued, node.names | {name})
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


def number(value: float) -> str:
    """Return *value* as Prometheus writes it: shortest, without exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return np.format_float_positional(value, unique=True, trim="-")
