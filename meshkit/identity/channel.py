"""
Channels that outlive certificates.

A gRPC channel keeps the certificate it was made with. These make a new channel
behind the same stubs once the identity has changed: new calls take the new
connection, calls under way finish on the old one, which is closed after the last.

    calls ──▶ current ──rotation──▶ retired ──last call ends──▶ closed
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import grpc
import grpc.aio


if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Rotating(Protocol):
    """What can change its certificate."""

    @property
    def generation(self) -> int:
        """Grows with every change."""


@dataclass(slots=True, eq=False)
class _Connection:
    """One channel, made in one generation of the identity."""

    channel: Any
    generation: int
    calls: int = 0
    retired: bool = False

    @property
    def finished(self) -> bool:
        return self.retired and self.calls == 0


class RotatingChannel(grpc.aio.Channel):
    """
    A `grpc.aio.Channel` that follows the identity's rotations.

    Args:
        identity: Whose `generation` to follow.
        connect: Makes a channel with the identity as it is now.

    """

    def __init__(self, identity: Rotating, connect: Callable[[], grpc.aio.Channel]) -> None:
        self._identity = identity
        self._connect = connect
        self._current = _Connection(connect(), identity.generation)
        self._retired: set[_Connection] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> _Connection:
        """Return the connection for a new call, a new one after a rotation."""
        if self._current.generation != self._identity.generation:
            old = self._current
            self._current = _Connection(self._connect(), self._identity.generation)
            old.retired = True
            self._retired.add(old)
            self._close_if_finished(old)
        return self._current

    def release(self, connection: _Connection) -> None:
        """Note that a call on *connection* has ended."""
        connection.calls -= 1
        self._close_if_finished(connection)

    def _close_if_finished(self, connection: _Connection) -> None:
        if connection.finished and connection in self._retired:
            self._retired.discard(connection)
            task = asyncio.get_running_loop().create_task(connection.channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return _RotatingCall(self, "unary_unary", (method, *args), options)

    def unary_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return _RotatingCall(self, "unary_stream", (method, *args), options)

    def stream_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return _RotatingCall(self, "stream_unary", (method, *args), options)

    def stream_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return _RotatingCall(self, "stream_stream", (method, *args), options)

    async def close(self, grace: float | None = None) -> None:
        connections = [self._current, *self._retired]
        self._retired.clear()
        await asyncio.gather(*(one.channel.close(grace) for one in connections), *self._closing)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - grpc's signature
        state: grpc.ChannelConnectivity = self.current().channel.get_state(try_to_connect)
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self.current().channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self.current().channel.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close(None)


class _RotatingCall:
    """A multi-callable that is bound to a connection only when it is called."""

    __slots__ = ("_args", "_bound", "_channel", "_generation", "_kind", "_options")

    def __init__(
        self, channel: RotatingChannel, kind: str, args: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self._channel = channel
        self._kind = kind
        self._args = args
        self._options = options
        self._bound: Any = None
        self._generation = -1

    def __call__(self, *args: Any, **options: Any) -> Any:
        connection = self._channel.current()
        if self._generation != connection.generation:
            self._bound = getattr(connection.channel, self._kind)(*self._args, **self._options)
            self._generation = connection.generation
        call = self._bound(*args, **options)
        connection.calls += 1
        call.add_done_callback(lambda _: self._channel.release(connection))
        return call


class RotatingSyncChannel(grpc.Channel):
    """A `grpc.Channel` that follows the identity's rotations; usable from any thread."""

    def __init__(self, identity: Rotating, connect: Callable[[], grpc.Channel]) -> None:
        self._identity = identity
        self._connect = connect
        self._lock = threading.Lock()
        self._current = _Connection(connect(), identity.generation)
        self._retired: set[_Connection] = set()
        self._watchers: dict[Callable[[grpc.ChannelConnectivity], None], bool] = {}

    def acquire(self) -> _Connection:
        """Return the connection for a new call, and count that call."""
        finished = None
        with self._lock:
            if self._current.generation != self._identity.generation:
                finished = self._rotate()
            self._current.calls += 1
            connection = self._current
        if finished is not None:
            finished.channel.close()
        return connection

    def release(self, connection: _Connection) -> None:
        """Note that a call on *connection* has ended."""
        with self._lock:
            connection.calls -= 1
            finished = connection.finished and connection in self._retired
            if finished:
                self._retired.discard(connection)
        if finished:
            # The last call's own thread may be gRPC's, which must not close its channel.
            threading.Thread(target=connection.channel.close, daemon=True).start()

    def _rotate(self) -> _Connection | None:
        old = self._current
        self._current = _Connection(self._connect(), self._identity.generation)
        for callback, try_to_connect in self._watchers.items():
            self._current.channel.subscribe(callback, try_to_connect=try_to_connect)
        old.retired = True
        if old.finished:
            return old
        self._retired.add(old)
        return None

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return _RotatingSyncCall(self, "unary_unary", (method, *args), options)

    def unary_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return _RotatingSyncCall(self, "unary_stream", (method, *args), options)

    def stream_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return _RotatingSyncCall(self, "stream_unary", (method, *args), options)

    def stream_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return _RotatingSyncCall(self, "stream_stream", (method, *args), options)

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool | None = False,  # noqa: FBT001, FBT002 - grpc's signature
    ) -> None:
        with self._lock:
            self._watchers[callback] = bool(try_to_connect)
            channel = self._current.channel
        channel.subscribe(callback, try_to_connect=try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        with self._lock:
            self._watchers.pop(callback, None)
            channel = self._current.channel
        channel.unsubscribe(callback)

    def close(self) -> None:
        with self._lock:
            connections = [self._current, *self._retired]
            self._retired.clear()
        for connection in connections:
            connection.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()


class _RotatingSyncCall:
    """As `_RotatingCall`, with the three ways the synchronous API has to call."""

    __slots__ = ("_args", "_channel", "_kind", "_options")

    def __init__(
        self,
        channel: RotatingSyncChannel,
        kind: str,
        args: tuple[Any, ...],
        options: dict[str, Any],
    ) -> None:
        self._channel = channel
        self._kind = kind
        self._args = args
        self._options = options

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self._kind.endswith("_stream"):
            return self._start("__call__", args, options)
        return self._finish("__call__", args, options)

    def with_call(self, *args: Any, **options: Any) -> Any:
        return self._finish("with_call", args, options)

    def future(self, *args: Any, **options: Any) -> Any:
        return self._start("future", args, options)

    def _finish(self, way: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        connection = self._channel.acquire()
        try:
            return getattr(self._bound(connection), way)(*args, **options)
        finally:
            self._channel.release(connection)

    def _start(self, way: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        connection = self._channel.acquire()
        try:
            call = getattr(self._bound(connection), way)(*args, **options)
        except BaseException:
            self._channel.release(connection)
            raise
        if not call.add_callback(lambda: self._channel.release(connection)):
            self._channel.release(connection)
        return call

    def _bound(self, connection: _Connection) -> Any:
        return getattr(connection.channel, self._kind)(*self._args, **self._options)
