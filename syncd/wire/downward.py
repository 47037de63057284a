"""What a session says, as bytes of the stream's messages."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion.sync.v1 import sync_service_pb2 as service
from syncd import protocol
from syncd.model import Head, Result, Space
from syncd.wire import messages


def welcome(said: protocol.Welcome, *, now_ns: int, heartbeat_s: float) -> bytes:
    return _bytes(
        frames.ServerFrame(
            welcome=frames.Welcome(
                session_id=said.session_id,
                resumed=said.resumed,
                server_time=_instant(now_ns),
                heartbeat=_duration(heartbeat_s),
            )
        )
    )


def subscribed(space: Space, *, writable: bool) -> bytes:
    return _bytes(
        frames.ServerFrame(
            subscribed=frames.Subscribed(
                space=space.name,
                space_key=space.space_key,
                schema=messages.schema_to(space.schema),
                writable=writable,
            )
        )
    )


def unsubscribed(said: protocol.Unsubscribed) -> bytes:
    message = frames.Unsubscribed(space=said.space, reason=said.reason)
    return _bytes(frames.ServerFrame(unsubscribed=message))


def ack(results: list[Result], head: Head) -> bytes:
    return _bytes(frames.ServerFrame(ack=messages.ack_to(results, head)))


def refused(
    space_key: int, reason: str, message: str = "", retry_after: timedelta | None = None
) -> bytes:
    told = frames.PushRefused(space_key=space_key, reason=reason, message=message)
    if retry_after is not None:
        told.retry_after.FromTimedelta(retry_after)
    return _bytes(frames.ServerFrame(refused=told))


def heartbeat(said: protocol.Heartbeat, *, now_ns: int) -> bytes:
    return _bytes(
        frames.ServerFrame(
            heartbeat=frames.Heartbeat(
                server_time=_instant(now_ns),
                heads=[messages.head_to(head) for head in said.heads],
            )
        )
    )


def goodbye(said: protocol.Goodbye, *, retry_after_s: float) -> bytes:
    message = frames.Goodbye(reason=said.reason)
    if said.come_back:
        message.retry_after.CopyFrom(_duration(retry_after_s))
    return _bytes(frames.ServerFrame(goodbye=message))


def _bytes(frame: frames.ServerFrame) -> bytes:
    return service.SessionResponse(frame=frame).SerializeToString()


def _instant(now_ns: int) -> Timestamp:
    return Timestamp(seconds=now_ns // 1_000_000_000, nanos=now_ns % 1_000_000_000)


def _duration(seconds: float) -> Duration:
    whole = Duration()
    whole.FromTimedelta(timedelta(seconds=seconds))
    return whole
