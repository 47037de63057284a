"""
The statements that load one log segment into its table.

They refuse what telemetry/scan/ refuses, by the same rules, and make the same series ids of the
same bytes. Only the source differs where the store is a cluster: `input()` instead of `file()`.
"""

# ruff: noqa: S608 - what is put in are constants, numbers and quoted paths

from __future__ import annotations

from pathlib import Path

from telemetry.scan.points import FUTURE_NS, PAST_NS, Part
from telemetry.scan.shapes import Signal
from telemetry.store.sessions import quote


SCHEMAS = Path(__file__).resolve().parent.parent / "schema"

TABLES = {Signal.METRICS: "samples", Signal.LOGS: "logs", Signal.TRACES: "spans"}

_STALE = "reinterpretAsFloat64(toUInt64(9218868437227405314))"  # model.STALE_NAN_BITS
_INFINITY = "toUInt64(9218868437227405312)"

_NUMBER_POINTS = """Array(Tuple(
    time_unix_nano UInt64, as_double Nullable(Float64), as_int Nullable(Int64),
    attributes Array(String), flags UInt64))"""
_METRICS = f"""
    resource_metrics Array(Tuple(
        resource Tuple(attributes Array(String)),
        scope_metrics Array(Tuple(metrics Array(Tuple(
            name String,
            unit String,
            gauge Tuple(data_points {_NUMBER_POINTS}),
            sum Tuple(
                data_points {_NUMBER_POINTS}, aggregation_temporality Int64, is_monotonic UInt64),
            histogram Tuple(
                data_points Array(Tuple(
                    time_unix_nano UInt64, count UInt64, sum Nullable(Float64),
                    bucket_counts Array(UInt64), explicit_bounds Array(Float64),
                    attributes Array(String), flags UInt64)),
                aggregation_temporality Int64),
            summary Tuple(data_points Array(Tuple(
                time_unix_nano UInt64, count UInt64, sum Float64,
                quantile_values Array(Tuple(quantile Float64, value Float64)),
                attributes Array(String), flags UInt64)))
        ))))
    )),
    tenant String,
    received_unix_nano UInt64"""

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


def insert(signal: Signal, segment: int, file: Path) -> str:
    """Return the statement that loads *file*, the log's segment number *segment*."""
    select = {Signal.METRICS: _samples, Signal.LOGS: _logs, Signal.TRACES: _spans}[signal]
    structure = {Signal.METRICS: _METRICS, Signal.LOGS: _LOGS, Signal.TRACES: _TRACES}[signal]
    source = f"file({quote(str(file))}, Protobuf, $${structure}$$)"
    schema = quote(f"{SCHEMAS / signal}.proto:Export")
    return (
        f"INSERT INTO {TABLES[signal]} {select(source, segment)}"
        f" SETTINGS format_schema = {schema}, input_format_protobuf_oneof_presence = 1"
        ", max_threads = 1, max_insert_threads = 1, max_query_size = 1000000"
        ", max_partitions_per_insert_block = 0"
        ", min_insert_block_size_rows = 4000000, min_insert_block_size_bytes = 500000000"
    )


def _in_time(time: str) -> str:
    return (
        f"({time} = 0 OR ({time} >= received_unix_nano - {PAST_NS}"
        f" AND {time} <= received_unix_nano + {FUTURE_NS}))"
    )


_SERIES = "intHash64(base + arraySum(arrayMap(a -> xxHash64(a), p.attributes)))"
_POINT_TIME = "if(p.time_unix_nano = 0, received_unix_nano, p.time_unix_nano)"
_ENDED = "bitAnd(p.flags, 1) = 1"


def _part(part: Part, bits: str = "") -> str:
    """Return the SQL of the id of a point's *part*; *bits* are its bound's or quantile's."""
    whole = f"intHash64({_SERIES} + {part.value})"
    return f"intHash64(bitXor({whole}, {bits}))" if bits else whole


def _number_rows() -> str:
    return f"""arrayMap(
        p -> ({_SERIES}, {_POINT_TIME}, multiIf({_ENDED}, {_STALE},
            isNotNull(p.as_double), assumeNotNull(p.as_double),
            toFloat64(assumeNotNull(p.as_int)))),
        arrayFilter(
            p -> {_in_time("p.time_unix_nano")}
                AND (isNotNull(p.as_double) OR isNotNull(p.as_int) OR {_ENDED}),
            numbers))"""


