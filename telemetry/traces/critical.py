"""
What a trace's time went into: its critical path, and each span's own time. Pure.

The critical path says, for each instant between the root's start and end, which span the root's
end waited for. From a span's end backwards that is its child that ended last by then, and so on
within the child; where no child was waited for, it is the span itself. A child that was still
running when its parent ended wasn't waited for, nor one that ran beside the child that was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from telemetry.query.traces import depth_first


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from telemetry.store.model import Span

_SERVER, _CONSUMER = 2, 5


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the critical path: from *start_ns* to *end_ns* the root waited for this span."""

    span_id: bytes
    start_ns: int
    end_ns: int


@dataclass(slots=True, kw_only=True)
class _Node:
    """A span in the tree, its times by its parent's clock."""

    span_id: bytes
    waited_for: bool
    """Whether its parent can have waited for it: nobody waits for the consumer of a message."""

    start: int
    end: int
    children: list[_Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Where the time of one trace went."""

    path: tuple[Segment, ...]
    """By rising time, without gaps, from the root's start to its end."""

    self_ns: dict[bytes, int]
    """Span to the time in which none of its children ran."""

    critical_ns: dict[bytes, int]
    """Span to its time on the path; spans that aren't on it are absent."""

    shift_ns: dict[bytes, int]
    """Span to what its times here differ from its own clock's."""


def times(spans: Sequence[Span]) -> Times:
    """
    Return where the time of a trace of at least one span went.

    The root is the earliest span without a parent, else the earliest whose parent isn't known.
    Where a server's span doesn't lie within the client's that called it, their clocks differ:
    it is moved there, by the middle, and all below it that the same process wrote.
    """
    nodes, root, shift = _tree(spans)
    path = tuple(_critical_path(root))
    critical: dict[bytes, int] = {}
    for segment in path:
        length = segment.end_ns - segment.start_ns
        critical[segment.span_id] = critical.get(segment.span_id, 0) + length
    own = {node.span_id: _self_time(node) for node in nodes}
    return Times(path=path, self_ns=own, critical_ns=critical, shift_ns=shift)


def _tree(spans: Sequence[Span]) -> tuple[list[_Node], _Node, dict[bytes, int]]:
    nodes: list[_Node] = []
    above: list[tuple[_Node, Span, int]] = []
    shift: dict[bytes, int] = {}
    roots: list[tuple[bool, int, int]] = []
    for depth, span in depth_first(spans):
        del above[depth:]
        moved = _shift(span, *above[-1]) if above else 0
        start = span.start_ns + moved
        node = _Node(
            span_id=span.span_id,
            waited_for=span.kind != _CONSUMER,
            start=start,
            end=start + span.duration_ns,
        )
        if above:
            above[-1][0].children.append(node)
        else:
            roots.append((bool(span.parent_span_id), span.start_ns, len(nodes)))
        above.append((node, span, moved))
        nodes.append(node)
        shift[span.span_id] = moved
    return nodes, nodes[min(roots)[2]], shift


def _shift(span: Span, parent: _Node, parent_span: Span, parent_shift: int) -> int:
    """Return by how much the clock of *span* is to be corrected to be its parent's."""
    if (span.service, span.instance) == (parent_span.service, parent_span.instance):
        return parent_shift
    end = span.start_ns + span.duration_ns
    if span.kind != _SERVER or (span.start_ns >= parent.start and end <= parent.end):
        return 0
    spare = parent.end - parent.start - span.duration_ns
    if spare < 0:
        return max(0, parent.start - span.start_ns)
    return parent.start + spare // 2 - span.start_ns


def _critical_path(root: _Node) -> list[Segment]:
    """Return the path, made from its end backwards, without recursion: traces may be deep."""
    found: list[Segment] = []
    stack: list[tuple[_Node, int, Iterator[_Node]]] = [(root, root.start, _last_first(root))]
    now = root.end
    while stack:
        node, lower, rest = stack[-1]
        child = next((one for one in rest if lower < one.end <= now and one.start < one.end), None)
        until = lower if child is None else child.end
        if until < now:
            found.append(Segment(node.span_id, until, now))
            now = until
        if child is None:
            stack.pop()
        else:
            stack.append((child, max(child.start, lower), _last_first(child)))
    return found[::-1]


def _last_first(node: _Node) -> Iterator[_Node]:
    waited_for = (child for child in node.children if child.waited_for)
    return iter(sorted(waited_for, key=lambda one: (-one.end, one.start)))


def _self_time(node: _Node) -> int:
    """Return the time of *node* in which no child of its ran."""
    busy, reached = 0, node.start
    for child in sorted(node.children, key=lambda one: one.start):
        start, end = max(child.start, reached), min(child.end, node.end)
        if end > start:
            busy += end - start
            reached = end
    return node.end - node.start - busy
