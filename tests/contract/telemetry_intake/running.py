"""The way in, running in this process; and what its tables hold."""

import contextlib
import struct

from telemetry.app import open_pipeline, open_store
from telemetry.scan.scanner import Scanner
from telemetry.store.model import Matcher, MatchOp
from telemetry.store.reader import Reader


@contextlib.asynccontextmanager
async def opened(settings):
    async with (
        open_store(settings) as sessions,
        open_pipeline(settings, sessions, Scanner()) as pipeline,
    ):
        yield sessions, pipeline


async def samples_of(sessions, name, tenant=""):
    """Values by label set, in order of time, of all series of a name."""
    reader = Reader(sessions)
    series = await series_of(reader, name, tenant)
    found = await reader.read_samples(series, start_ms=0, end_ms=2**50)
    return {
        one.labels: found.values[start:stop].tolist()
        for one, start, stop in zip(series, found.offsets, found.offsets[1:], strict=False)
    }


async def series_of(reader, name, tenant=""):
    matcher = Matcher(label="__name__", op=MatchOp.EQUAL, value=name)
    return await reader.select_series([matcher], tenant=tenant)


def bits(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]
