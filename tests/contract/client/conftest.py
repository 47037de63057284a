"""Devices with their stores, beside a real syncd."""

import contextlib
from pathlib import Path

import pytest

from aerofusion_client import Backoff, SyncClient
from tests.contract.syncd.conftest import BOARD, Running, create_board, dsn, started, syncd


__all__ = ["BOARD", "Running", "create_board", "dsn", "started", "syncd"]

SOON = Backoff(first_s=0.01, most_s=0.1)


@pytest.fixture
async def device(syncd, tmp_path):
    """`device("phone")`: a client that may write, with a file of that name."""
    await create_board(syncd)
    async with contextlib.AsyncExitStack() as stack:

        async def make(name: str, *, channel=None, store: Path | str = "") -> SyncClient:
            client = SyncClient(
                channel=channel or syncd.channel("flightinfo"),
                store=store or tmp_path / f"{name}.db",
                backoff=SOON,
            )
            return await stack.enter_async_context(client)

        yield make
