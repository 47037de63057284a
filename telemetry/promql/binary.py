"""Operators: between scalars, between a vector and a scalar, between two vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import matching, nodes
from telemetry.promql.errors import bad_query
from telemetry.promql.native import operators
from telemetry.promql.values import Native, Scalar, Value, Vector


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Floats

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
TRIMS = frozenset({"</", ">/"})
"""They cut histograms at a value; between floats they are nothing."""


def negate(value: Value) -> Value:
    """
    Return unary minus of *value*.

    Raises:
        InvalidInput: QUERY_INVALID: It is neither a scalar nor an instant vector.

    """
    if isinstance(value, Scalar):
        return Scalar(values=-value.values)
    if isinstance(value, Vector):
        negated = renamed(value, -value.values)
        return replace(negated, native=operators.negated(value.native))
    raise bad_query("unary minus needs a scalar or an instant vector")


def renamed(value: Vector, values: Floats) -> Vector:
    """Return *value* with other values, floats, which no longer are what its name says."""
    return Vector(
        labels=value.labels,
        values=values,
        present=value.present,
        drop_name=np.ones(len(value.labels), np.bool_),
    )


def operate(ev: Evaluator, node: nodes.Binary, left: Value, right: Value) -> Value:
    """
    Return `left op right`.

    Raises:
        InvalidInput: QUERY_FAILED: Several series match where one must.

    """
    budget = ev.query.budget
    with np.errstate(all="ignore"):
        match left, right:
            case Scalar(), Scalar():
                return Scalar(values=_elements(node.op, left.values, right.values))
            case Vector(), Scalar():
                budget.spend(left.values.size)
                return _with_scalar(ev, node, left, right, swapped=False)
            case Scalar(), Vector():
                budget.spend(right.values.size)
                return _with_scalar(ev, node, right, left, swapped=True)
            case Vector(), Vector():
                budget.spend(left.values.size + right.values.size)
                if node.matching.card is nodes.Card.MANY_TO_MANY:
                    return matching.combine_sets(node, left, right)
                return _between_vectors(ev, node, left, right)
    raise bad_query("an operator needs scalars or instant vectors")


def _elements(op: str, left: Floats, right: Floats) -> Floats:
    if op in ARITHMETIC:
        return ARITHMETIC[op](left, right)
    if op in TRIMS:
        return np.full(np.broadcast_shapes(left.shape, right.shape), np.nan)
    return COMPARISON[op](left, right).astype(np.float64)


def _with_scalar(
    ev: Evaluator, node: nodes.Binary, of: Vector, scalar: Scalar, *, swapped: bool
) -> Vector:
    number = np.broadcast_to(scalar.values, of.values.shape)
    left, right = (number, of.values) if swapped else (of.values, number)
    bare = np.full(of.values.shape, -1, np.int64)
    natives = operators.Sides(
        left=None if swapped else of.native, right=of.native if swapped else None, none=bare
    )
    there = operators.kept(ev, node, natives, left, right, of.present)
    drop = np.ones(len(of.labels), np.bool_)
    if node.op in ARITHMETIC or node.op in TRIMS:
        values = left if node.op in TRIMS else ARITHMETIC[node.op](left, right)
        drop = of.drop_name if node.op in TRIMS else drop
        return replace(of, values=values, present=there.keep, drop_name=drop, native=there.native)
    holds = np.where(there.is_native, there.holds, COMPARISON[node.op](left, right))
    if node.returns_bool:
        values = holds.astype(np.float64)
        return replace(of, values=values, present=there.keep, drop_name=drop, native=None)
    # The vector's value is what stays, on whichever side of the operator it stands.
    return replace(of, present=there.keep & holds)


def _between_vectors(ev: Evaluator, node: nodes.Binary, left: Vector, right: Vector) -> Vector:
    pairs = matching.pair(node.matching, left, right, ev.query.budget)
    natives = operators.Sides(
        left=pairs.left_native,
        right=pairs.right_native,
        none=np.full(pairs.left.shape, -1, np.int64),
    )
    there = operators.kept(ev, node, natives, pairs.left, pairs.right, pairs.present)
    native: Native | None = there.native
    labels = pairs.labels
    keep = there.keep
    if node.op in ARITHMETIC or node.op in TRIMS:
        values = pairs.left if node.op in TRIMS else ARITHMETIC[node.op](pairs.left, pairs.right)
        if node.op in ARITHMETIC:
            labels = [lb.without_metadata(one) for one in labels]
    else:
        holds = np.where(there.is_native, there.holds, COMPARISON[node.op](pairs.left, pairs.right))
        values = holds.astype(np.float64) if node.returns_bool else pairs.left
        native = None if node.returns_bool else pairs.left_native
        keep = keep if node.returns_bool else keep & holds
    drop = np.full(len(labels), node.returns_bool, np.bool_)
    result = Vector(
        labels=labels, values=values, present=pairs.present, drop_name=drop, native=native
    )
    return matching.merge(result, keep=keep, complaint=matching.complaint(node.matching.card))
