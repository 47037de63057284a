"""Kernels run without the GIL, so large ones are divided among cores by series."""

from __future__ import annotations

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_A = TypeVar("_A")
_B = TypeVar("_B")

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


def each(function: Callable[[_A], _B], of: Sequence[_A]) -> list[_B]:
    """
    Return what *function* makes of each, several side by side.

    The caller has its share, so it never waits for threads that others keep busy.
    """
    numbers = itertools.count()
    results: list[tuple[int, _B]] = []

    def work() -> None:
        # Each number is handed out once: `next` is one step for all threads.
        while (number := next(numbers)) < len(of):
            results.append((number, function(of[number])))

    others = [_pool().submit(work) for _ in range(min(_threads(), len(of)) - 1)]
    try:
        work()
    finally:
        for one in others:
            one.cancel()
        for one in others:
            if not one.cancelled():
                one.result()
    return [result for _, result in sorted(results, key=lambda result: result[0])]
