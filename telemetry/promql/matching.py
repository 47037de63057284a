"""Which series of two vectors belong together, and what the result is called."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import nodes
from telemetry.promql.errors import query_failed
from telemetry.promql.kernels import Bools, Floats
from telemetry.promql.limits import Budget
from telemetry.promql.values import Native, Vector, natives, take


SAME_LABELS = "vector cannot contain metrics with the same labelset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Series that belong together, a row for each pair."""

    labels: list[lb.Labels]
    left: Floats
    right: Floats
    present: Bools
    left_native: Native | None = None
    right_native: Native | None = None


def signature(rule: nodes.Matching, labels: lb.Labels) -> lb.Labels:
    """Return the labels that two series must share."""
    if rule.on:
        return lb.only(labels, rule.names)
    return lb.without(labels, (*rule.names, lb.NAME))


def complaint(card: nodes.Card) -> str:
    """Return what to say where two pairs make the same series."""
    if card is nodes.Card.ONE_TO_ONE:
        return "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    return "multiple matches for labels: grouping labels must ensure unique matches"


def pair(rule: nodes.Matching, left: Vector, right: Vector, budget: Budget) -> Pairs:
    """
    Return the pairs of *left* and *right* by *rule*.

    Raises:
        InvalidInput: QUERY_FAILED: Several series match where one must.

    """
    swapped = rule.card is nodes.Card.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    manies, ones = _by_signature(rule, many), _by_signature(rule, one)
    _check_one_side(rule, many, one, ones)
    if rule.card is nodes.Card.ONE_TO_ONE:
        _check_other_side(rule, many, one, manies, ones)
    # Series that came and went share labels without ever meeting: their pairs may be many.
    count = sum(len(indices) * len(ones.get(key, ())) for key, indices in manies.items())
    budget.spend(count * many.values.shape[1])
    couples = [
        (i, j) for key, indices in manies.items() for i in indices for j in ones.get(key, ())
    ]
    of_many = np.array([i for i, _ in couples], np.int64)
    of_one = np.array([j for _, j in couples], np.int64)
    labels = [_result(rule, many.labels[i], one.labels[j]) for i, j in couples]
    many_rows, one_rows = [take(many, of_many)], [take(one, of_one)]
    present = [many_rows[0].present & one_rows[0].present]
    # As Prometheus has it, fill_left is for the "many" side, wherever that stands.
    if rule.fill_right is not None:
        lonely = _lonely(manies, many, ones, one)
        labels += [_result(rule, known, signature(rule, known)) for known in many.labels]
        many_rows.append(many)
        one_rows.append(_filled(many, rule.fill_right))
        present.append(lonely)
    if rule.fill_left is not None:
        lonely = _lonely(ones, one, manies, many)
        labels += [_result(rule, signature(rule, known), known) for known in one.labels]
        many_rows.append(_filled(one, rule.fill_left))
        one_rows.append(one)
        present.append(lonely)
    lefts, rights = (one_rows, many_rows) if swapped else (many_rows, one_rows)
    return Pairs(
        labels=labels,
        left=np.concatenate([side.values for side in lefts]),
        right=np.concatenate([side.values for side in rights]),
        present=np.concatenate(present),
        left_native=natives(lefts),
        right_native=natives(rights),
    )


def _filled(side: Vector, value: float) -> Vector:
    return replace(side, values=np.full_like(side.values, value), native=None)


def _lonely(
    groups: dict[lb.Labels, list[int]],
    side: Vector,
    partners: dict[lb.Labels, list[int]],
    other: Vector,
) -> Bools:
    """Return where the series of *side* are there and none of *other* that belongs to them."""
    lonely = side.present.copy()
    for key, indices in groups.items():
        if key in partners:
            lonely[indices] &= ~other.present[partners[key]].any(axis=0)
    return lonely


def _by_signature(rule: nodes.Matching, side: Vector) -> dict[lb.Labels, list[int]]:
    groups: dict[lb.Labels, list[int]] = {}
    for i, labels in enumerate(side.labels):
        groups.setdefault(signature(rule, labels), []).append(i)
    return groups


