"""Structured logs: one JSON object a line on stderr, joined to traces."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog
from opentelemetry import trace


if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger


QUIETED = {
    "asyncio": logging.ERROR,  # warns of each TLS connection that a peer closes
    "mail.log": logging.WARNING,  # tells each line of SMTP
}
"""Loggers of others that say more than anybody reads, and from which level on we listen."""


def configure(service: str, level: str = "info") -> None:
    """
    Send structlog's and the standard library's records to stderr as JSON.

    Keys: `timestamp` (RFC 3339, UTC), `level`, `event`, `service`, `trace_id` and
    `span_id` inside a span, and what the caller adds. Secrets never go into a log.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        _Service(service),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _tracebacks(),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in QUIETED.items():
        logging.getLogger(name).setLevel(least)


def _tracebacks() -> structlog.typing.Processor:
    # Never with local variables: they hold what must not be in a log.
    return structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
    )


class _Service:
    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        event["service"] = self._service
        return event


def _add_trace(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
        event["span_id"] = format(context.span_id, "016x")
    return event
