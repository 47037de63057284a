"""
A million lines of the airport day's own logs: how fast they are in the tables, how small there.

A mesh runs with the day for some minutes; what its edge and its services have logged meanwhile is
read back from telemetry's table, with all that it holds. A million lines are drawn from those,
encoded as OTLP again. So that none repeats another, whatever looks like an identifier (trace, span,
request, notification, ...) is another one in each, and each number is drawn anew from those that
its attribute had: that is harder to compress than what a day logs, where neighbours belong together.
Attributes are texts, as the table has them.

Compression is the bytes of the requests, as they come over the wire without gzip, over what all
columns and indexes take on disk after merges.
"""

# ruff: noqa: S608 - names of columns

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from bench.areas.telemetry.file_sender import LOGS, send_file, write_requests
from bench.areas.telemetry.server import running
from bench.mesh import Mesh, own_meshctl, state_folder
from telemetry.store.sessions import Sessions


if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.report import Report

LINES = 1_000_000
RECORDS_EACH = 500
RECORDED_S = 150
RECORDED_LEAST = 500
"""With fewer, it isn't a day."""

SPEED = 1_000
"""Simulated seconds a second: more happens, each of it as it does in a day."""

_IDENTIFIER = re.compile(r"(?=[0-9A-Za-z-]*(?:\d[0-9A-Za-z-]*){4})[0-9A-Za-z-]{16,}")
_COLUMNS = (
    "toUnixTimestamp64Nano(time), severity, severity_text, event, body, hex(trace_id),"
    " hex(span_id), scope, attributes, resource"
)


@dataclass(frozen=True, slots=True)
class _Line:
    time_ns: int
    source: str
    """Whose it is: resource and scope, as JSON."""

    record: LogRecord
    identifiers: tuple[int, ...]
    """Attributes that hold some, by their place."""

    numbers: tuple[int, ...]
    """Attributes that are one."""


def measure(report: Report) -> None:
    """Record, send, look at the disk; about five minutes."""
    lines = asyncio.run(_recorded())
    if len(lines) < RECORDED_LEAST:
        raise RuntimeError(f"only {len(lines)} lines were logged")
    report.add("log_lines_recorded", len(lines))
    report.add("log_sources_recorded", len({one.source for one in lines}))
    with tempfile.TemporaryDirectory(prefix="bench-logs-") as folder:
        requests = Path(folder) / "requests"
        size = write_requests(requests, _requests(lines))
        report.add("log_bytes_each", size / LINES)
        with running(Path(folder)) as server:
            cpu = server.cpu_s
            said = send_file(server, LOGS, requests, "logs")
            loaded_s = said["loaded_s"]
            report.add("log_mb_per_s", size / 1e6 / loaded_s, bound=">= 40")
            report.add("log_lines_per_s", LINES / loaded_s)
            report.add("log_ack_mb_per_s", size / 1e6 / said["seconds"])
            server.wait_quiet()
            report.add("log_lines_per_cpu_s", LINES / (server.cpu_s - cpu))
        stored, columns = asyncio.run(_on_disk(server.state / "store"))
        report.add("log_compression", size / stored, bound=">= 8")
        for name, taken in columns:
            report.add(f"log_bytes_each_{name}", taken / LINES)


async def _recorded() -> list[_Line]:
    """Return what a mesh with the airport day has logged, by rising time."""
    with state_folder() as state:
        mesh = Mesh(state, own_meshctl())
        mesh.run("up", "--detach")
        try:
            mesh.run("demo", "--speed", str(SPEED), "--for", str(RECORDED_S), "--json")
        finally:
            mesh.run("down")
        async with Sessions.open(state / "telemetry" / "store") as sessions:
            answer = await sessions.execute(
                f"SELECT {_COLUMNS} FROM logs ORDER BY time", "JSONCompactEachRow"
            )
    return [_line(json.loads(row)) for row in answer.splitlines()]


