"""Operators: between scalars, between a vector and a scalar, between two vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import matching, nodes
from telemetry.promql.errors import bad_query
from telemetry.promql.values import Scalar, Value, Vector


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry.promql.kernels import Bools, Floats
    from telemetry.promql.limits import Budget

ARITHMETIC: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
COMPARISON: Mapping[str, Callable[[Floats, Floats], Bools]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}


def negate(value: Value) -> Value:
    """Return unary minus of *value*."""
    if isinstance(value, Scalar):
        return Scalar(values=-value.values)
    if isinstance(value, Vector):
        return renamed(value, -value.values)
    raise bad_query("unary minus needs a scalar or an instant vector")


def renamed(value: Vector, values: Floats) -> Vector:
    """Return *value* with other values, which no longer are what its name says."""
    return Vector(
        labels=value.labels,
        values=values,
        present=value.present,
        drop_name=np.ones(len(value.labels), np.bool_),
    )


def operate(node: nodes.Binary, left: Value, right: Value, budget: Budget) -> Value:
    """
    Return `left op right`.

    Raises:
        InvalidInput: QUERY_FAILED: Several series match where one must.

    """
    with np.errstate(all="ignore"):
        match left, right:
            case Scalar(), Scalar():
                return Scalar(values=_elements(node.op, left.values, right.values))
            case Vector(), Scalar():
                budget.spend(left.values.size)
                return _with_scalar(node, left, left.values, right.values[np.newaxis])
            case Scalar(), Vector():
                budget.spend(right.values.size)
                return _with_scalar(node, right, left.values[np.newaxis], right.values)
            case Vector(), Vector():
                budget.spend(left.values.size + right.values.size)
                if node.matching.card is nodes.Card.MANY_TO_MANY:
                    return matching.combine_sets(node, left, right)
                return _between_vectors(node, left, right, budget)
    raise bad_query("an operator needs scalars or instant vectors")


def _elements(op: str, left: Floats, right: Floats) -> Floats:
    if op in ARITHMETIC:
        return ARITHMETIC[op](left, right)
    return COMPARISON[op](left, right).astype(np.float64)


def _with_scalar(node: nodes.Binary, of: Vector, left: Floats, right: Floats) -> Vector:
    if node.op in ARITHMETIC:
        return renamed(of, ARITHMETIC[node.op](left, right))
    keep = COMPARISON[node.op](left, right)
    if node.returns_bool:
        return renamed(of, keep.astype(np.float64))
    # The vector's value is what stays, on whichever side of the operator it stands.
    return Vector(
        labels=of.labels, values=of.values, present=of.present & keep, drop_name=of.drop_name
    )


def _between_vectors(node: nodes.Binary, left: Vector, right: Vector, budget: Budget) -> Vector:
    pairs = matching.pair(node.matching, left, right, budget)
    if node.op in ARITHMETIC:
        values = ARITHMETIC[node.op](pairs.left, pairs.right)
        keep = pairs.present
        labels = [lb.without_metadata(labels) for labels in pairs.labels]
    else:
        holds = COMPARISON[node.op](pairs.left, pairs.right)
        values = holds.astype(np.float64) if node.returns_bool else pairs.left
        keep = pairs.present if node.returns_bool else pairs.present & holds
        labels = pairs.labels
    drop = np.full(len(labels), node.returns_bool, np.bool_)
    result = Vector(labels=labels, values=values, present=pairs.present, drop_name=drop)
    return matching.merge(result, keep=keep, complaint=matching.complaint(node.matching.card))
