"""Which series of two vectors belong together, and what the result is called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from telemetry.promql import labels as lb
from telemetry.promql import nodes
from telemetry.promql.errors import query_failed
from telemetry.promql.kernels import Bools, Floats
from telemetry.promql.values import Vector


SAME_LABELS = "vector cannot contain metrics with the same labelset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Series that belong together, a row for each pair."""

    labels: list[lb.Labels]
    left: Floats
    right: Floats
    present: Bools


def signature(rule: nodes.Matching, labels: lb.Labels) -> lb.Labels:
    """Return the labels that two series must share."""
    if rule.on:
        return lb.only(labels, rule.names)
    return lb.without(labels, rule.names | {lb.NAME})


def complaint(card: nodes.Card) -> str:
    """Return what to say where two pairs make the same series."""
    if card is nodes.Card.ONE_TO_ONE:
        return "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    return "multiple matches for labels: grouping labels must ensure unique matches"


def pair(rule: nodes.Matching, left: Vector, right: Vector) -> Pairs:
    """
    Return the pairs of *left* and *right* by *rule*.

    Raises:
        InvalidInput: QUERY_FAILED: Several series match where one must.

    """
    swapped = rule.card is nodes.Card.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    # As Prometheus has it, fill_left is for the "many" side, wherever that stands.
    fill_many, fill_one = rule.fill_left, rule.fill_right
    ones = _by_signature(rule, one)
    manies = _by_signature(rule, many)
    both_sides = np.logical_and(many.present.any(axis=0), one.present.any(axis=0))
    if fill_many is not None or fill_one is not None:
        both_sides[:] = True
    _check_one_side(rule, one, ones, both_sides)
    steps = one.values.shape[1]
    labels: list[lb.Labels] = []
    rows: list[tuple[Floats, Floats, Bools]] = []
    nothing = np.zeros(steps, np.bool_)
    for key, indices in manies.items():
        partners = ones.get(key, [])
        partnered = one.present[partners].any(axis=0) if partners else nothing
        if rule.card is nodes.Card.ONE_TO_ONE and len(indices) > 1:
            matched = many.present[indices] & (partnered | (fill_one is not None))
            if (matched.sum(axis=0) > 1).any():
                raise query_failed(complaint(rule.card))
        for i in indices:
            for j in partners:
                labels.append(_result(rule, many.labels[i], one.labels[j]))
                rows.append((many.values[i], one.values[j], many.present[i] & one.present[j]))
            if fill_one is not None:
                labels.append(_result(rule, many.labels[i], _shared(rule, many.labels[i])))
                filled = np.full(steps, fill_one)
                rows.append((many.values[i], filled, many.present[i] & ~partnered))
    if fill_many is not None:
        for key, indices in ones.items():
            partners = manies.get(key, [])
            partnered = many.present[partners].any(axis=0) if partners else nothing
            for j in indices:
                labels.append(_result(rule, _shared(rule, one.labels[j]), one.labels[j]))
                filled = np.full(steps, fill_many)
                rows.append((filled, one.values[j], one.present[j] & ~partnered))
    many_values, one_values, present = (
        (np.array([row[k] for row in rows]) for k in range(3))
        if rows
        else (np.zeros((0, steps)), np.zeros((0, steps)), np.zeros((0, steps), np.bool_))
    )
    return Pairs(
        labels=labels,
        left=one_values if swapped else many_values,
        right=many_values if swapped else one_values,
        present=present,
    )


def _by_signature(rule: nodes.Matching, side: Vector) -> dict[lb.Labels, list[int]]:
    groups: dict[lb.Labels, list[int]] = {}
    for i, labels in enumerate(side.labels):
        groups.setdefault(signature(rule, labels), []).append(i)
    return groups


def _check_one_side(
    rule: nodes.Matching, one: Vector, groups: dict[lb.Labels, list[int]], where: Bools
) -> None:
    for indices in groups.values():
        if len(indices) == 1:
            continue
        doubled = (one.present[indices].sum(axis=0) > 1) & where
        if doubled.any():
            step = int(doubled.argmax())
            first, second = sorted(lb.text(one.labels[i]) for i in indices if one.present[i, step])[
                :2
            ]
            side = "left" if rule.card is nodes.Card.ONE_TO_MANY else "right"
            group = lb.text(_shared(rule, one.labels[indices[0]]))
            raise query_failed(
                f"found duplicate series for the match group {group} on the {side} hand-side "
                f"of the operation: [{first}, {second}];many-to-many matching not allowed: "
                "matching labels must be unique on one side"
            )


def _shared(rule: nodes.Matching, labels: lb.Labels) -> lb.Labels:
    return signature(rule, labels)


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
        return Vector(
            labels=value.labels, values=value.values, present=kept, drop_name=value.drop_name
        )
    steps = value.values.shape[1]
    values = np.full((len(index), steps), np.nan)
    taken = np.zeros((len(index), steps), np.bool_)
    present = np.zeros((len(index), steps), np.bool_)
    drop = np.zeros(len(index), np.bool_)
    for i, row in enumerate(target.tolist()):
        here = value.present[i]
        if (taken[row] & here).any():
            raise query_failed(complaint)
        taken[row] |= here
        values[row][kept[i]] = value.values[i][kept[i]]
        present[row] |= kept[i]
        drop[row] |= value.drop_name[i]
    return Vector(labels=list(index), values=values, present=present, drop_name=drop)


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
            )
        )
    there = _any_of(sides[1], right.present, len(ids))[sides[0]]
    present = left.present & (there if node.op == "and" else ~there)
    return Vector(labels=left.labels, values=left.values, present=present, drop_name=left.drop_name)


def _any_of(group: np.ndarray, present: Bools, groups: int) -> Bools:
    out = np.zeros((groups, present.shape[1]), np.bool_)
    np.logical_or.at(out, group, present)
    return out
