"""Builds and joins the parts of the telemetry service."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from meshkit import observability
from meshkit.call_limits import CallLimits
from meshkit.http import listening
from meshkit.identity import Workload
from meshkit.serving import GrpcServer, ListenFailed, ServingLimits
from telemetry.alerts.opening import open_room
from telemetry.alerts.prometheus import Shown
from telemetry.alerts.services.register import serve_alerts
from telemetry.backup.service import serve_backups
from telemetry.backup.taking import Backups
from telemetry.compiling import compile_rest, compiled
from telemetry.dashboards.opening import open_dashboards
from telemetry.dashboards.service import serve_dashboards
from telemetry.head import gauges
from telemetry.head.extract import added_up
from telemetry.head.head import Head
from telemetry.head.refill import Refill
from telemetry.head.warming import warm
from telemetry.http.api import make_app
from telemetry.intake.admission import Admission, Allowance
from telemetry.intake.http import HttpIntake
from telemetry.intake.intake import Intake
from telemetry.intake.ledger import Ledger
from telemetry.intake.own import in_process
from telemetry.intake.scraper import Scraper, read_targets
from telemetry.intake.service import serve_otlp
from telemetry.load import deltas, span_rows
from telemetry.load.decimals import Decimals
from telemetry.load.loader import Loader
from telemetry.load.numbering import continue_numbers
from telemetry.load.series import SeriesCatalog
from telemetry.log.writer import LogLimits, LogWriter
from telemetry.logs.loaded import Loaded
from telemetry.objectives.service import serve_objectives
from telemetry.policy import POLICY, SENDERS
from telemetry.query.queries import Queries
from telemetry.query.service import serve_queries
from telemetry.scaler.service import serve_scaler
from telemetry.scan.scanner import Scanner
from telemetry.signals import Signals, SpanWatch, open_signals, watch_spans
from telemetry.status.service import serve_status
from telemetry.store.opening import open_store
from telemetry.store.reader import Reader
from telemetry.store.residency import keep_small
from telemetry.store.retention import Keeper, Retention
from telemetry.store.rollups import Roller
from telemetry.trends.asking import Trends
from telemetry.trends.service import serve_trends


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from telemetry.alerts.room import Room
    from telemetry.dashboards.opening import Dashboards
    from telemetry.settings import Settings
    from telemetry.store.sessions import Sessions

log = structlog.get_logger()

FLUSH_WITHIN_S = 2.0
"""How long a stop waits for the last segments; what isn't loaded then is at the next start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The way in, running: from a request to the tables."""

    intake: Intake
    loader: Loader
    ledger: Ledger
    writer: LogWriter
    scanner: Scanner
    admission: Admission
    head: Head
    spans: SpanWatch
    loaded: Loaded
    backups: Backups


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None = None,
    workload: Workload | None = None,
) -> None:
    """
    Serve until *stop* is set; *started* receives the bound port.

    Raises:
        ListenFailed: The address is taken.
        FailedPrecondition: `STORE_TAKEN`: another process has the state folder open.

    """
    if not await compiled(stop):
        return
    async with contextlib.AsyncExitStack() as stack:
        scanner = Scanner()
        warming = asyncio.ensure_future(asyncio.to_thread(_warm, scanner))
        stack.push_async_callback(_settle, warming)
        if workload is None:
            workload = await Workload.open(settings, "telemetry")
            renewing = asyncio.ensure_future(workload.run())
            stack.push_async_callback(_settle, renewing)
        sessions = await stack.enter_async_context(open_store(settings))
        await warming
        pipeline = await stack.enter_async_context(open_pipeline(settings, sessions, scanner))
        own = observability.setup_with("telemetry", settings.replica, in_process(pipeline.intake))
        stack.push_async_callback(asyncio.to_thread, own.shutdown)
        meter = own.metrics.get_meter("telemetry")
        pipeline.ledger.publish(
            meter,
            series=lambda: scanner.series,
            log_bytes=lambda: pipeline.writer.log_bytes,
            folded_metrics=lambda: pipeline.admission.folded_metrics,
        )
        gauges.publish(pipeline.head, meter)
        pipeline.backups.publish(meter)
        stack.push_async_callback(_settle, asyncio.ensure_future(keep_small()))
        rest = asyncio.ensure_future(_warm_rest(scanner))
        stack.push_async_callback(_settle, rest)
        await stack.enter_async_context(_upkeep(settings, sessions, pipeline))
        queries = Queries(Reader(sessions), head=pipeline.head)
        stack.callback(queries.close)
        signals = await stack.enter_async_context(open_signals(sessions, pipeline, meter))
        room = await stack.enter_async_context(
            open_room(settings, workload, pipeline.intake, queries)
        )
        boards = await stack.enter_async_context(
            open_dashboards(settings, queries, pipeline.head.news, own.metrics)
        )
        port = await stack.enter_async_context(
            _answering(
                settings,
                workload,
                pipeline,
                queries,
                room=room,
                signals=signals,
                boards=boards,
            )
        )
        if started is not None and not started.done():
            started.set_result(port)
        await stop.wait()