def _check_one_side(
    rule: nodes.Matching, many: Vector, one: Vector, ones: dict[lb.Labels, list[int]]
) -> None:
    where = many.present.any(axis=0)
    if rule.fill_left is not None or rule.fill_right is not None:
        where = np.ones_like(where)
    for key, indices in ones.items():
        if len(indices) == 1:
            continue
        doubled = (one.present[indices].sum(axis=0) > 1) & where
        if doubled.any():
            step = int(doubled.argmax())
            texts = sorted(lb.text(one.labels[i]) for i in indices if one.present[i, step])
            side = "left" if rule.card is nodes.Card.ONE_TO_MANY else "right"
            raise query_failed(
                f"found duplicate series for the match group {lb.text(key)} on the {side} "
                f"hand-side of the operation: [{texts[0]}, {texts[1]}];many-to-many matching not "
                "allowed: matching labels must be unique on one side"
            )


def _check_other_side(
    rule: nodes.Matching,
    many: Vector,
    one: Vector,
    manies: dict[lb.Labels, list[int]],
    ones: dict[lb.Labels, list[int]],
) -> None:
    for key, indices in manies.items():
        if len(indices) == 1:
            continue
        there = many.present[indices].sum(axis=0) > 1
        if rule.fill_right is None:
            there &= one.present[ones.get(key, [])].any(axis=0)
        if there.any():
            raise query_failed(complaint(rule.card))


def _result(rule: nodes.Matching, many: lb.Labels, one: lb.Labels) -> lb.Labels:
    if rule.card is nodes.Card.ONE_TO_ONE:
        many = lb.only(many, rule.names) if rule.on else lb.without(many, rule.names)
    for name in rule.include:
        many = lb.with_value(many, name, lb.get(one, name))
    return many


def merge(value: Vector, *, keep: Bools | None = None, complaint: str = SAME_LABELS) -> Vector:
    """
    Return *value* with rows of equal labels made one.

    Args:
        keep: What of the result stays; collisions count before it is applied.

    Raises:
        InvalidInput: QUERY_FAILED: Two of them have a value at the same step.

    """
    kept = value.present if keep is None else keep
    index: dict[lb.Labels, int] = {}
    target = np.fromiter(
        (index.setdefault(labels, len(index)) for labels in value.labels), np.int64
    )
    if len(index) == len(value.labels):
        return replace(value, present=kept)
    steps = value.values.shape[1]
    values = np.full((len(index), steps), np.nan)
    taken = np.zeros((len(index), steps), np.bool_)
    present = np.zeros((len(index), steps), np.bool_)
    drop = np.zeros(len(index), np.bool_)
    rows = np.full((len(index), steps), -1, np.int64)
    for i, row in enumerate(target.tolist()):
        here = value.present[i]
        if (taken[row] & here).any():
            raise query_failed(complaint)
        taken[row] |= here
        values[row][kept[i]] = value.values[i][kept[i]]
        present[row] |= kept[i]
        drop[row] |= value.drop_name[i]
        if value.native is not None:
            rows[row][kept[i]] = value.native.rows[i][kept[i]]
    native = None if value.native is None else Native(value.native.pool, rows)
    return Vector(labels=list(index), values=values, present=present, drop_name=drop, native=native)


def combine_sets(node: nodes.Binary, left: Vector, right: Vector) -> Vector:
    """Return `left and|or|unless right`."""
    ids: dict[lb.Labels, int] = {}
    rule = node.matching
    sides = [
        np.fromiter(
            (ids.setdefault(signature(rule, labels), len(ids)) for labels in side.labels), np.int64
        )
        for side in (left, right)
    ]
    if node.op == "or":
        there = _any_of(sides[0], left.present, len(ids))
        extra = right.present & ~there[sides[1]]
        return merge(
            Vector(
                labels=left.labels + right.labels,
                values=np.concatenate((left.values, right.values)),
                present=np.concatenate((left.present, extra)),
                drop_name=np.concatenate((left.drop_name, right.drop_name)),
                native=natives([left, right]),
            )
        )
    there = _any_of(sides[1], right.present, len(ids))[sides[0]]
    present = left.present & (there if node.op == "and" else ~there)
    return replace(left, present=present)


def _any_of(group: np.ndarray, present: Bools, groups: int) -> Bools:
    out = np.zeros((groups, present.shape[1]), np.bool_)
    np.logical_or.at(out, group, present)
    return out
