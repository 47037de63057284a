"""
AeroFusion on a device: spaces that work offline and come back into step.

    client = SyncClient(channel=..., store="device.db", token=...)
    board = client.follow("tenants/jfk/spaces/board")     board.get, board.set, board.changes

    client.py    connection, backoff, what goes in and out
    space.py     a space as the app sees it
    protocol.py  the session, as a pure state machine
    replica.py   the server's cells and this device's changes over them, pure
    store.py     all of it in one SQLite file
"""

from __future__ import annotations

from aerofusion_client.client import Backoff, Status, SyncClient
from aerofusion_client.space import OutboxFull, SyncedSpace, deleting, setting
from aerofusion_client.store import Rejection, StoreUnusable
from aerofusion_client.values import InvalidValue, Value


__all__ = [
    "Backoff",
    "InvalidValue",
    "OutboxFull",
    "Rejection",
    "Status",
    "StoreUnusable",
    "SyncClient",
    "SyncedSpace",
    "Value",
    "deleting",
    "setting",
]
