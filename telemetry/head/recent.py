"""What a read of the head returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.promql.labels import Labels

NEVER = (1 << 63) - 1
"""A horizon behind which nothing is: the head answers for no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What the head holds of a selection after its horizon."""

    labels: list[Labels]
    ts: NDArray[np.int64]
    values: NDArray[np.float64]
    offsets: NDArray[np.int64]
    horizon_ms: int
    """Samples up to this time are the store's to tell; `NEVER`: all are."""


def nothing() -> Recent:
    """Return the answer of a head that answers for no time."""
    return Recent(
        labels=[],
        ts=np.zeros(0, np.int64),
        values=np.zeros(0, np.float64),
        offsets=np.zeros(1, np.int64),
        horizon_ms=NEVER,
    )
