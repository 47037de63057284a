"""Series as one line of a terminal, and numbers in units that people read."""

from __future__ import annotations

import math
from collections.abc import Sequence


BLOCKS = "▁▂▃▄▅▆▇█"
GAP = " "
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi")
_DECIMAL = ("", "k", "M", "G", "T", "P")
_SMALL = ((1, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))


def spark(
    values: Sequence[float], width: int, low: float | None = None, high: float | None = None
) -> str:
    """
    Return *values* as at most *width* blocks, each the mean of those it stands for.

    The lowest block is *low*, the highest *high*: those of the values where they aren't given.
    """
    cells = _cells(values, width)
    known = [value for value in cells if math.isfinite(value)]
    if not known:
        return GAP * len(cells)
    bottom = min(known) if low is None else low
    top = max(known) if high is None else high
    half = top / 2 - bottom / 2  # the whole may be more than a number can hold
    out = []
    for value in cells:
        if not math.isfinite(value):
            out.append(GAP)
        elif half <= 0:
            out.append(BLOCKS[0] if value == 0 else BLOCKS[3])
        else:
            place = (value / 2 - bottom / 2) / half
            out.append(BLOCKS[max(0, min(len(BLOCKS) - 1, int(place * len(BLOCKS))))])
    return "".join(out)


def number(value: float, unit: str = "") -> str:
    """Return *value* to three digits with a UCUM unit as people say it: `1.5 GiB`, `12 %`."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else str(value)
    if unit == "1":
        return f"{value * 100:.3g} %"
    if unit in ("By", "By/s"):
        return _scaled(value, 1024, _BINARY) + unit.replace("By", "B")
    if unit == "s" and 0 < abs(value) < 1:
        size, prefix = next(((s, p) for s, p in _SMALL if abs(value) >= s), _SMALL[-1])
        return f"{value / size:.3g} {prefix}s"
    return (_scaled(value, 1000, _DECIMAL) + plain(unit)).strip()


def plain(unit: str) -> str:
    """Return a UCUM unit without what its braces only annotate."""
    if unit.startswith("{") and "}" in unit:
        return unit[unit.index("}") + 1 :]
    return unit


def _scaled(value: float, by: int, prefixes: Sequence[str]) -> str:
    at = 0
    while abs(value) >= by and at < len(prefixes) - 1:
        value, at = value / by, at + 1
    text = f"{value:.0f}" if 100 <= abs(value) < by else f"{value:.3g}"
    return f"{text} {prefixes[at]}"


def _cells(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    cells = []
    for at in range(width):
        part = values[at * len(values) // width : (at + 1) * len(values) // width]
        known = [value for value in part if math.isfinite(value)]
        cells.append(math.fsum(value / len(known) for value in known) if known else math.nan)
    return cells
