"""
Group commit: mutations of many devices for one space go into one transaction.

While a transaction is under way the next group gathers, so that the rate of one space isn't
bound by the rate of commits; spaces don't wait for each other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from meshkit.errors import MeshError, Overloaded
from syncd.limits import Limits
from syncd.model import Batch, Head, Result
from syncd.store.cells import Applied


log = structlog.get_logger()


class Applies(Protocol):
    """What makes batches durable."""

    async def apply(self, space_key: int, batches: list[Batch]) -> Applied: ...


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch and whoever waits for it."""

    batch: Batch
    done: asyncio.Future[tuple[list[Result], Head]]


class Writer:
    """One queue per space, worked off by one task while there is something in it."""

    def __init__(
        self,
        cells: Applies,
        limits: Limits,
        tasks: asyncio.TaskGroup,
        on_commit: Callable[[Head, Applied], None],
    ) -> None:
        self._cells = cells
        self._limits = limits
        self._tasks = tasks
        self._on_commit = on_commit
        self._queues: dict[int, deque[Waiting]] = {}

    async def submit(self, space_key: int, batch: Batch) -> tuple[list[Result], Head]:
        """
        Return the results of *batch* once they are durable, and where the space then stood.

        Raises:
            Overloaded: Too much is waiting for this space.
            Unavailable: The database is away; the batch may or may not have been applied.
            NotFound: The space is gone.

        """
        queue = self._queues.get(space_key)
        if queue is None:
            queue = self._queues[space_key] = deque()
            self._tasks.create_task(self._work(space_key, queue), name=f"writer-{space_key}")
        waiting = sum(len(each.batch.mutations) for each in queue)
        if waiting + len(batch.mutations) > self._limits.write_queue_max:
            raise Overloaded(
                "WRITE_QUEUE_FULL",
                "Too many mutations wait for this space; repeat the push later.",
                retry_after=timedelta(seconds=1),
            )
        entry = Waiting(batch, asyncio.get_running_loop().create_future())
        queue.append(entry)
        return await entry.done

    async def _work(self, space_key: int, queue: deque[Waiting]) -> None:
        # The first of a burst leaves at once; what comes meanwhile makes up the next group.
        while True:
            await asyncio.sleep(0)
            if not queue:
                del self._queues[space_key]
                return
            group: list[Waiting] = []
            size = 0
            while queue:
                size += len(queue[0].batch.mutations)
                if group and size > self._limits.write_group_max:
                    break
                group.append(queue.popleft())
            await self._commit(space_key, group)

    async def _commit(self, space_key: int, group: list[Waiting]) -> None:
        try:
            applied = await self._cells.apply(space_key, [each.batch for each in group])
        except MeshError as error:
            _fail(group, error)
        except Exception as error:
            if len(group) > 1:
                # One of them is at fault: let it not take the others along.
                for each in group:
                    await self._commit(space_key, [each])
                return
            log.exception("batch_failed", space_key=space_key, device=group[0].batch.device)
            _fail(group, error)
        except asyncio.CancelledError:
            for each in group:
                each.done.cancel()
            raise
        else:
            self._on_commit(applied.head, applied)
            for each, results in zip(group, applied.results, strict=True):
                if not each.done.done():
                    each.done.set_result((results, applied.head))


def _fail(group: list[Waiting], error: Exception) -> None:
    for each in group:
        if not each.done.done():
            each.done.set_exception(error)
