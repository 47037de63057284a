"""What a process tells of itself, and that it ends even if nobody listens."""

import logging
import subprocess
import sys

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from meshkit.observability import PATHS, setup_with


@pytest.fixture
def sent():
    return {}


@pytest.fixture
def running(sent):
    def send(path, message, _timeout_s):
        sent.setdefault(path, []).append(message)

    made = setup_with("syncd", "3", send)
    yield made
    made.shutdown()


def attributes(message):
    return {a.key: a.value.string_value for a in message.attributes}


def test_traces_metrics_and_logs_leave_with_the_services_name(running, sent):
    with running.traces.get_tracer("test").start_as_current_span("merge") as span:
        logging.getLogger("syncd").warning({"event": "clamped", "device": "d1", "level": "warning"})
        context = span.get_span_context()
    running.metrics.get_meter("test").create_counter("syncd.mutations").add(2)
    running.shutdown()

    traces = ExportTraceServiceRequest.FromString(sent[PATHS["traces"]][0])
    logs = ExportLogsServiceRequest.FromString(sent[PATHS["logs"]][0])
    metrics = ExportMetricsServiceRequest.FromString(sent[PATHS["metrics"]][-1])
    record = logs.resource_logs[0].scope_logs[0].log_records[0]
    assert attributes(traces.resource_spans[0].resource)["service.name"] == "syncd"
    assert traces.resource_spans[0].scope_spans[0].spans[0].name == "merge"
    names = {m.name for s in metrics.resource_metrics[0].scope_metrics for m in s.metrics}
    assert {"syncd.mutations", "process.cpu.time", "process.memory.usage"} <= names
    assert record.body.string_value == "clamped"
    assert attributes(record) == {"device": "d1"}
    assert record.trace_id == context.trace_id.to_bytes(16, "big")


GONE = """
import threading, time, sys
from meshkit.observability import setup_with

def send(path, message, timeout_s):
    threading.Event().wait(timeout_s)
    raise ConnectionError

running = setup_with("syncd", "0", send)
with running.traces.get_tracer("t").start_as_current_span("s"):
    pass
began = time.monotonic()
running.shutdown()
print(time.monotonic() - began)
"""


def test_ending_does_not_wait_for_a_telemetry_that_is_gone():
    run = subprocess.run(
        [sys.executable, "-c", GONE],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )

    assert float(run.stdout) < 4.0
