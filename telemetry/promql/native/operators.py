"""Operators where native histograms are among the operands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql.lex import quoted
from telemetry.promql.native import folds
from telemetry.promql.native.columns import Histograms, concatenated, none, select
from telemetry.promql.native.rows import COLLISION, INCOMPATIBLE, RECONCILED
from telemetry.promql.values import Native


if TYPE_CHECKING:
    from telemetry.promql import nodes
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Floats, Ints

_ADDITIONS = {"+": "addition", "-": "subtraction"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The histograms on both sides of an operator, cell by cell."""

    left: Native | None
    right: Native | None
    none: Ints
    """Rows where there is no histogram."""

    def of(self, side: Native | None) -> tuple[Histograms, Ints]:
        """Return one side's pool and rows."""
        return (none(), self.none) if side is None else (side.pool, side.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What an operator leaves."""

    keep: Bools
    """Where there is a result, or a comparison could be made."""

    native: Native | None
    """Results that are histograms, of arithmetic."""

    is_native: Bools
    """Where two histograms were compared."""

    holds: Bools
    """What came of that."""


def negated(native: Native | None) -> Native | None:
    """Return histograms times -1."""
    if native is None:
        return None
    pool, rows = native.pool, native.rows
    every = np.arange(pool.schema.size)
    return Native(folds.scale(pool, every, np.full(every.size, -1.0), False), rows)


def kept(  # noqa: PLR0917 - the operands
    ev: Evaluator, node: nodes.Binary, sides: Sides, left: Floats, right: Floats, present: Bools
) -> Kept:
    """Return where an operator has a result, and its results that are histograms."""
    a, a_rows = sides.of(sides.left)
    b, b_rows = sides.of(sides.right)
    never = np.zeros(present.shape, np.bool_)
    has_a, has_b = present & (a_rows >= 0), present & (b_rows >= 0)
    trims = node.op in ("</", ">/")
    if not trims and not has_a.any() and not has_b.any():
        return Kept(keep=present, native=None, is_native=never, holds=never)
    rows = np.full(present.shape, -1, np.int64)
    found: list[Histograms] = []

    def put(where: Bools, pool: Histograms) -> None:
        before = sum(one.schema.size for one in found)
        rows[where] = before + np.arange(pool.schema.size)
        found.append(pool)

    two, only_a, only_b = has_a & has_b, has_a & ~has_b, has_b & ~has_a
    good = present & ~has_a & ~has_b if not trims else never
    is_native, holds = never, never
    if node.op in _ADDITIONS and two.any():
        good = good | two
        sign = 1.0 if node.op == "+" else -1.0
        pool, flags = folds.pairwise(a, a_rows[two], b, b_rows[two], sign)
        _say(ev, node, flags)
        fits = flags & INCOMPATIBLE == 0
        lost = two.copy()
        lost[two] = ~fits
        good = good & ~lost
        put(two & ~lost, select(pool, np.flatnonzero(fits)))
    if node.op in ("==", "!=") and two.any():
        good, is_native = good | two, two
        same = folds.equals(a, a_rows[two], b, b_rows[two])
        holds = never.copy()
        holds[two] = same if node.op == "==" else ~same
    if node.op == "*":
        put(only_a, folds.scale(a, a_rows[only_a], right[only_a], False))
        put(only_b, folds.scale(b, b_rows[only_b], left[only_b], False))
        good = good | only_a | only_b
    if node.op == "/" or trims:
        pool = (
            folds.scale(a, a_rows[only_a], right[only_a], True)
            if node.op == "/"
            else folds.trim(a, a_rows[only_a], right[only_a], node.op == "</")
        )
        put(only_a, pool)
        good = good | only_a
    settled = good | two if node.op in _ADDITIONS else good
    _complain(ev, node, present & ~settled, has_a, has_b)
    native = Native(concatenated(found), rows) if found else None
    return Kept(keep=good, native=native, is_native=is_native, holds=holds)


def _say(ev: Evaluator, node: nodes.Binary, flags: Ints) -> None:
    operation = _ADDITIONS[node.op]
    if (flags & INCOMPATIBLE).any():
        text = f"incompatible bucket layout encountered for binary operator {node.op}"
        ev.query.warn(text, node.at)
    if (flags & COLLISION).any():
        ev.query.warn(f"conflicting counter resets during histogram {operation}", node.at)
    if (flags & RECONCILED).any():
        text = f"mismatched custom buckets were reconciled during {operation}"
        ev.query.inform(text, node.at)


def _complain(ev: Evaluator, node: nodes.Binary, lost: Bools, has_a: Bools, has_b: Bools) -> None:
    """Say which types of operands the operator can't take."""
    for left in (False, True):
        for right in (False, True):
            if (lost & (has_a == left) & (has_b == right)).any():
                kinds = ["histogram" if side else "float" for side in (left, right)]
                ev.query.inform(
                    f"incompatible sample types encountered for binary operator {quoted(node.op)}: "
                    f"{kinds[0]} {node.op} {kinds[1]}",
                    node.at,
                )
