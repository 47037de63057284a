"""One notification is one trace, from the call that created it to the channel."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aerofusion.notify.v1 import notification_service_pb2 as pb
from tests.contract.notifier.conftest import TENANT, kinds, notification


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def spans(monkeypatch):
    provider = TracerProvider()
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", lambda *a, **k: provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


async def test_delivery_joins_the_trace_of_the_accepting_call(spans, start, sink):
    async with start() as client:
        await client.add_template()
        await client.add_recipient("ada")
        answer = await client.notifications.CreateNotification(
            pb.CreateNotificationRequest(parent=TENANT, notification=notification("ada")),
            metadata=[("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")],
        )
        found = await client.settled(answer.notification.name)
        assert "DELIVERED" in kinds(found)

    ours = [s for s in spans.get_finished_spans() if f"{s.context.trace_id:032x}" == TRACE]
    named = {s.name for s in ours}
    assert found.notification.trace_id == TRACE
    assert named >= {
        "notifier.accept",
        "notifier.plan",
        "notifier.render",
        "notifier.deliver email",
        "notifier.deliver inapp",
    }
    delivered = [s for s in ours if s.name.startswith("notifier.deliver ")]
    assert {s.attributes["notifier.notification.id"] for s in delivered} == {
        answer.notification.name.rpartition("/")[2]
    }
