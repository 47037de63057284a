"""How the tests feed the real intake: OpenTelemetry's SDK over mutual TLS, with times of their own."""

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode


NOW_NS = time.time_ns() // 60_000_000_000 * 60_000_000_000 - 600_000_000_000
"""Time of the first span, ten minutes ago on a full minute."""

MS = 1_000_000
WITHIN_S = 30.0


@dataclass(frozen=True)
class Made:
    """A span that was sent, as parent of the next."""

    span: trace.Span

    @property
    def trace_id(self):
        return f"{self.span.get_span_context().trace_id:032x}"

    @property
    def span_id(self):
        return f"{self.span.get_span_context().span_id:016x}"


class Service:
    """One process that writes spans."""

    def __init__(self, provider, name):
        self._provider = provider
        self._tracer = provider.get_tracer("tests")
        self.name = name

    def span(self, name, start_ms, length_ms, parent=None, **more):
        """Send a span of *length_ms* that began *start_ms* after `NOW_NS`."""
        made = self.begin(name, start_ms, parent, **more)
        self.end(made, start_ms + length_ms)
        return made

    def begin(
        self, name, start_ms, parent=None, *, kind=SpanKind.INTERNAL, error=False, **attributes
    ):
        context = trace.set_span_in_context(parent.span) if parent else trace.Context()
        span = self._tracer.start_span(
            name,
            context,
            kind,
            attributes={key.replace("__", "."): value for key, value in attributes.items()},
            start_time=NOW_NS + int(start_ms * MS),
        )
        if error:
            span.set_status(Status(StatusCode.ERROR))
        return Made(span)

    def end(self, made, end_ms):
        made.span.end(NOW_NS + int(end_ms * MS))

    def send(self):
        """Send what waits, if spans don't go out one by one."""
        assert self._provider.force_flush()


@contextmanager
def services(ca, port, *names, together=False):
    """Yield a `Service` for each of *names*; each span goes out in a request of its own, or *together*."""
    processor = BatchSpanProcessor if together else SimpleSpanProcessor
    arguments = exporting(ca, port)
    providers = []
    for name in names:
        provider = TracerProvider(
            resource=Resource({"service.name": name, "service.instance.id": "1"})
        )
        provider.add_span_processor(processor(OTLPSpanExporter(**arguments)))
        providers.append(provider)
    try:
        yield [Service(*pair) for pair in zip(providers, names, strict=True)]
    finally:
        for provider in providers:
            provider.shutdown()


def exporting(ca, port):
    return {
        "endpoint": f"127.0.0.1:{port}",
        "credentials": ca.workload("notifier").channel_credentials(),
        "channel_options": (("grpc.ssl_target_name_override", "telemetry.aerofusion"),),
        "timeout": 10,
    }


async def until(ask, found):
    """Ask until *found* says that the answer is there: what is acknowledged takes a second."""
    async with asyncio.timeout(WITHIN_S):
        answer = await ask()
        while not found(answer):
            await asyncio.sleep(0.05)  # polls
            answer = await ask()
    return answer
