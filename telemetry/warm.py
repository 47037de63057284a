"""
`python -m telemetry.warm`: compile all kernels, so that no start, query or test waits for that.

Some minutes the first time on a machine, seconds after that: numba keeps what it compiled beside
the sources. A service that finds none has this run for it (telemetry/compiling.py): at first with
`first`, what it can't begin without, then with `beside`, the rest while it serves.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from telemetry.head.warming import warm as warm_head
from telemetry.load import deltas, span_rows
from telemetry.load.decimals import Decimals
from telemetry.map.edges import Edges
from telemetry.promql.warm import warm as warm_queries
from telemetry.promql.warm import warm_rest as warm_rare_queries
from telemetry.query import rolling
from telemetry.scan import cache
from telemetry.scan.scanner import Scanner


def main(words: list[str]) -> None:
    """Compile in two processes, or in one beside what serves."""
    parts = [first_requests, queries]
    if words != ["first"]:
        parts += [rare_queries, rare_requests]
    if words == ["beside"]:
        os.nice(10)
    cache.drop_stale()  # Else one part would delete what the other has just compiled.
    processes = 1 if words == ["beside"] else 2
    # Each part in a process of its own: what compiles keeps its memory.
    with ProcessPoolExecutor(
        processes, max_tasks_per_child=1, mp_context=get_context("spawn")
    ) as pool:
        for done in [pool.submit(part) for part in parts]:
            done.result()
    if words != ["first"]:
        cache.note_whole()


def first_requests() -> None:
    """Compile or load what most requests need."""
    Scanner().warm()


def rare_requests() -> None:
    """Compile or load what the other requests need."""
    Scanner().warm_rest()
    deltas.warm()
    span_rows.warm()


def rare_queries() -> None:
    """Compile or load what other queries need: of native histograms, roll-ups, long ranges."""
    warm_rare_queries()
    rolling.warm()


def queries() -> None:
    """Compile or load what rules and queries need."""
    warm_head()
    Edges(spans_max=1024).warm()
    Decimals().warm()
    warm_queries()


if __name__ == "__main__":
    main(sys.argv[1:])