def _line(row: list[Any]) -> _Line:
    (
        time_ns,
        severity,
        severity_text,
        event,
        body,
        trace_id,
        span_id,
        scope,
        attributes,
        resource,
    ) = row
    record = LogRecord(
        severity_number=severity,
        severity_text=severity_text,
        event_name=event,
        body=AnyValue(string_value=body),
        attributes=[_text(key, value) for key, value in attributes.items()],
        trace_id=bytes.fromhex(trace_id).strip(b"\0"),
        span_id=bytes.fromhex(span_id).strip(b"\0"),
    )
    places = list(enumerate(attributes.values()))
    return _Line(
        time_ns=int(time_ns),
        source=json.dumps([resource, scope]),
        record=record,
        identifiers=tuple(at for at, value in places if _IDENTIFIER.search(value)),
        numbers=tuple(at for at, value in places if value.isdigit()),
    )


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _requests(lines: list[_Line]) -> Iterator[bytes]:
    """Yield requests of `LINES` lines, each of one source, the last line of the last a moment ago."""
    chance = random.Random(3)
    step_ns = (lines[-1].time_ns - lines[0].time_ns + 1) // len(lines)
    begin_ns = time.time_ns() - LINES * step_ns
    numbers: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        for place in line.numbers:
            attribute = line.record.attributes[place]
            had = numbers.setdefault((line.source, attribute.key), [])
            had.append(attribute.value.string_value)
    filling: dict[str, ExportLogsServiceRequest] = {}
    for number in range(LINES):
        line = chance.choice(lines)
        request = filling.get(line.source)
        if request is None:
            request = filling[line.source] = _empty(line.source)
        records = request.resource_logs[0].scope_logs[0].log_records
        record = records.add()
        _again(record, line, str(number))
        record.time_unix_nano = record.observed_time_unix_nano = begin_ns + number * step_ns
        for place in line.numbers:
            attribute = record.attributes[place]
            attribute.value.string_value = chance.choice(numbers[line.source, attribute.key])
        if len(records) == RECORDS_EACH:
            yield filling.pop(line.source).SerializeToString()
    for request in filling.values():
        yield request.SerializeToString()


def _empty(source: str) -> ExportLogsServiceRequest:
    resource, scope = json.loads(source)
    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add()
    logs.resource.attributes.extend(_text(key, value) for key, value in resource.items())
    logs.scope_logs.add().scope.name = scope
    return request


def _again(record: LogRecord, line: _Line, draw: str) -> None:
    """Make *record* what *line* is, with the identifiers of another *draw*."""
    record.CopyFrom(line.record)
    if record.trace_id:
        # As an attribute holds it, so that both stay the same.
        record.trace_id = bytes.fromhex(_renamed(record.trace_id.hex(), draw))
    if record.span_id:
        record.span_id = bytes.fromhex(_renamed(record.span_id.hex(), draw))
    record.body.string_value = _IDENTIFIER.sub(
        lambda found: _renamed(found[0], draw), record.body.string_value
    )
    for place in line.identifiers:
        value = record.attributes[place].value
        value.string_value = _IDENTIFIER.sub(
            lambda found: _renamed(found[0], draw), value.string_value
        )


def _renamed(identifier: str, draw: str) -> str:
    """Return another identifier of the same form: digits, letters and case stay what they are."""
    drawn = hashlib.shake_128(f"{draw} {identifier}".encode()).digest(len(identifier))
    hexadecimal = all(one in "0123456789abcdef-" for one in identifier)
    made = []
    for one, chance in zip(identifier, drawn, strict=True):
        if one == "-":
            made.append(one)
        elif hexadecimal:
            made.append("0123456789abcdef"[chance % 16])
        elif one.isdigit():
            made.append(str(chance % 10))
        else:
            made.append(chr((ord("a") if one.islower() else ord("A")) + chance % 26))
    return "".join(made)


async def _on_disk(store: Path) -> tuple[int, list[tuple[str, int]]]:
    """Return the bytes of the table after merges, in all and by its columns, largest first."""
    async with Sessions.open(store) as sessions:
        await sessions.execute("OPTIMIZE TABLE logs FINAL")
        answer = await sessions.execute(
            "SELECT column, toInt64(sum(column_bytes_on_disk)) AS size FROM system.parts_columns"
            " WHERE table = 'logs' AND active GROUP BY column ORDER BY size DESC LIMIT 6"
            " SETTINGS output_format_json_quote_64bit_integers = 0",
            "JSONCompactEachRow",
        )
        whole = await sessions.execute(
            "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts"
            " WHERE table = 'logs' AND active",
            "TSV",
        )
    size, rows = map(int, whole.split())
    if rows < LINES:
        raise RuntimeError(f"{rows} rows of {LINES}")
    return size, [tuple(json.loads(one)) for one in answer.splitlines()]
