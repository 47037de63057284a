"""
Which rules certainly find nothing now, told for all of them together.

Nearly all rules find nothing nearly always. Of those of a common shape the head says between
what their values lie; where no such value satisfies the comparison, the expression isn't
evaluated. Where one may, it is: this never decides that a condition holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.head import ranges
from telemetry.rules.shapes import may_hold


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.head.head import Head
    from telemetry.rules.shapes import Shape

LOOKBACK_MS = 300_000
"""As `telemetry.promql.engine.Engine.lookback`."""


def quiet(head: Head, tenant: str, shapes: Sequence[Shape | None], at_ms: int) -> dict[int, bool]:
    """
    Return the numbers of the *shapes* that find nothing at *at_ms*, and whether they have data.

    Blocking: call it on a worker thread.
    """
    batches: dict[tuple[str, int], list[int]] = {}
    for number, shape in enumerate(shapes):
        if shape is not None:
            batches.setdefault((shape.rate, shape.range_ms), []).append(number)
    found: dict[int, bool] = {}
    for (rate, range_ms), numbers in batches.items():
        window_ms = range_ms or LOOKBACK_MS
        # Series that are several in the store are left to a closer look.
        plain = []
        for number in numbers:
            shape = shapes[number]
            assert shape is not None, "only shapes are in batches"
            chosen = head.choose(tenant, shape.selection)
            if len(chosen.slots) == len(chosen.labels):
                plain.append((number, shape, chosen.slots))
        if not plain:
            continue
        rows = ranges.owners([len(slots) for _, _, slots in plain])
        within = head.ranges(
            np.concatenate([slots for _, _, slots in plain]),
            rows,
            len(plain),
            window=(at_ms - window_ms + 1, at_ms),
            rate=rate,
        )
        if within is None:
            continue
        for row, (number, shape, _) in enumerate(plain):
            if _holds_nothing(within, row, shape):
                found[number] = bool(within.samples[row])
    return found


def _holds_nothing(within: ranges.Ranges, row: int, shape: Shape) -> bool:
    if not within.values[row]:
        return True
    return not within.odd[row] and not may_hold(shape, *within.bound(row, shape.fold))
