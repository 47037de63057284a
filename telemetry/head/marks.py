"""Whether samples have come, told without a note of each: by where each series' newest one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.wire import compiled


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints32 = NDArray[np.int32]

_PRIME = np.uint64(0x100000001B3)


@compiled
def mark(fill: Ints32, newest: Ints32, chosen: Ints32, before: np.uint64) -> np.uint64:
    """
    Return a hash of where the newest samples of the *chosen* slots are.

    A series that gets a sample has another block, or one more in its block.
    """
    found = (before ^ np.uint64(chosen.shape[0])) * _PRIME
    for i in range(chosen.shape[0]):
        block = newest[chosen[i]]
        there = np.uint64(0)
        if block >= 0:
            there = np.uint64(block) * np.uint64(64) + np.uint64(fill[block]) + np.uint64(1)
        found = (found ^ there) * _PRIME
    return found
