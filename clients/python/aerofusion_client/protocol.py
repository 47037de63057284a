"""
A session as the device sees it. Pure: no clock, no I/O; time is an argument.

    OFFLINE ── connected ──▶ GREETING ── welcome ──▶ LIVE
       ▲                        │                     │  per space: subscribe ─▶ follow,
       └────── lost, goodbye ───┴─────────────────────┘  push one batch at a time, prove

Whatever is lost on the way is said again on the next stream: cursors and unsettled changes are
all there is to a session, and both are on the device's disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion_client.deltas import InvalidDelta
from aerofusion_client.replica import Diff, Field, Replica, Verdict


PROTOCOL = 1
BATCH_MUTATIONS_MAX = 100
BATCH_BYTES_MAX = 1024 * 1024
SUBSCRIBE_AGAIN_S = 5.0
"""How long after the server said that a space isn't there it is asked for again."""

HEAL_AGAIN_MAX_S = 60.0
ACK_WITHIN_S = 30.0
DEAD_AFTER_HEARTBEATS = 2.5


class Phase(Enum):
    OFFLINE = auto()
    GREETING = auto()
    LIVE = auto()


@dataclass(frozen=True, slots=True)
class Send:
    """Say this to the server."""

    frame: frames.ClientFrame


@dataclass(frozen=True, slots=True)
class Save:
    """Keep this, before anything that comes after it; then tell the app."""

    replica: Replica
    diff: Diff


@dataclass(frozen=True, slots=True)
class End:
    """End the stream; come back after *retry_after_s*, or as usual after a failure if None."""

    reason: str
    retry_after_s: float | None


Effect = Send | Save | End


@dataclass(slots=True)
class Link:
    """A space in the present session."""

    replica: Replica
    followed: bool = False
    writable: bool = False
    refused: str = ""
    """Why the server doesn't let this device follow or write; empty if it does."""

    subscribe_at: float | None = None
    push_at: float = 0.0
    in_flight: int = 0
    """Greatest number in the batch that is on its way; 0 if none is."""

    sent_at: float = 0.0
    heals: int = 0
    """How often the copy was found to differ and was asked for anew."""

    heals_in_vain: int = 0
    """How many of the last ones didn't help."""


