"""Our own traces, metrics and logs, exported by OTLP to our own telemetry."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry import metrics, trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from meshkit import process


if TYPE_CHECKING:
    from meshkit.identity import Workload

Send = Callable[[str, bytes, float], None]
"""Sends an OTLP request: method path, message, seconds at most. Raises if it wasn't taken."""

PATHS = {
    signal: f"/opentelemetry.proto.collector.{package}.v1.{service}/Export"
    for signal, package, service in (
        ("traces", "trace", "TraceService"),
        ("metrics", "metrics", "MetricsService"),
        ("logs", "logs", "LogsService"),
    )
}
EXPORT_TIMEOUT_S = 5.0
FLUSH_TIMEOUT_S = 0.5
"""What each signal may take to leave when the process ends; telemetry may be gone by then."""

ATTEMPTS_MAX = 3
METRICS_INTERVAL_MS = 5_000
BATCH_INTERVAL_MS = 1_000
QUEUED_MAX = 4_096
"""Spans or log records waiting in memory; newer ones are dropped beyond it."""

NEVER_EXPORTED = ("opentelemetry", "grpc", "asyncio")
"""Loggers whose records would be about exporting records."""

_RETRYABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_BACKOFF_S = 0.2


@dataclass(frozen=True, slots=True)
class Observability:
    """What runs in the background to export; `shutdown` flushes and ends it."""

    traces: TracerProvider
    metrics: MeterProvider
    logs: LoggerProvider
    handler: logging.Handler
    closing: threading.Event

    def shutdown(self) -> None:
        """Flush what is queued, within about a second. Blocks: call it in a thread."""
        self.closing.set()
        logging.getLogger().removeHandler(self.handler)
        flushing = [
            threading.Thread(target=provider.shutdown, name="flush-telemetry")
            for provider in (self.traces, self.logs, self.metrics)
        ]
        for thread in flushing:
            thread.start()
        for thread in flushing:
            thread.join()


def setup(
    service: str, replica: str, workload: Workload, telemetry_address: str
) -> Observability | None:
    """
    Export this process's traces, metrics and logs to the telemetry service. Once per process.

    Returns:
        None, and does nothing, if *telemetry_address* is empty.

    """
    if not telemetry_address:
        return None
    return setup_with(service, replica, over_grpc(workload, telemetry_address))


def setup_with(service: str, replica: str, send: Send) -> Observability:
    """
    Export this process's traces, metrics and logs through *send*. Once per process.

    The resource is `service.name`, `service.namespace` = `aerofusion` and
    `service.instance.id` = *replica*.
    """
    resource = Resource.create(
        {
            "service.name": service,
            "service.namespace": "aerofusion",
            "service.instance.id": replica,
        }
    )
    closing = threading.Event()
    traces = TracerProvider(resource=resource)
    traces.add_span_processor(
        BatchSpanProcessor(
            _Spans(send, closing),
            max_queue_size=QUEUED_MAX,
            schedule_delay_millis=BATCH_INTERVAL_MS,
        )
    )
    meters = MeterProvider(
        resource=resource,
        metric_readers=[
            PeriodicExportingMetricReader(
                _Metrics(send, closing), export_interval_millis=METRICS_INTERVAL_MS
            )
        ],
    )
    process.publish(meters.get_meter("meshkit.process"))
    logs = LoggerProvider(resource=resource)
    logs.add_log_record_processor(
        BatchLogRecordProcessor(
            _Logs(send, closing), max_queue_size=QUEUED_MAX, schedule_delay_millis=BATCH_INTERVAL_MS
        )
    )
    trace.set_tracer_provider(traces)
    metrics.set_meter_provider(meters)
    handler = _Handler(logs)
    logging.getLogger().addHandler(handler)
    return Observability(traces, meters, logs, handler, closing)


def over_grpc(workload: Workload, address: str) -> Send:
    """Return a `Send` to the telemetry service at *address*, over mutual TLS."""
    channel = workload.sync_channel(address, service="telemetry")
    calls: dict[str, Any] = {path: channel.unary_unary(path) for path in PATHS.values()}

    def send(path: str, message: bytes, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                calls[path](message, timeout=max(0.1, deadline - time.monotonic()))
            except grpc.RpcError as error:
                wait = _BACKOFF_S * 2**attempt
                late = time.monotonic() + wait > deadline
                if error.code() not in _RETRYABLE or attempt == ATTEMPTS_MAX or late:
                    raise
                threading.Event().wait(wait)
            else:
                return

    return send


class _Exporter:
    def __init__(self, send: Send, closing: threading.Event) -> None:
        self._send = send
        self._closing = closing

    def _try(self, signal: str, message: Any, timeout_s: float = EXPORT_TIMEOUT_S) -> bool:
        if self._closing.is_set():
            timeout_s = FLUSH_TIMEOUT_S
        try:
            self._send(PATHS[signal], message.SerializeToString(), timeout_s)
        except Exception:  # noqa: BLE001 - telemetry that can't be sent must not break what it tells of
            return False
        return True

    def shutdown(self, timeout_millis: float = 0, **_: Any) -> None:
        """Nothing is kept here; the channel belongs to the workload."""

    def force_flush(self, timeout_millis: float = 0) -> bool:
        """Nothing is kept here."""
        return True


class _Spans(_Exporter, SpanExporter):
    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        sent = self._try("traces", encode_spans(spans))
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE


class _Logs(_Exporter, LogRecordExporter):
    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        sent = self._try("logs", encode_logs(batch))
        return LogRecordExportResult.SUCCESS if sent else LogRecordExportResult.FAILURE


class _Metrics(_Exporter, MetricExporter):
    def __init__(self, send: Send, closing: threading.Event) -> None:
        _Exporter.__init__(self, send, closing)
        MetricExporter.__init__(self)

    def export(
        self, metrics_data: Any, timeout_millis: float = EXPORT_TIMEOUT_S * 1000, **_: Any
    ) -> MetricExportResult:
        sent = self._try("metrics", encode_metrics(metrics_data), timeout_millis / 1000)
        return MetricExportResult.SUCCESS if sent else MetricExportResult.FAILURE


class _Handler(logging.Handler):
    """Passes log records on to OpenTelemetry, structlog's with their keys as attributes."""

    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__()
        self._logger = provider.get_logger("meshkit")

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(NEVER_EXPORTED):
            return
        if isinstance(record.msg, dict):
            attributes = {k: _plain(v) for k, v in record.msg.items() if k not in _TOLD_OTHERWISE}
            body = str(record.msg.get("event", ""))
        else:
            attributes, body = {}, record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            attributes["exception.type"] = type(record.exc_info[1]).__name__
        now = time.time_ns()
        with contextlib.suppress(Exception):
            self._logger.emit(
                LogRecord(
                    timestamp=int(record.created * 1e9),
                    observed_timestamp=now,
                    severity_text=record.levelname,
                    severity_number=_SEVERITY.get(record.levelno, SeverityNumber.UNSPECIFIED),
                    body=body,
                    attributes=attributes,
                )
            )


_TOLD_OTHERWISE = frozenset(
    {"event", "level", "timestamp", "service", "trace_id", "span_id", "exc_info"}
)
_SEVERITY = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)


@contextlib.asynccontextmanager
async def observed(
    service: str, replica: str, workload: Workload, telemetry_address: str
) -> AsyncIterator[None]:
    """Export while inside the block, as `setup` does; flush on leaving."""
    running = setup(service, replica, workload, telemetry_address)
    try:
        yield
    finally:
        if running is not None:
            await asyncio.to_thread(running.shutdown)
