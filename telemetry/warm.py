"""
`python -m telemetry.warm`: compile all kernels, so that no start, query or test waits for that.

Half a minute the first time on a machine, a second after that: numba keeps what it compiled beside
the sources. A service that finds none has this run for it (telemetry/compiling.py), at first with
`first`: what it can't begin without.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor

from telemetry.head.warming import warm as warm_head
from telemetry.load import deltas
from telemetry.load.decimals import Decimals
from telemetry.map.edges import Edges
from telemetry.promql.warm import warm as warm_queries
from telemetry.promql.warm import warm_rolled
from telemetry.scan import cache
from telemetry.scan.scanner import Scanner


def main(words: list[str]) -> None:
    """Compile in two processes."""
    with ProcessPoolExecutor(2) as pool:
        for done in [pool.submit(first_requests), pool.submit(queries)]:
            done.result()
    if words != ["first"]:
        rest()
        cache.note_whole()


def first_requests() -> None:
    """Compile or load what most requests need."""
    Scanner().warm()


def rest() -> None:
    """Compile or load what the other requests need, and queries of roll-ups."""
    Scanner().warm_rest()
    deltas.warm()
    warm_rolled()


def queries() -> None:
    """Compile or load what rules and queries need."""
    warm_head()
    Edges(spans_max=1024).warm()
    Decimals().warm()
    warm_queries()


if __name__ == "__main__":
    main(sys.argv[1:])
