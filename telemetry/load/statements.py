"""
The INSERT that loads one segment of logs or traces into its table.

ClickHouse reads the segment itself. It refuses what telemetry/scan/ refuses, by the same rules.
Traces are mostly loaded by telemetry/load/span_rows.py, which makes the same rows in less time.
Only the source differs where the store is elsewhere: `input()` instead of `file()`.
"""

# ruff: noqa: S608 - what is put in are constants, numbers and quoted paths

from __future__ import annotations

from pathlib import Path

from telemetry.load.rows import AT_ONCE
from telemetry.scan.points import FUTURE_NS, PAST_NS
from telemetry.scan.shapes import Signal
from telemetry.store.engine import Load, quote
from telemetry.store.values import LIST, MAP


SCHEMAS = Path(__file__).resolve().parent.parent / "schema"

_METRICS = ("samples", "histograms", "exemplars")
TABLES = {
    Signal.METRICS: _METRICS,
    Signal.REMOTE_WRITE: _METRICS,
    Signal.REMOTE_WRITE_2: _METRICS,
    Signal.SCRAPE: _METRICS,
    Signal.LOGS: ("logs",),
    Signal.TRACES: ("spans",),
}
"""The tables that a signal's segments are loaded into."""

_VALUE = """Tuple(
    string_value String, bool_value UInt64, int_value Int64, double_value Float64,
    array_value String, kvlist_value String, bytes_value String,
    kind Enum8('unset' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3,
        'double_value' = 4, 'array_value' = 5, 'kvlist_value' = 6, 'bytes_value' = 7))"""
_ATTRIBUTES = f"Array(Tuple(key String, value {_VALUE}))"
_LOGS = f"""
    resource_logs Array(Tuple(
        resource Tuple(attributes {_ATTRIBUTES}),
        scope_logs Array(Tuple(
            scope Tuple(name String),
            log_records Array(Tuple(
                time_unix_nano UInt64, severity_number Int64, severity_text String, body {_VALUE},
                attributes {_ATTRIBUTES}, trace_id String, span_id String,
                observed_time_unix_nano UInt64, event_name String))
        ))
    )),
    tenant String,
    received_unix_nano UInt64"""
_TRACES = f"""
    resource_spans Array(Tuple(
        resource Tuple(attributes {_ATTRIBUTES}),
        scope_spans Array(Tuple(
            scope Tuple(name String),
            spans Array(Tuple(
                trace_id String, span_id String, trace_state String, parent_span_id String,
                name String, kind Int64, start_time_unix_nano UInt64, end_time_unix_nano UInt64,
                attributes {_ATTRIBUTES},
                events Array(Tuple(time_unix_nano UInt64, name String, attributes {_ATTRIBUTES})),
                links Array(Tuple(trace_id String, span_id String)),
                status Tuple(message String, code Int64)))
        ))
    )),
    tenant String,
    received_unix_nano UInt64"""

_LOGS_INTO = """(time, tenant, service, instance, severity, severity_text, event, body,
    trace_id, span_id, scope, attributes, resource, segment)"""
SPANS_INTO = """(trace_id, span_id, parent_span_id, start, duration_ns, tenant, service, instance,
    name, kind, status, status_message, trace_state, scope, attributes, resource,
    event_times, event_names, event_attributes, link_trace_ids, link_span_ids, segment)"""


def insert(signal: Signal, segment: int, file: Path) -> Load:
    """Return the INSERT that loads *file*, the log's segment number *segment*, of records."""
    columns, select = {Signal.LOGS: (_LOGS_INTO, _logs), Signal.TRACES: (SPANS_INTO, _spans)}[
        signal
    ]
    (table,) = TABLES[signal]
    return Load(
        into=f"{table} {columns}",
        select=lambda source: select(source, segment),
        path=file,
        format="Protobuf",
        structure={Signal.LOGS: _LOGS, Signal.TRACES: _TRACES}[signal],
        schema=SCHEMAS / f"{signal}.proto",
        settings={
            **AT_ONCE,
            "input_format_protobuf_oneof_presence": 1,
            "max_query_size": 1_000_000,
        },
    )


def _in_time(time: str) -> str:
    return (
        f"({time} = 0 OR ({time} >= received_unix_nano - {PAST_NS}"
        f" AND {time} <= received_unix_nano + {FUTURE_NS}))"
    )


