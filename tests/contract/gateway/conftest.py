"""The gateway as a whole, in the test's event loop, on a real PostgreSQL."""

import contextlib
import tempfile
from pathlib import Path

import grpc
import pytest

from gateway.app import serve
from gateway.settings import Settings
from tests.fixtures.serving import running


@contextlib.asynccontextmanager
async def gateways(postgres, ca):
    """Yields what starts a gateway: `async with start() as (settings, port):`."""
    with tempfile.TemporaryDirectory() as folder:  # A Unix socket's path must be short.

        @contextlib.asynccontextmanager
        async def start(**settings):
            given = {
                "postgres_dsn": await postgres.database("gateway"),
                "unix_socket": Path(folder) / "gateway.sock",
                "identity_dir": Path(folder) / "identity",
            }
            made = Settings(**{**given, **settings})
            async with running(serve, made, workload=ca.workload("gateway")) as port:
                yield made, port

        yield start


@pytest.fixture
async def gateway(postgres, ca):
    """Start a gateway: `async with gateway() as (settings, port):`, with the test CA's identity."""
    async with gateways(postgres, ca) as start:
        yield start


@pytest.fixture
async def operator(gateway):
    """A channel of the operator's to a gateway of its own."""
    async with (
        gateway() as (settings, _),
        grpc.aio.insecure_channel(f"unix:{settings.unix_socket}") as channel,
    ):
        yield channel
