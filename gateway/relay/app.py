"""The relay's composition root: the only module that builds and joins its parts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog

from gateway.relay.limits import RelayLimits
from gateway.relay.load import carry
from gateway.relay.pipe import pipe
from gateway.relay.public import PublicCertificate
from gateway.relay.secrets import Secrets
from gateway.relay.settings import Settings
from gateway.relay.shelf import Shelf
from gateway.relay.sink import EXPORT, METRICS, Sink
from gateway.relay.stream import DeltaStream
from gateway.relay.upstream import ADS, DELTA, LOAD, LOAD_REPORTING, SOTW, Upstream
from meshkit.errors import FailedPrecondition
from meshkit.identity import Workload
from meshkit.main import run_service
from meshkit.observability import observed
from meshkit.serving import ListenFailed


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Context = Any

log = structlog.get_logger(__name__)

SERVICE: Final = "edge"
"""The identity of the relay, and of the Envoy beside it."""


def main(argv: list[str] | None = None) -> int:
    """Run `relay [serve | check-config]`; returns the exit code."""
    return run_service("relay", Settings, serve, argv or ["serve"])


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None = None,
    workload: Workload | None = None,
    limits: RelayLimits | None = None,
) -> None:
    """
    Serve Envoy until *stop* is set.

    Args:
        started: Receives 0 (there is no port) once the socket accepts connections.
        workload: Replaces the stored identity; for tests.

    Raises:
        FailedPrecondition: IDENTITY_MISSING, SOCKET_FOLDER_OPEN.
        ListenFailed: The socket can't be made.

    """
    limits = limits or RelayLimits()
    _close_folder(settings.socket.parent)
    if workload is None:
        workload = await Workload.open(settings, SERVICE)
    async with observed("edge", settings.replica, workload, settings.telemetry_address):
        await _serve(settings, workload, limits, stop=stop, started=started)


async def _serve(
    settings: Settings,
    workload: Workload,
    limits: RelayLimits,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None,
) -> None:
    shelf = Shelf(settings.shelf_dir, pause=limits.shelf_pause)
    await asyncio.to_thread(shelf.load)
    secrets = Secrets()
    secrets.set_workload(workload.material)
    public = PublicCertificate(
        path=settings.identity_dir / "public.pem",
        names=settings.names,
        workload=workload,
        address=settings.gateway_address,
        secrets=secrets,
    )
    public.load()
    upstream = Upstream(workload, settings.gateway_address, limits)
    sink = Sink(workload, settings.telemetry_address, settings.replica)
    server = _server(shelf, secrets, upstream, limits, sink)
    _listen(server, settings.socket)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(shelf.run(), name="relay.shelf"),
            tasks.create_task(workload.run(), name="relay.identity"),
            tasks.create_task(public.run(), name="relay.public_certificate"),
            tasks.create_task(_follow_rotations(workload, secrets), name="relay.rotations"),
            tasks.create_task(sink.run(), name="relay.stats"),
        ]
        await server.start()
        log.info("relay.serving", socket=str(settings.socket))
        if started is not None:
            started.set_result(0)
        await stop.wait()
        await server.stop(0)  # Envoy goes on with what it has, and comes back.
        for task in running:
            task.cancel()
    await upstream.close()
    await sink.close()
    await shelf.save()


async def _follow_rotations(workload: Workload, secrets: Secrets) -> None:
    while True:
        await workload.rotation()
        secrets.set_workload(workload.material)


def _server(
    shelf: Shelf, secrets: Secrets, upstream: Upstream, limits: RelayLimits, sink: Sink
) -> grpc.aio.Server:
    deltas = asyncio.Semaphore(limits.delta_streams_max)
    pipes = asyncio.Semaphore(limits.pipes_max)

    async def delta(_: object, context: Context) -> None:
        stream = DeltaStream(
            context,
            shelf=shelf,
            secrets=secrets,
            upstream=upstream,
            limits=limits,
            taken=sink.changed,
        )
        await _within(deltas, context, stream.run)

    async def sotw(_: object, context: Context) -> None:
        await _within(pipes, context, lambda: pipe(context, upstream))

    loads = asyncio.Semaphore(limits.delta_streams_max)

    async def load(_: object, context: Context) -> None:
        await _within(loads, context, lambda: carry(context, upstream, limits))

    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.message_bytes_max),
            ("grpc.max_send_message_length", limits.message_bytes_max),
        ]
    )
    delta_handler: Any = grpc.stream_stream_rpc_method_handler(delta)
    sotw_handler: Any = grpc.stream_stream_rpc_method_handler(sotw)
    handlers = {DELTA: delta_handler, SOTW: sotw_handler}
    load_handler: Any = grpc.stream_stream_rpc_method_handler(load)
    export: Any = grpc.unary_unary_rpc_method_handler(sink.export)
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(ADS, handlers),
            grpc.method_handlers_generic_handler(LOAD_REPORTING, {LOAD: load_handler}),
            grpc.method_handlers_generic_handler(METRICS, {EXPORT: export}),
        ]
    )
    return server


async def _within(
    bound: asyncio.Semaphore, context: Context, work: Callable[[], Awaitable[None]]
) -> None:
    if bound.locked():
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many streams.")
    async with bound:
        await work()


def _close_folder(folder: Path) -> None:
    """Make the socket's folder, which only this user may enter: it hands out private keys."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        raise FailedPrecondition(
            "SOCKET_FOLDER_OPEN",
            f"{folder} is open to other users; make it 0700.",
            path=str(folder),
        )


def _listen(server: grpc.aio.Server, socket: Path) -> None:
    socket.unlink(missing_ok=True)
    try:
        server.add_insecure_port(f"unix:{socket.absolute()}")
    except RuntimeError as error:
        raise ListenFailed(f"cannot listen on {socket}: {error}") from None
