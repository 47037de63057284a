"""Label sets: sorted tuples of (name, value), so that they hash, compare and sort."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

Labels = tuple[tuple[str, str], ...]
"""Sorted by name. An empty value is the same as no label, so there is none."""

NAME = "__name__"
BUCKET = "le"

_METADATA = frozenset({NAME, "__type__", "__unit__"})


def make(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Labels:
    """Return *pairs* as a label set."""
    return tuple(sorted((name, value) for name, value in dict(pairs).items() if value))


def get(labels: Labels, name: str) -> str:
    """Return the value of *name*, "" if it isn't there."""
    for key, value in labels:
        if key == name:
            return value
    return ""


def only(labels: Labels, names: Container[str]) -> Labels:
    """Return the labels named in *names*."""
    return tuple([pair for pair in labels if pair[0] in names])


def without(labels: Labels, names: Container[str]) -> Labels:
    """Return the labels not named in *names*."""
    return tuple([pair for pair in labels if pair[0] not in names])


def with_value(labels: Labels, name: str, value: str) -> Labels:
    """Return the labels with *name* set to *value*; "" removes it."""
    return make([*without(labels, (name,)), (name, value)])


def without_metadata(labels: Labels) -> Labels:
    """Return the labels without the metric's name, type and unit."""
    return without(labels, _METADATA)


def text(labels: Labels) -> str:
    """Return the labels as Prometheus prints a label set, its name among them."""
    inner = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels)
    return "{" + inner + "}"