def _text(value: str) -> str:
    """Return the SQL that makes text of the AnyValue *value*; lists and maps stay OTLP bytes."""
    return (
        f"multiIf({value}.kind = 'string_value', {value}.string_value,"
        f" {value}.kind = 'int_value', toString({value}.int_value),"
        f" {value}.kind = 'bool_value', if({value}.bool_value = 0, 'false', 'true'),"
        f" {value}.kind = 'double_value', toString({value}.double_value),"
        f" {value}.kind = 'array_value', concat({quote(LIST)}, base64Encode({value}.array_value)),"
        f" {value}.kind = 'kvlist_value', concat({quote(MAP)}, base64Encode({value}.kvlist_value)),"
        f" {value}.kind = 'bytes_value', base64Encode({value}.bytes_value), '')"
    )


def _map(attributes: str) -> str:
    pairs = f"arrayMap(a -> (a.key, {_text('a.value')}), {attributes})"
    return f"CAST({pairs}, 'Map(LowCardinality(String), String)')"


def _id(value: str, size: int) -> str:
    return f"toFixedString(if(length({value}) = {size}, {value}, ''), {size})"


def _time(nanoseconds: str) -> str:
    return f"fromUnixTimestamp64Nano(toInt64({nanoseconds}), 'UTC')"


def _logs(source: str, segment: int) -> str:
    return f"""SELECT
        {_time("if(at = 0, received_unix_nano, at)")}, tenant,
        resource['service.name'], resource['service.instance.id'],
        greatest(0, least(24, r.severity_number)), r.severity_text, r.event_name,
        {_text("r.body")}, {_id("r.trace_id", 16)}, {_id("r.span_id", 8)}, scope,
        {_map("r.attributes")}, resource, {segment}
    FROM (
        SELECT tenant, received_unix_nano, resource, scope, arrayJoin(records) AS r,
            if(r.time_unix_nano = 0, r.observed_time_unix_nano, r.time_unix_nano) AS at
        FROM (
            SELECT tenant, received_unix_nano, resource, arrayJoin(scopes) AS s,
                s.scope.name AS scope, s.log_records AS records
            FROM (
                SELECT tenant, received_unix_nano, arrayJoin(resource_logs) AS rl,
                    {_map("rl.resource.attributes")} AS resource, rl.scope_logs AS scopes
                FROM {source})))
    WHERE {_in_time("at")}"""


def _spans(source: str, segment: int) -> str:
    end = "sp.end_time_unix_nano"
    return f"""SELECT
        toFixedString(sp.trace_id, 16), toFixedString(sp.span_id, 8),
        {_id("sp.parent_span_id", 8)},
        {_time("start_at")}, if({end} > start_at, {end} - start_at, 0), tenant,
        resource['service.name'], resource['service.instance.id'],
        sp.name, greatest(0, least(5, sp.kind)), greatest(0, least(2, sp.status.code)),
        sp.status.message, sp.trace_state, scope, {_map("sp.attributes")}, resource,
        arrayMap(e -> {_time("if(e.time_unix_nano > 9223372036854775807, 0, e.time_unix_nano)")},
            sp.events),
        arrayMap(e -> e.name, sp.events),
        arrayMap(e -> {_map("e.attributes")}, sp.events),
        arrayMap(l -> {_id("l.trace_id", 16)}, sp.links),
        arrayMap(l -> {_id("l.span_id", 8)}, sp.links),
        {segment}
    FROM (
        SELECT tenant, received_unix_nano, resource, scope, arrayJoin(all_spans) AS sp,
            if(sp.start_time_unix_nano = 0, received_unix_nano, sp.start_time_unix_nano) AS start_at
        FROM (
            SELECT tenant, received_unix_nano, resource, arrayJoin(scopes) AS s,
                s.scope.name AS scope, s.spans AS all_spans
            FROM (
                SELECT tenant, received_unix_nano, arrayJoin(resource_spans) AS rs,
                    {_map("rs.resource.attributes")} AS resource, rs.scope_spans AS scopes
                FROM {source})))
    WHERE length(sp.trace_id) = 16 AND length(sp.span_id) = 8
        AND {_in_time("sp.start_time_unix_nano")}"""
