"""What makes bodies alike: details that are masked, in SQL, in this order. Pure."""

from __future__ import annotations

from telemetry.store.engine import quote


MASKS = (
    (r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b", "<uuid>"),
    (
        r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?\b",
        "<time>",
    ),
    (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", "<ip>"),
    (r"\b0[xX][0-9a-fA-F]+\b|\b[0-9a-fA-F]{16,}\b", "<hex>"),
    (r"\d+(?:[.,]\d+)*", "<n>"),
)
"""Regular expressions (RE2) and what stands for what they match."""


def masked(text: str) -> str:
    """Return the SQL that masks the details of the SQL text *text*."""
    for pattern, word in MASKS:
        text = f"replaceRegexpAll({text}, {quote(pattern)}, {quote(word)})"
    return text
