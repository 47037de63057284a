"""The way in, running in this process; and what its tables hold."""

import contextlib
import struct
from dataclasses import dataclass
from unittest import mock

from telemetry import app
from telemetry.app import Pipeline, open_pipeline, open_store
from telemetry.scan.scanner import Scanner
from telemetry.store.model import Matcher, MatchOp
from telemetry.store.reader import Reader
from telemetry.store.sessions import Sessions
from tests.fixtures.serving import running


@contextlib.asynccontextmanager
async def opened(settings):
    async with (
        open_store(settings) as sessions,
        open_pipeline(settings, sessions, Scanner()) as pipeline,
    ):
        yield sessions, pipeline


@dataclass(frozen=True)
class Served:
    """A whole service, and of its parts those that tests look into while it runs."""

    port: int
    sessions: Sessions
    pipeline: Pipeline

    async def samples(self, name, tenant=""):
        """As `samples_of`, of all that is acknowledged."""
        await self.pipeline.loader.flush()
        return await samples_of(self.sessions, name, tenant)

    async def reader(self):
        """A reader of all that is acknowledged."""
        await self.pipeline.loader.flush()
        return Reader(self.sessions)


@contextlib.asynccontextmanager
async def served(settings, ca):
    """The whole service in this process: a process can have only one store open at a time."""
    parts = {}

    def noted(name):
        make = getattr(app, name)

        @contextlib.asynccontextmanager
        async def opening(*args):
            async with make(*args) as parts[name]:
                yield parts[name]

        return opening

    names = ("open_store", "open_pipeline")
    with mock.patch.multiple(app, **{name: noted(name) for name in names}):
        async with running(app.serve, settings, workload=ca.workload("telemetry")) as port:
            yield Served(port, *map(parts.get, names))


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
