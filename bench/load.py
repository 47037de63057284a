"""Load that comes when it comes: an open loop, whatever the answers take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc


IN_FLIGHT_MAX = 2_000
"""Calls under way at once; the loop counts itself broken beyond it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One call."""

    target: int
    """Which of the calls it was."""

    scheduled: float
    """When it was due, in seconds of the loop's clock."""

    sent: float
    """When it was made."""

    answered: float
    """When it ended."""

    code: str
    """Name of the gRPC status; `OK` if it succeeded."""

    @property
    def latency_ms(self) -> float:
        """From sending to the answer."""
        return (self.answered - self.sent) * 1000


async def open_loop(
    calls: Sequence[Callable[[], Awaitable[object]]],
    *,
    rate: float,
    seconds: float,
    stop: asyncio.Event | None = None,
    in_flight_max: int = IN_FLIGHT_MAX,
) -> list[Sample]:
    """
    Make *calls* in turn, *rate* a second in all, for *seconds* or until *stop* is set.

    A late answer delays no later call.

    Raises:
        RuntimeError: More than *in_flight_max* calls were under way.

    """
    samples: list[Sample] = []
    under_way: set[asyncio.Task[None]] = set()
    start = time.perf_counter()
    number = 0

    async def one(target: int, due: float) -> None:
        sent = time.perf_counter()
        code = "OK"
        try:
            await calls[target]()
        except grpc.RpcError as error:
            code = error.code().name
        samples.append(Sample(target, due - start, sent - start, time.perf_counter() - start, code))

    while not (stop is not None and stop.is_set()):
        due = start + number / rate
        if due - start >= seconds:
            break
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        if len(under_way) >= in_flight_max:
            raise RuntimeError(f"{in_flight_max} calls are under way: the target can't keep up")
        task = asyncio.create_task(one(number % len(calls), due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1
    if under_way:
        await asyncio.wait(under_way)
    return samples
