"""Compiles the head before it is needed."""

from __future__ import annotations

import numpy as np

from telemetry.head.blocks import make_slots
from telemetry.head.extract import Columns
from telemetry.head.head import Head


def warm() -> None:
    """Load or compile what the head runs on; the first time on a machine takes seconds."""
    head = Head(1 << 20)
    head.begin(0)
    one = np.ones(1, np.int64)
    head.name((1, 1), "", ())
    head.take(Columns(ids=one.astype(np.uint64), ts_ms=one, values=np.ones(1)))
    head.fill(one.astype(np.uint64), one, np.ones(1))
    make_slots(2, make_slots(1))
    head.read("", ((),), 1, 1, series_max=1)
    for rate in ("", "rate"):
        chosen = np.zeros(1, np.int32)
        head.ranges(chosen, chosen, 1, window=(1, 1), rate=rate)
    head.mark("", ((),))
    head.free(1)