def _histogram_rows() -> str:
    return f"""arrayFlatten(arrayMap(
        p -> arrayMap(
            r -> (r.1, {_POINT_TIME}, if({_ENDED}, {_STALE}, r.2)),
            arrayConcat(
                [({_part(Part.COUNT)}, toFloat64(p.count)),
                 ({_part(Part.BUCKET, _INFINITY)}, toFloat64(p.count))],
                if(isNotNull(p.sum), [({_part(Part.SUM)}, assumeNotNull(p.sum))], []),
                arrayMap(
                    (bound, cumulated) -> (
                        {_part(Part.BUCKET, "reinterpretAsUInt64(bound)")}, toFloat64(cumulated)),
                    p.explicit_bounds,
                    arraySlice(arrayCumSum(p.bucket_counts), 1, length(p.explicit_bounds))))),
        arrayFilter(
            p -> {_in_time("p.time_unix_nano")}
                AND (length(p.bucket_counts) = length(p.explicit_bounds) + 1
                    OR (empty(p.bucket_counts) AND empty(p.explicit_bounds))),
            histograms)))"""


def _summary_rows() -> str:
    return f"""arrayFlatten(arrayMap(
        p -> arrayMap(
            r -> (r.1, {_POINT_TIME}, if({_ENDED}, {_STALE}, r.2)),
            arrayConcat(
                [({_part(Part.SUM)}, p.sum), ({_part(Part.COUNT)}, toFloat64(p.count))],
                arrayMap(
                    q -> ({_part(Part.QUANTILE, "reinterpretAsUInt64(q.quantile)")}, q.value),
                    p.quantile_values))),
        arrayFilter(p -> {_in_time("p.time_unix_nano")}, summaries)))"""


def _samples(source: str, segment: int) -> str:
    rows = f"arrayConcat({_number_rows()}, {_histogram_rows()}, {_summary_rows()})"
    return f"""(metric, series_id, ts_ms, value, segment)
    SELECT metric, row.1, intDiv(row.2, 1000000), row.3, {segment}
    FROM (
        SELECT metric, arrayJoin({rows}) AS row
        FROM (
            SELECT
                received_unix_nano,
                xxHash64(m.name) AS metric,
                arrayConcat(
                    m.gauge.data_points,
                    if(m.sum.aggregation_temporality = 2, m.sum.data_points, [])) AS numbers,
                if(m.histogram.aggregation_temporality = 2, m.histogram.data_points, [])
                    AS histograms,
                m.summary.data_points AS summaries,
                multiIf(
                    notEmpty(m.gauge.data_points), 1,
                    notEmpty(m.sum.data_points), if(m.sum.is_monotonic != 0, 2, 3),
                    notEmpty(m.histogram.data_points), 4, 5) AS kind,
                intHash64(target + intHash64(metric + intHash64(xxHash64(m.unit) + kind))) AS base
            FROM (
                SELECT
                    received_unix_nano,
                    intHash64(arraySum(arrayMap(a -> xxHash64(a), rm.resource.attributes))
                        + xxHash64(tenant)) AS target,
                    arrayJoin(arrayFlatten(arrayMap(s -> s.metrics, rm.scope_metrics))) AS m
                FROM (
                    SELECT tenant, received_unix_nano, arrayJoin(resource_metrics) AS rm
                    FROM {source}))
            WHERE m.name != ''))"""


def _text(value: str) -> str:
    """Return the SQL that makes text of the AnyValue *value*; arrays and maps stay OTLP bytes."""
    return (
        f"multiIf({value}.kind = 'string_value', {value}.string_value,"
        f" {value}.kind = 'int_value', toString({value}.int_value),"
        f" {value}.kind = 'bool_value', if({value}.bool_value = 0, 'false', 'true'),"
        f" {value}.kind = 'double_value', toString({value}.double_value),"
        f" {value}.kind = 'array_value', base64Encode({value}.array_value),"
        f" {value}.kind = 'kvlist_value', base64Encode({value}.kvlist_value),"
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
    return f"""(time, tenant, service, instance, severity, severity_text, event, body,
        trace_id, span_id, scope, attributes, resource, segment)
    SELECT
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
    return f"""(trace_id, span_id, parent_span_id, start, duration_ns, tenant, service, instance,
        name, kind, status, status_message, trace_state, scope, attributes, resource,
        event_times, event_names, event_attributes, link_trace_ids, link_span_ids, segment)
    SELECT
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
