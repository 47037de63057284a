"""A trace's spans as a tree. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from telemetry.store.model import Span


def depth_first(spans: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """
    Yield each span with its depth: parents before children, siblings by start.

    A span whose parent isn't known counts as a root; of a ring of parents (which only
    broken clients send) the earliest does.
    """
    ordered = sorted(spans, key=lambda span: (span.start_ns, span.span_id))
    known = {span.span_id for span in ordered}
    children: dict[bytes, list[Span]] = {}
    roots = []
    for span in ordered:
        if span.parent_span_id in known and span.parent_span_id != span.span_id:
            children.setdefault(span.parent_span_id, []).append(span)
        else:
            roots.append(span)
    seen: set[bytes] = set()
    for root in [*roots, *ordered]:
        stack = [(0, root)]
        while stack:
            depth, span = stack.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            yield depth, span
            below = children.get(span.span_id, [])
            stack.extend((depth + 1, child) for child in reversed(below))