@dataclass(slots=True)
class ClientMachine:
    """Invariant: at most one batch per space is unanswered, and nothing is sent before Welcome."""

    device_id: str
    links: dict[str, Link] = field(default_factory=dict)
    """By space name."""

    phase: Phase = Phase.OFFLINE
    session_id: str = ""
    heartbeat_s: float = 15.0
    heard_at: float = 0.0

    def on_connected(self, now: float) -> list[Effect]:
        """A stream is open."""
        self.phase = Phase.GREETING
        self.heard_at = now
        hello = frames.Hello(
            device_id=self.device_id, session_id=self.session_id, protocol=PROTOCOL
        )
        return [Send(frames.ClientFrame(hello=hello))]

    def on_lost(self) -> None:
        """The stream has ended, however it did."""
        self.phase = Phase.OFFLINE
        for link in self.links.values():
            link.followed = False
            link.in_flight = 0
            link.push_at = 0.0
            link.subscribe_at = None

    def follow(self, replica: Replica) -> list[Effect]:
        """Follow a space from now on, in this session and in those to come."""
        link = self.links[replica.name] = Link(replica)
        return [self._subscribe(link)] if self.phase is Phase.LIVE else []

    def leave(self, name: str) -> list[Effect]:
        """Follow a space no more."""
        link = self.links.pop(name, None)
        if link is None or not link.followed or self.phase is not Phase.LIVE:
            return []
        gone = frames.Unsubscribe(space_key=link.replica.space_key)
        return [Send(frames.ClientFrame(unsubscribe=gone))]

    def on_written(self, name: str, now: float) -> list[Effect]:
        """The device has made a change, and it is on disk."""
        return self._push(self.links[name], now)

    def receive(self, frame: frames.ServerFrame, now: float) -> list[Effect]:
        """Take in what the server says."""
        self.heard_at = now
        match frame.WhichOneof("frame"):
            case "welcome":
                return self._on_welcome(frame.welcome)
            case "subscribed":
                return self._on_subscribed(frame.subscribed, now)
            case "unsubscribed":
                return self._on_unsubscribed(frame.unsubscribed, now)
            case "delta":
                return self._on_delta(frame.delta, now)
            case "ack":
                return self._on_ack(frame.ack, now)
            case "refused":
                return self._on_refused(frame.refused, now)
            case "heartbeat":
                return [
                    effect
                    for head in frame.heartbeat.heads
                    if (link := self._by_key(head.space_key)) is not None
                    for effect in self._on_proof(link, head, now)
                ]
            case "goodbye":
                goodbye = frame.goodbye
                again = goodbye.HasField("retry_after")
                after = goodbye.retry_after.ToTimedelta().total_seconds() if again else None
                return [End(goodbye.reason, after)]
            case _:
                return []  # A newer server's; it will do without an answer.

    def on_tick(self, now: float) -> list[Effect]:
        """Time has passed: say again what was put off, or notice that nobody is there."""
        if self.phase is Phase.OFFLINE:
            return []
        if now >= self.heard_at + DEAD_AFTER_HEARTBEATS * self.heartbeat_s:
            return [End("SILENT", None)]
        effects: list[Effect] = []
        for link in self.links.values():
            if link.in_flight and now >= link.sent_at + ACK_WITHIN_S:
                return [End("ACK_MISSING", None)]
            if link.subscribe_at is not None and now >= link.subscribe_at:
                effects.append(self._subscribe(link))
            elif link.push_at and now >= link.push_at:
                effects += self._push(link, now)
        return effects

    def wait_s(self, now: float) -> float:
        """Return how long nothing needs to happen if nothing is heard."""
        times = [self.heard_at + DEAD_AFTER_HEARTBEATS * self.heartbeat_s]
        for link in self.links.values():
            if link.in_flight:
                times.append(link.sent_at + ACK_WITHIN_S)
            if link.subscribe_at is not None:
                times.append(link.subscribe_at)
            if link.push_at > now:
                times.append(link.push_at)
        return max(0.0, min(times) - now)

    def _on_welcome(self, welcome: frames.Welcome) -> list[Effect]:
        self.phase = Phase.LIVE
        self.session_id = welcome.session_id
        self.heartbeat_s = welcome.heartbeat.ToTimedelta().total_seconds()
        return [self._subscribe(link) for link in self.links.values()]

    def _subscribe(self, link: Link) -> Send:
        # Until the answer, what still comes belongs to the subscription before.
        link.followed, link.subscribe_at = False, None
        replica = link.replica
        cursor = None
        if replica.cursor:
            cursor = frames.Cursor(space_key=replica.space_key, seq=replica.cursor)
        subscribe = frames.Subscribe(space=replica.name, cursor=cursor)
        return Send(frames.ClientFrame(subscribe=subscribe))

    def _on_subscribed(self, told: frames.Subscribed, now: float) -> list[Effect]:
        link = self.links.get(told.space)
        if link is None:
            return []
        link.followed, link.writable, link.refused = True, told.writable, ""
        link.in_flight = 0
        fields = [Field(each.number, each.name, each.type) for each in told.schema.fields]
        link.replica.learn_schema(told.space_key, fields)
        return [Save(link.replica, Diff()), *self._push(link, now)]

    def _on_unsubscribed(self, told: frames.Unsubscribed, now: float) -> list[Effect]:
        link = self.links.get(told.space)
        if link is not None:
            link.followed, link.refused, link.in_flight = False, told.reason, 0
            link.subscribe_at = now + SUBSCRIBE_AGAIN_S
        return []

    def _on_delta(self, delta: frames.Delta, now: float) -> list[Effect]:
        link = self._by_key(delta.space_key)
        if link is None:
            return []
        try:
            verdict, diff = link.replica.apply(delta)
        except InvalidDelta:
            return [End("DELTA_INVALID", None)]
        if verdict is Verdict.OLD:
            return []
        if verdict is Verdict.GAP:
            return [self._subscribe(link)]
        effects: list[Effect] = [Save(link.replica, diff)]
        if verdict is Verdict.DIVERGED:
            effects += self._heal(link, now)
        elif link.replica.whole:
            link.heals_in_vain = 0
        return [*effects, *self._push(link, now)]

    def _on_proof(self, link: Link, head: frames.Head, now: float) -> list[Effect]:
        diverged = link.replica.prove(head) is Verdict.DIVERGED
        return self._heal(link, now) if diverged else []

    def _heal(self, link: Link, now: float) -> list[Effect]:
        """Ask for everything anew, at once the first time: the copy isn't the server's."""
        link.heals += 1
        link.heals_in_vain += 1
        link.replica.restart()
        if link.heals_in_vain == 1:
            return [self._subscribe(link)]
        link.followed = False
        link.subscribe_at = now + min(HEAL_AGAIN_MAX_S, 2.0**link.heals_in_vain)
        return []

    def _on_ack(self, ack: frames.PushAck, now: float) -> list[Effect]:
        link = self._by_key(ack.head.space_key)
        if link is None:
            return []
        diff = link.replica.settle(ack.results)
        if link.in_flight and any(each.number == link.in_flight for each in ack.results):
            link.in_flight = 0
        effects: list[Effect] = [Save(link.replica, diff)]
        return [*effects, *self._on_proof(link, ack.head, now), *self._push(link, now)]

    def _on_refused(self, told: frames.PushRefused, now: float) -> list[Effect]:
        link = self._by_key(told.space_key)
        if link is None:
            return []
        link.in_flight = 0
        if told.HasField("retry_after"):
            # Never at once, or two busy sides would keep each other busy.
            link.push_at = now + max(0.1, told.retry_after.ToTimedelta().total_seconds())
        elif told.reason == "SPACE_NOT_FOLLOWED":
            return [self._subscribe(link)]
        else:
            link.refused, link.writable = told.reason, False
        return []

    def _push(self, link: Link, now: float) -> list[Effect]:
        ready = self.phase is Phase.LIVE and link.followed and link.writable
        if not ready or link.in_flight or now < link.push_at:
            return []
        batch: list[frames.Mutation] = []
        size = 0
        for mutation in link.replica.unsettled():
            size += mutation.ByteSize()
            if batch and (size > BATCH_BYTES_MAX or len(batch) == BATCH_MUTATIONS_MAX):
                break
            batch.append(mutation)
        if not batch:
            return []
        link.in_flight, link.sent_at, link.push_at = batch[-1].number, now, 0.0
        push = frames.Push(
            space_key=link.replica.space_key,
            batch=frames.MutationBatch(
                mutations=batch, confirmed_through=link.replica.confirmed_through()
            ),
        )
        return [Send(frames.ClientFrame(push=push))]

    def _by_key(self, space_key: int) -> Link | None:
        for link in self.links.values():
            if link.followed and link.replica.space_key == space_key:
                return link
        return None
