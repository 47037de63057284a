"""Kernels run without the GIL, so large ones are divided among cores by series."""

from __future__ import annotations

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable

CELLS_ALONE = 300_000
"""Series times steps up to which one thread is as fast."""

_THREADS_MAX = 4


@functools.cache
def _threads() -> int:
    return min(_THREADS_MAX, len(os.sched_getaffinity(0)))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads(), "promql-part")


def run(function: Callable[[slice], None], series: int, cells: int) -> None:
    """Call *function* for all rows, in parts of them that run side by side if there are many."""
    count = min(_threads(), series)
    if cells <= CELLS_ALONE or count < 2:
        function(slice(0, series))
        return
    edges = [series * i // count for i in range(count + 1)]
    rows = [slice(a, b) for a, b in itertools.pairwise(edges)]
    others = [_pool().submit(function, one) for one in rows[1:]]
    function(rows[0])
    for one in others:
        one.result()
