"""The checker's tables, the slim schemas and OTLP itself describe one wire format."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor as Fd
from grpc_tools import protoc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from telemetry.load.statements import SCHEMAS
from telemetry.scan import shapes
from telemetry.scan.shapes import Signal


OTLP = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}
VARINTS = {
    *(Fd.TYPE_INT32, Fd.TYPE_INT64, Fd.TYPE_SINT32, Fd.TYPE_UINT32, Fd.TYPE_UINT64),
    *(Fd.TYPE_BOOL, Fd.TYPE_ENUM),
}
FIXED64 = {Fd.TYPE_FIXED64, Fd.TYPE_SFIXED64, Fd.TYPE_DOUBLE}
DELIMITED = {Fd.TYPE_STRING, Fd.TYPE_BYTES, Fd.TYPE_MESSAGE}
WIRE = {
    shapes.VARINT: VARINTS,
    shapes.FIXED64: FIXED64,
    shapes.PACKED64: FIXED64,
    shapes.PACKED_VARINT: VARINTS,
    shapes.BYTES: DELIMITED,
    shapes.MESSAGE: {Fd.TYPE_MESSAGE},
}
OWN = {15001, 15002}


def walk(signal):
    """Every shape with the OTLP message that it is about."""
    seen = {}

    def visit(name, descriptor):
        if name in seen:
            return
        seen[name] = descriptor
        for number, field in shapes.SHAPES[signal][name].items():
            if field.kind == shapes.MESSAGE:
                visit(field.shape, descriptor.fields_by_number[number].message_type)

    visit("export", OTLP[signal].DESCRIPTOR)
    return seen


@pytest.fixture(params=OTLP)
def signal(request):
    return request.param


def test_every_field_of_a_shape_has_otlps_wire_type(signal):
    seen = walk(signal)

    for name, descriptor in seen.items():
        for number, field in shapes.SHAPES[signal][name].items():
            otlp = descriptor.fields_by_number[number]
            assert otlp.type in WIRE[field.kind], (name, number)
            assert otlp.is_repeated == field.repeated, (name, number)
            oneof = otlp.containing_oneof
            # An optional field is a oneof of its own, named with an underscore.
            chosen = oneof is not None and not oneof.name.startswith("_")
            assert chosen == field.choice, (name, number)
    assert set(seen) == set(shapes.SHAPES[signal])


@pytest.mark.parametrize("signal", [one for one in OTLP if one not in shapes.AS_ROWS])
def test_every_field_that_is_loaded_is_checked_and_is_otlps(signal, tmp_path):
    """What ClickHouse reads and the checker doesn't could spoil a segment."""
    out = tmp_path / "slim.binpb"
    schema = Path(SCHEMAS / f"{signal}.proto")
    assert protoc.main(["protoc", f"-I{schema.parent}", f"-o{out}", str(schema)]) == 0
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    slim = {message.name: message for message in file.message_type}

    def compare(message, shape, otlp):
        for field in message.field:
            if field.number in OWN:
                continue
            checked = shapes.SHAPES[signal][shape][field.number]
            assert field.type in WIRE[checked.kind], (shape, field.name)
            assert (field.label == field.LABEL_REPEATED) == checked.repeated
            assert otlp.fields_by_number[field.number].name == field.name
            if field.type_name and checked.kind == shapes.MESSAGE:
                inner = otlp.fields_by_number[field.number].message_type
                compare(slim[field.type_name[1:]], checked.shape, inner)

    compare(slim["Export"], "export", OTLP[signal].DESCRIPTOR)
