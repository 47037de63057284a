"""Variables in queries: `$name`, `${name}`, `${name:regex}`, `[[name]]`, and those of time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAMED = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)\]\]|\$(\w+)")
_SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}]")
ALL = ".*"
"""What stands for a variable of which nothing is chosen."""

SCRAPE_MS = 15_000
"""How often samples come, at least, for `$__rate_interval`."""

ROLLED_MS = 300_000
"""Windows of a multiple of it are answered from roll-ups."""


def times(step_ms: int, range_ms: int) -> dict[str, str]:
    """Return what Grafana's variables of time stand for at a step and a range."""
    rate_ms = max(step_ms + SCRAPE_MS, 4 * SCRAPE_MS)
    if step_ms % ROLLED_MS == 0:
        # Long enough by itself, and roll-ups answer it.
        rate_ms = step_ms
    return {
        "__interval": _duration(step_ms),
        "__interval_ms": str(step_ms),
        "__rate_interval": _duration(rate_ms),
        "__range": _duration(range_ms),
        "__range_s": str(range_ms // 1000),
        "__range_ms": str(range_ms),
    }


def replaced(
    query: str, chosen: Mapping[str, Sequence[str]], fixed: Mapping[str, str], multi: frozenset[str]
) -> str:
    """
    Return *query* with what it names replaced; names that aren't known stay.

    One choice is put in as it is; of a variable in *multi*, choices are put in as a regular
    expression that matches each, and nothing chosen matches everything.
    """

    def one(found: re.Match[str]) -> str:
        name = found[1] or found[3] or found[4]
        if name in fixed:
            return fixed[name]
        if name not in chosen:
            return found[0]
        values = list(chosen[name])
        if found[2] == "csv":
            return ",".join(values)
        if found[2] == "raw":
            return "|".join(values)
        if name in multi or found[2] in ("regex", "pipe"):
            return "|".join(escaped(value) for value in values) if values else ALL
        return _quoted(values[0]) if values else ALL

    return _NAMED.sub(one, query)


def names_in(query: str) -> set[str]:
    """Return the names that *query* has in place of values."""
    return {found[1] or found[3] or found[4] for found in _NAMED.finditer(query)}


def escaped(value: str) -> str:
    """Return a regular expression, within a quoted text, that matches *value* alone."""
    return _quoted(_SPECIAL.sub(lambda found: "\\" + found[0], value))


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _duration(length_ms: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if length_ms % size == 0 and length_ms:
            return f"{length_ms // size}{unit}"
    return f"{length_ms}ms"
