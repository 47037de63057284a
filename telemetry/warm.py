"""
`python -m telemetry.warm`: compile all kernels, so that no start, query or test waits for that.

Half a minute the first time on a machine, a second after that: numba keeps what it compiled beside
the sources. A service that finds none has this run for it (telemetry/compiling.py).
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

from telemetry.head import head
from telemetry.load import deltas
from telemetry.load.decimals import Decimals
from telemetry.map.edges import Edges
from telemetry.promql.warm import warm as warm_queries
from telemetry.scan import cache
from telemetry.scan.scanner import Scanner


def main() -> None:
    """Compile in two processes."""
    with ProcessPoolExecutor(2) as pool:
        for done in [pool.submit(_intake), pool.submit(_queries)]:
            done.result()
    cache.note_whole()


def _intake() -> None:
    scanner = Scanner()
    scanner.warm()
    scanner.warm_rest()
    Decimals().warm()
    deltas.warm()


def _queries() -> None:
    head.warm()
    Edges(spans_max=1024).warm()
    warm_queries()


if __name__ == "__main__":
    main()
