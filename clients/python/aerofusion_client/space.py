"""A space as the app sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from weakref import WeakSet

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion_client.protocol import Link
from aerofusion_client.replica import Replica
from aerofusion_client.store import Rejection, Store
from aerofusion_client.values import InvalidValue, Value, to_message


OPERATIONS_MAX = 256
FIELDS_MAX = 128
MUTATION_BYTES_MAX = 512 * 1024
PENDING_MAX = 100_000
"""Changes that may wait on the device; a change beyond it is refused to the app."""


class OutboxFull(Exception):
    """The device holds as many changes as it may; come online first."""


class SyncedSpace:
    """One space: records of fields, read at once and changed at once."""

    def __init__(self, link: Link, store: Store, written: Callable[[], None]) -> None:
        self._link = link
        self._store = store
        self._written = written
        self._listeners: WeakSet[_Listener] = WeakSet()
        """Each is its iterator's, and goes with that."""

        self._progress = asyncio.Event()
        self._closed = False

    @property
    def _replica(self) -> Replica:
        return self._link.replica

    @property
    def name(self) -> str:
        return self._replica.name

    @property
    def cursor(self) -> int:
        """The newest change of the server that is here."""
        return self._replica.cursor

    @property
    def pending(self) -> int:
        """How many of this device's changes are not seen in the server's cells yet."""
        return len(self._replica.pending)

    @property
    def is_synced(self) -> bool:
        """Whether it is being followed, whole, and nothing waits."""
        return self._link.followed and self._replica.whole and not self._replica.pending

    @property
    def refused(self) -> str:
        """Why the server doesn't let this device follow or write it; empty if it does."""
        return self._link.refused

    @property
    def heals(self) -> int:
        """How often the copy was found to differ and was fetched anew."""
        return self._link.heals

    def get(self, record: str) -> dict[str, Value] | None:
        """Return the record's fields, this device's own changes included; None if there is none."""
        return self._replica.get(record)

    def records(self) -> dict[str, dict[str, Value]]:
        """Return all records by id."""
        found = ((record, self._replica.get(record)) for record in self._replica.ids())
        return {record: fields for record, fields in found if fields is not None}

    async def set(self, record: str, fields: Mapping[str, Value]) -> int:
        """
        Set some fields of a record; make it if there is none. None empties a field.

        Returns the change's number on this device. It is on disk, and counts here, at once;
        the server may still refuse it (see `rejections`) or have something newer.

        Raises:
            InvalidValue: A value no field can hold, no fields, or too much at once.
            OutboxFull: Too many changes wait on this device.

        """
        return await self.change([setting(record, fields)])

    async def delete(self, record: str) -> int:
        """Remove a record. As `set` otherwise."""
        return await self.change([deleting(record)])

    async def change(self, operations: Iterable[frames.Operation]) -> int:
        """Do several things at once, all with one effect: see `setting` and `deleting`."""
        operations = list(operations)
        if not 1 <= len(operations) <= OPERATIONS_MAX:
            raise InvalidValue(f"a change has 1 to {OPERATIONS_MAX} operations")
        if sum(operation.ByteSize() for operation in operations) > MUTATION_BYTES_MAX:
            raise InvalidValue(f"a change has at most {MUTATION_BYTES_MAX} bytes")
        if len(self._replica.pending) >= PENDING_MAX:
            raise OutboxFull(f"{PENDING_MAX} changes wait in {self.name}")
        waiting = self._replica.write(operations, time.time_ns() // 1_000_000)
        try:
            self._store.add(self._replica, waiting)
        except BaseException:
            del self._replica.pending[waiting.mutation.number]
            raise
        self.touched({operation.record for operation in operations})
        self._written()
        return waiting.mutation.number

    def changes(self) -> AsyncIterator[frozenset[str]]:
        """
        Return the ids of records that look different, from this call on, until the space is closed.

        What changes while the app is busy comes together the next time.
        """
        listener = _Listener()
        self._listeners.add(listener)
        return self._told(listener)

    async def _told(self, listener: _Listener) -> AsyncIterator[frozenset[str]]:
        while not self._closed:
            await listener.news.wait()
            listener.news.clear()
            touched, listener.touched = frozenset(listener.touched), set()
            if touched:
                yield touched

    async def synced(self) -> None:
        """Wait until everything of the server is here and everything from here is there."""
        while not self.is_synced:
            self._progress.clear()
            await self._progress.wait()

    def rejections(self) -> list[Rejection]:
        """Return the changes that the server refused for good; they count no more."""
        return self._store.rejections(self.name)

    def dismiss(self, rejection: Rejection) -> None:
        """Forget a refused change."""
        self._store.dismiss(self.name, rejection.number)

    def touched(self, records: Collection[str]) -> None:
        """Tell the app's listeners; for the client."""
        if records:
            for listener in self._listeners:
                listener.touched.update(records)
                listener.news.set()

    def moved(self) -> None:
        """Something may have come into step; for the client."""
        self._progress.set()

    def close(self) -> None:
        """End `changes`; for the client."""
        self._closed = True
        for listener in self._listeners:
            listener.news.set()


class _Listener:
    def __init__(self) -> None:
        self.touched: set[str] = set()
        self.news = asyncio.Event()


def setting(record: str, fields: Mapping[str, Value]) -> frames.Operation:
    """Return the operation that sets *fields* of a record. Raises `InvalidValue`."""
    if not 1 <= len(fields) <= FIELDS_MAX:
        raise InvalidValue(f"set 1 to {FIELDS_MAX} fields")
    messages = {name: to_message(value) for name, value in fields.items()}
    return frames.Operation(record=record, set=frames.SetFields(fields=messages))


def deleting(record: str) -> frames.Operation:
    """Return the operation that removes a record."""
    return frames.Operation(record=record, delete=frames.DeleteRecord())