@contextlib.asynccontextmanager
async def _upkeep(
    settings: Settings, sessions: Sessions, pipeline: Pipeline
) -> AsyncIterator[None]:
    """Keep retention and roll-ups, and scrape, for as long as the block runs."""
    async with contextlib.AsyncExitStack() as stack:
        keeper = Keeper(
            sessions,
            Retention.of(settings.retention, settings.retention_overrides),
            disk_bytes_max=settings.disk_bytes_max,
        )
        stack.push_async_callback(_settle, asyncio.ensure_future(keeper.run()))
        rolling = Roller(sessions).run(after=pipeline.loader.recovered)
        stack.push_async_callback(_settle, asyncio.ensure_future(rolling))
        stack.push_async_callback(_settle, asyncio.ensure_future(pipeline.backups.run()))
        if settings.scrape_config is not None:
            scraper = Scraper(
                pipeline.intake,
                await asyncio.to_thread(read_targets, settings.scrape_config),
                tls=await asyncio.to_thread(ssl.create_default_context),
            )
            stack.push_async_callback(_settle, asyncio.ensure_future(scraper.run()))
        yield


@contextlib.asynccontextmanager
async def _answering(
    settings: Settings,
    workload: Workload,
    pipeline: Pipeline,
    queries: Queries,
    *,
    room: Room,
    signals: Signals,
    boards: Dashboards,
) -> AsyncIterator[int]:
    """Serve OTLP and queries over gRPC, and Prometheus's HTTP API; yields the gRPC port."""
    server = GrpcServer(
        workload=workload,
        listen=settings.listen,
        policy=POLICY,
        unix_socket=settings.unix_socket,
        limits=ServingLimits(message_bytes_max=settings.message_bytes_max),
        call_limits=CallLimits(workload, settings.gateway_address),
    )
    serve_otlp(server, pipeline.intake)
    serve_backups(server, pipeline.backups)
    serve_queries(server, queries)
    step_ms = int(settings.rules_interval / timedelta(milliseconds=1))
    serve_alerts(server, room, queries, step_ms=step_ms)
    serve_objectives(server, room, queries)
    serve_status(server, room, queries)
    serve_dashboards(server, boards.database, queries, boards.hub)
    trends = Trends(queries)
    serve_trends(server, trends)
    serve_scaler(server, queries, trends)
    signals.serve(server)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(trends.close)
        http = make_app(queries, Shown(room.runner))
        HttpIntake(
            pipeline.intake, senders=SENDERS, body_bytes_max=settings.message_bytes_max
        ).serve(http)
        api = listening(
            http,
            address=settings.http_listen,
            tls=workload.server_ssl_context(),
            unix_socket=settings.http_unix_socket,
            grace=settings.shutdown_grace,
            unpack=False,
        )
        try:
            http_port = await stack.enter_async_context(api)
        except OSError as error:
            raise ListenFailed(f"cannot listen on {settings.http_listen}: {error}") from None
        log.info("serving_http", port=http_port)
        port = await server.start()
        stack.push_async_callback(server.drain, settings.shutdown_grace)
        yield port


@contextlib.asynccontextmanager
async def open_pipeline(
    settings: Settings, sessions: Sessions, scanner: Scanner
) -> AsyncIterator[Pipeline]:
    """
    Run the way in. A fault of its tasks, such as a failed fsync, ends the caller too.

    What isn't loaded when it ends is loaded by the next start.
    """
    folder = settings.state_dir / "log"
    await continue_numbers(folder, sessions)
    ledger = Ledger()
    catalog = SeriesCatalog(sessions, scanner, folder)
    await catalog.read_known()
    loaded = Loaded()
    writer = LogWriter(
        folder,
        LogLimits(
            segment_age=settings.segment_age,
            waiting_bytes_max=settings.waiting_bytes_max,
            log_bytes_max=settings.log_bytes_max,
        ),
        on_released=loaded.note,
    )
    admission = Admission(scanner, catalog, _allowance(settings), folder)
    head = Head(settings.head_bytes_max)
    loader = Loader(
        sessions=sessions,
        writer=writer,
        folder=folder,
        admission=admission,
        catalog=catalog,
        ledger=ledger,
        on_sums=lambda samples: head.take(added_up(samples)),
    )
    refill = Refill(head, sessions, recovered=loader.recovered, span=settings.head_span)
    spans = watch_spans(settings)
    await asyncio.to_thread(spans.edges.warm)
    intake = Intake(
        admission=admission,
        catalog=catalog,
        log=writer,
        ledger=ledger,
        head=head,
        on_spans=spans.take,
        pacing_bytes_max=settings.waiting_bytes_max,
    )
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(writer.run())
        loading = tasks.create_task(loader.run())
        filling = tasks.create_task(refill.run())
        yield Pipeline(
            intake=intake,
            loader=loader,
            ledger=ledger,
            writer=writer,
            scanner=scanner,
            admission=admission,
            head=head,
            spans=spans,
            loaded=loaded,
            backups=Backups(settings, sessions, loader),
        )
        filling.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_WITHIN_S):
                await loader.flush()
        loading.cancel()
        writing.cancel()


def _allowance(settings: Settings) -> Allowance:
    return Allowance(
        series_max=settings.series_max,
        tenant_series_max=settings.tenant_series_max,
        tenant_points_per_s=settings.tenant_points_per_s,
        tenant_new_series_per_s=settings.tenant_new_series_per_s,
        tenants_max=settings.tenants_max,
        metric_series_max=settings.metric_series_max,
    )


def _warm(scanner: Scanner) -> None:
    scanner.warm()
    warm()
    Decimals().warm()


async def _warm_rest(scanner: Scanner) -> None:
    await compile_rest()
    await asyncio.to_thread(scanner.warm_rest)
    await asyncio.to_thread(deltas.warm)
    await asyncio.to_thread(span_rows.warm)


async def _settle(task: asyncio.Future[None]) -> None:
    """End *task* and forget how it ended."""
    task.cancel()
    await asyncio.wait({task})
