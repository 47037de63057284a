"""Bytes of a sample on disk, all columns, after merges: as the loader puts them there."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from telemetry.load.decimals import Decimals
from telemetry.load.rows import Rows, write
from telemetry.scan.batch import no_exemplars
from telemetry.scan.hashing import int_hash
from telemetry.scan.sink import HISTOGRAM_COLUMNS, SAMPLE_COLUMNS, Sample
from telemetry.store.sessions import Sessions


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.report import Report

SERIES = 10_000
HOURS = 4
EVERY_MS = 15_000
JITTER_MS = 5
SAMPLES = HOURS * 3_600_000 // EVERY_MS
ROUNDS_EACH = 40
"""Rounds of samples in one segment."""


def measure(report: Report) -> None:
    """Take the figures; about a minute."""
    chance = np.random.default_rng(7)
    growth = chance.poisson(20 * chance.random(SERIES), (SAMPLES, SERIES)).cumsum(axis=0)
    walk = chance.normal(0, 0.2, (SAMPLES, SERIES)).cumsum(axis=0) + 20
    for kind, values, bound in (
        ("counter", growth.astype(np.float64), 1.6),
        ("gauge", walk.round(2), 2.0),
    ):
        total, columns = asyncio.run(_bytes(values, chance))
        report.add(f"bytes_per_{kind}_sample", total, bound=f"<= {bound}")
        for name, size in columns.items():
            report.add(f"bytes_per_{kind}_sample_{name}", size)


async def _bytes(
    values: NDArray[np.float64], chance: np.random.Generator
) -> tuple[float, dict[str, float]]:
    decimals = Decimals()
    ids = np.array([int_hash(np.uint64(n)) for n in range(1, SERIES + 1)], np.uint64)
    begin = int(time.time() * 1000) - HOURS * 3_600_000
    with tempfile.TemporaryDirectory(prefix="bench-disk-") as folder:
        async with Sessions.open(Path(folder) / "store") as sessions:
            for number, first in enumerate(range(0, SAMPLES, ROUNDS_EACH), 1):
                part = values[first : first + ROUNDS_EACH]
                times = begin + EVERY_MS * np.arange(first, first + len(part))[:, None]
                times = times + chance.integers(-JITTER_MS, JITTER_MS, part.shape, endpoint=True)
                made = _rows(ids, times, part, begin)
                for file in write(made, Path(folder) / "segment", decimals):
                    await sessions.load(file.insert(number))
            await sessions.execute("OPTIMIZE TABLE samples FINAL")
            answer = await sessions.execute(
                "SELECT column, sum(column_bytes_on_disk) FROM system.parts_columns"
                " WHERE table = 'samples' AND active GROUP BY column",
                "JSONCompactEachRow",
            )
            whole = await sessions.execute(
                "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts"
                " WHERE table = 'samples' AND active",
                "JSONCompactEachRow",
            )
    size, rows = map(int, json.loads(whole))
    if rows != values.size:
        raise RuntimeError(f"{rows} rows of {values.size}")
    found = dict(json.loads(line) for line in answer.splitlines())
    return size / rows, {name: int(of) / rows for name, of in found.items()}


def _rows(
    ids: NDArray[np.uint64], times: NDArray[np.int64], values: NDArray[np.float64], begin: int
) -> Rows:
    samples = np.zeros((SAMPLE_COLUMNS, values.size), np.uint64)
    samples[Sample.METRIC] = int_hash(np.uint64(5))
    samples[Sample.SERIES] = np.tile(ids, len(values))
    samples[Sample.TIME] = times.reshape(-1).astype(np.uint64)
    samples[Sample.VALUE] = np.ascontiguousarray(values).reshape(-1).view(np.uint64)
    samples[Sample.START] = begin
    return Rows(
        samples=samples,
        histograms=np.zeros((HISTOGRAM_COLUMNS, 0), np.uint64),
        buckets=np.zeros(0),
        exemplars=[no_exemplars()],
    )
