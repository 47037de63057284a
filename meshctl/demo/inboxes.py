"""Holds a passenger's live inbox stream open through the edge, for as long as a device is online."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
import grpc.aio
import structlog
from opentelemetry import metrics

from aerofusion.notify.v1 import inbox_service_pb2, inbox_service_pb2_grpc
from meshctl.demo.counts import Counts, Recent
from meshctl.demo.inbox import Came, Inbox, age_seconds
from meshctl.demo.patience import Wait, reaction
from meshkit.status import from_rpc_error


SILENCE_MAX_S = 25.0
"""The service says something every 10 s; after this long the stream is taken for dead."""

AGAIN_S = 0.1
WAIT_WHEN_REFUSED_S = 5.0

log = structlog.get_logger()


class InboxMeters:
    """What all inboxes of a process count, for the status file and for telemetry."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self.recent_age_s = Recent()
        meter = metrics.get_meter("demo")
        self._messages = meter.create_counter(
            "demo.inbox.messages",
            unit="{message}",
            description="Inbox messages by how they came: backlog, resumed, live, updated",
        )
        self._interruptions = meter.create_counter(
            "demo.inbox.interruptions",
            unit="{stream}",
            description="Inbox streams that ended by themselves",
        )
        self._age = meter.create_histogram(
            "demo.inbox.age",
            unit="s",
            description="Age of a live message when it reaches the device",
        )

    def came(self, how: Came, message: inbox_service_pb2.InboxMessage) -> None:
        """Count *message*; how old a live one was shows how live it is."""
        self._counts.add(f"inbox_{how.value}")
        self._messages.add(1, {"came": how.value})
        if how is Came.LIVE:
            age_s = age_seconds(message)
            self._age.record(age_s)
            self.recent_age_s.add(age_s)

    def interrupted(self, reason: str) -> None:
        """Count the end of a stream that nobody here asked for."""
        self._counts.add("inbox_interruptions")
        self._interruptions.add(1, {"reason": reason})


class InboxStream:
    """Follows one inbox. `run` never returns; cancel it when the device goes offline."""

    def __init__(
        self,
        *,
        recipient: str,
        inbox: Inbox,
        token: Callable[[], str],
        meters: InboxMeters,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._recipient = recipient
        self._inbox = inbox
        self._token = token
        self._meters = meters
        self._chance = chance

    async def run(self, channel: grpc.aio.Channel) -> None:
        """Keep a stream open on *channel*; each one goes on where the last one was."""
        stub = inbox_service_pb2_grpc.InboxServiceStub(channel)
        attempt = 0
        while True:
            attempt += 1
            reason = "ended"
            wait_s = AGAIN_S
            try:
                async with contextlib.aclosing(self._answers(stub)) as answers:
                    async for answer in answers:
                        attempt = 0
                        how = self._inbox.take(answer)
                        if how is not None:
                            self._meters.came(how, answer.message)
            except TimeoutError:
                reason = "silent"
            except grpc.aio.AioRpcError as failure:
                reason, wait_s = self._judge(failure, attempt)
            if attempt == 0:  # It had said something before it ended.
                self._meters.interrupted(reason)
            await asyncio.sleep(wait_s)

    async def _answers(
        self, stub: Any
    ) -> AsyncGenerator[inbox_service_pb2.WatchInboxResponse, None]:
        self._inbox.connected()
        call = stub.WatchInbox(
            inbox_service_pb2.WatchInboxRequest(
                parent=self._recipient, cursor=self._inbox.cursor, backlog_max=10
            ),
            metadata=(("authorization", f"Bearer {self._token()}"),),
        )
        try:
            while True:
                async with asyncio.timeout(SILENCE_MAX_S):
                    answer = await call.read()
                if answer is grpc.aio.EOF:
                    return
                yield answer
        finally:
            call.cancel()

    def _judge(self, failure: grpc.aio.AioRpcError, attempt: int) -> tuple[str, float]:
        error = from_rpc_error(failure)
        reason = error.reason if error else failure.code().name
        if reason == "INVALID_CURSOR":
            self._inbox.cursor = ""
        decision = reaction(failure.code(), error, attempt=max(1, attempt), chance=self._chance())
        if isinstance(decision, Wait):
            return reason, decision.span.total_seconds()
        if attempt <= 1:
            log.info("inbox_refused", recipient=self._recipient, reason=reason)
        return reason, WAIT_WHEN_REFUSED_S
