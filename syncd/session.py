"""One stream of a session: does what the state machine in `protocol.py` says."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import MeshError, NotFound, Overloaded, Unavailable
from syncd import protocol, rules
from syncd.feed import Feeds
from syncd.metrics import Meters
from syncd.protocol import SessionMachine, State
from syncd.sessions import Sessions
from syncd.wire import downward, messages


if TYPE_CHECKING:
    from datetime import timedelta

    from aerofusion.sync.v1 import frames_pb2 as frames
    from meshkit.authz import Caller
    from syncd.devices import Devices
    from syncd.limits import Limits
    from syncd.store.spaces import SpaceStore
    from syncd.writer import Writer

Write = Callable[[bytes], Awaitable[None]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all sessions of a process share."""

    spaces: SpaceStore
    devices: Devices
    writer: Writer
    feeds: Feeds
    sessions: Sessions
    meters: Meters
    limits: Limits
    stopping: asyncio.Event
    heartbeat: timedelta
    age_max: timedelta
    write_timeout: timedelta
    come_back_after: timedelta


class SessionStream:
    """Reads a device's frames and writes the server's, until one of them ends it."""

    def __init__(self, shared: Surroundings, caller: Caller, write: Write) -> None:
        self._shared = shared
        self._caller = caller
        self._write = write
        self._tenant = ""
        self._entered = ""
        self._outgoing: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._machine = SessionMachine(
            subscriptions_max=shared.limits.subscriptions_max,
            batch_mutations_max=shared.limits.batch_mutations_max,
            heartbeat_s=shared.heartbeat.total_seconds(),
            age_max_s=shared.age_max.total_seconds(),
            now=time.monotonic(),
        )

    async def run(self, incoming: AsyncIterator[frames.ClientFrame]) -> None:
        """Serve until goodbye; returns early if the stream breaks."""
        reader = asyncio.create_task(self._read(incoming), name="session-reader")
        stopper = asyncio.create_task(self._stop_with_server(), name="session-stopper")
        try:
            await self._speak()
        finally:
            for task in (reader, stopper):
                task.cancel()
            await asyncio.gather(reader, stopper, return_exceptions=True)
            for effect in self._machine.close("STREAM_BROKEN"):
                if isinstance(effect, protocol.Release):
                    self._shared.feeds.leave(effect.space_key, self.wake)
            if self._entered:
                self._shared.sessions.leave(self._entered, self)

    def wake(self) -> None:
        """There is news of a space, or time has come."""
        self._news.set()

    def take_over(self) -> None:
        self._do_now(self._machine.close("TAKEN_OVER"))

    def tell(self, data: bytes) -> None:
        if len(self._outgoing) < self._shared.limits.pushes_queued_max:
            self._say(data)

    async def _stop_with_server(self) -> None:
        await self._shared.stopping.wait()
        self._do_now(self._machine.close("SERVER_STOPPING", come_back=True))

    async def _read(self, incoming: AsyncIterator[frames.ClientFrame]) -> None:
        try:
            async for frame in incoming:
                await self._take(frame)
                while len(self._outgoing) >= self._shared.limits.pushes_queued_max:
                    self._room.clear()
                    await self._room.wait()
                if self._machine.state is State.CLOSED:
                    return
        except MeshError as error:
            log.info("session_ended", reason=error.reason)
            come_back = isinstance(error, Unavailable | Overloaded)
            self._do_now(self._machine.close(error.reason, come_back=come_back))
        except Exception:
            log.exception("session_bug")
            self._do_now(self._machine.close("INTERNAL", come_back=True))

    async def _take(self, frame: frames.ClientFrame) -> None:
        machine = self._machine
        match frame.WhichOneof("frame"):
            case "hello":
                hello = frame.hello
                effects = machine.on_hello(hello.device_id, hello.session_id, hello.protocol)
            case "subscribe":
                cursor = frame.subscribe.cursor
                effects = machine.on_subscribe(frame.subscribe.space, cursor.space_key, cursor.seq)
            case "unsubscribe":
                effects = machine.on_unsubscribe(frame.unsubscribe.space_key)
            case "push":
                batch = messages.batch_from(machine.device, frame.push.batch)
                effects = machine.on_push(frame.push.space_key, batch)
            case _:
                effects = machine.close("FRAME_INVALID")
        for effect in effects:
            await self._do(effect)

    async def _do(self, effect: protocol.Effect) -> None:
        """Do what takes time; the rest goes on to `_do_now`."""
        match effect:
            case protocol.Claim():
                await self._claim(effect)
            case protocol.Open():
                await self._open(effect)
            case protocol.Apply():
                await self._apply(effect)
            case _:
                self._do_now([effect])

    def _do_now(self, effects: list[protocol.Effect]) -> None:
        for effect in effects:
            match effect:
                case protocol.Release():
                    self._shared.feeds.leave(effect.space_key, self.wake)
                case protocol.Welcome():
                    heartbeat_s = self._shared.heartbeat.total_seconds()
                    now_ns = time.time_ns()
                    self._say(downward.welcome(effect, now_ns=now_ns, heartbeat_s=heartbeat_s))
                case protocol.Subscribed():
                    feed = self._shared.feeds.get(effect.space_key)
                    if feed is not None:
                        writable = rules.may_write(self._caller, feed.space)
                        self._say(downward.subscribed(feed.space, writable=writable))
                case protocol.Unsubscribed():
                    self._say(downward.unsubscribed(effect))
                case protocol.PushRefused():
                    self._say(downward.refused(effect.space_key, effect.reason))
                case protocol.Heartbeat():
                    self._say(downward.heartbeat(effect, now_ns=time.time_ns()))
                case protocol.Goodbye():
                    after = self._shared.come_back_after.total_seconds()
                    after = 0.0 if effect.reason == "SESSION_ROTATED" else after
                    self._say(downward.goodbye(effect, retry_after_s=after))
                case _:
                    raise AssertionError(f"{effect} takes time")

    def _say(self, data: bytes) -> None:
        self._outgoing.append(data)
        self._news.set()

    async def _claim(self, claim: protocol.Claim) -> None:
        self._tenant = self._caller.tenant
        await self._shared.devices.claim(self._caller, claim.device)
        session_id, resumed = self._shared.sessions.enter(
            claim.session_id, tenant=self._tenant, device=claim.device, stream=self
        )
        self._entered = session_id
        self._do_now(self._machine.on_claimed(session_id, resumed=resumed))

    async def _open(self, asked: protocol.Open) -> None:
        try:
            tenant, space_id = rules.parse_space(asked.space)
            space = await self._shared.spaces.get(tenant, space_id)
            if not rules.may_read(self._caller, space):
                self._do_now(self._machine.on_not_opened(asked, "SPACE_NOT_FOUND"))
                return
        except Unavailable:
            raise
        except MeshError as error:
            self._do_now(self._machine.on_not_opened(asked, error.reason))
            return
        feed = self._shared.feeds.follow(space, self.wake)
        effects = self._machine.on_opened(
            asked, space_key=space.space_key, head=feed.head, version=feed.space.version
        )
        self._do_now(effects)

    async def _apply(self, asked: protocol.Apply) -> None:
        feed = self._shared.feeds.get(asked.space_key)
        try:
            if feed is None:
                raise NotFound("SPACE_NOT_FOUND", "The space is gone.")
            rules.check_write(self._caller, feed.space)
            results, head = await self._shared.writer.submit(asked.space_key, asked.batch)
        except MeshError as error:
            retry_after = getattr(error, "retry_after", None)
            self._say(downward.refused(asked.space_key, error.reason, str(error), retry_after))
        else:
            self._say(downward.ack(results, head))

    async def _speak(self) -> None:
        """Write what is to be said, then what is to be read; wait for either."""
        machine = self._machine
        while True:
            while self._outgoing:
                await self._send(self._outgoing.popleft())
                self._room.set()
            if machine.state is State.CLOSED:
                return
            self._news.clear()
            self._look()
            read = machine.next_read()
            if read is not None:
                await self._send_changes(read)
                continue
            if self._outgoing:
                continue
            try:
                async with asyncio.timeout(machine.wait_s(time.monotonic())):
                    await self._news.wait()
            except TimeoutError:
                self._do_now(machine.on_tick(time.monotonic()))

    def _look(self) -> None:
        """Take in what the feeds know by now."""
        for space_key, followed in list(self._machine.followed.items()):
            feed = self._shared.feeds.get(space_key)
            if feed is None or feed.gone:
                self._do_now(self._machine.drop(space_key, "SPACE_DELETED"))
            elif feed.space.version > followed.version and not rules.may_read(
                self._caller, feed.space
            ):
                self._do_now(self._machine.drop(space_key, "ACCESS_REVOKED"))
            else:
                self._do_now(self._machine.on_head(space_key, feed.head, feed.space.version))

    async def _send_changes(self, read: protocol.Read) -> None:
        try:
            frame = await self._shared.feeds.frame(read.space_key, read.after, reset=read.reset)
        except NotFound:
            self._do_now(self._machine.drop(read.space_key, "SPACE_DELETED"))
            return
        except Unavailable as error:
            self._do_now(self._machine.close(error.reason, come_back=True))
            return
        self._look()
        if not self._machine.wants(read):
            return  # Permission or interest has gone while it was read.
        await self._send(frame.data)
        self._shared.meters.sent(frame, whole=read.after == 0)
        self._machine.on_sent(read, frame.to_seq, frame.state_hash)

    async def _send(self, data: bytes) -> None:
        async with asyncio.timeout(self._shared.write_timeout.total_seconds()):
            await self._write(data)
        self._machine.said(time.monotonic())
