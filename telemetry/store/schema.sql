-- The tables of the store. Run at each start; every statement is idempotent, parts end in ";".
-- `segment` is the number of the log segment a row was loaded from: a start counts by it.
-- Every insert is durable before its segment goes (fsync_*): ClickHouse's defaults are not.

-- One row for each series id, written on first sight. Several ids may carry equal labels (another
-- resource attribute, another encoding): readers join those. Label names and values are Prometheus's.
CREATE TABLE IF NOT EXISTS series
(
    tenant      LowCardinality(String),
    name        LowCardinality(String) COMMENT 'Prometheus name, equal to labels[__name__]',
    metric      UInt64 COMMENT 'xxHash64 of the OTLP name; leads the order of samples',
    series_id   UInt64,
    labels      Map(LowCardinality(String), String) COMMENT 'sorted by name, no empty values',
    kind        Enum8('gauge' = 1, 'counter' = 2, 'updown' = 3, 'histogram' = 4, 'summary' = 5,
        'exponential' = 6, 'unknown' = 7),
    unit        LowCardinality(String) COMMENT 'as OTLP has it',
    description LowCardinality(String),
    otlp_name   LowCardinality(String),
    delta       Bool DEFAULT false COMMENT 'it is sent as differences; samples are their sums',
    first_seen  DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, name, series_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS samples
(
    metric    UInt64  CODEC(Delta(8), ZSTD(1)),
    series_id UInt64  CODEC(Delta(8), ZSTD(1)),
    ts_ms     Int64   CODEC(Delta(8), ZSTD(1)) COMMENT 'Unix time in milliseconds',
    value     Float64 CODEC(Delta(8), ZSTD(1)) COMMENT 'of rows whose scale is -1; others have parts',
    scale     Int8    DEFAULT -1 CODEC(ZSTD(1)) COMMENT 'digits after the point',
    high      Int64   CODEC(Delta(8), ZSTD(1)) COMMENT 'the digits as an integer, without',
    low       UInt8   CODEC(Delta(1), ZSTD(1)) COMMENT '... its lowest byte',
    number    Float64 ALIAS if(scale < 0, value, (high * 256 + low) / toFloat64(intExp10(scale)))
        COMMENT 'what is read; bits 0x7ff0000000000002: the series ended',
    start_ms  Int64   CODEC(Delta(8), ZSTD(1)) COMMENT 'since when the value counts; 0: unknown',
    segment   UInt32  CODEC(Delta(4), ZSTD(1)),
    INDEX by_segment segment TYPE minmax GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toMonday(toDateTime(intDiv(ts_ms, 1000), 'UTC'))
ORDER BY (metric, series_id, ts_ms)
TTL toDateTime(intDiv(ts_ms, 1000), 'UTC') + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- Native histograms in Prometheus's terms: bucket n of schema s ends at 2^(n * 2^-s).
CREATE TABLE IF NOT EXISTS histograms
(
    metric          UInt64  CODEC(Delta(8), ZSTD(1)),
    series_id       UInt64  CODEC(Delta(8), ZSTD(1)),
    ts_ms           Int64   CODEC(Delta(8), ZSTD(1)) COMMENT 'Unix time in milliseconds',
    start_ms        Int64   CODEC(Delta(8), ZSTD(1)) COMMENT 'since when it counts; 0: unknown',
    schema          Int8    CODEC(ZSTD(1)) COMMENT '-4 to 8; -53: it has bounds of its own',
    zero_threshold  Float64 CODEC(ZSTD(1)),
    zero_count      Float64 CODEC(Delta(8), ZSTD(1)),
    count           Float64 CODEC(Delta(8), ZSTD(1)),
    sum             Float64 CODEC(ZSTD(1)) COMMENT 'bits 0x7ff0000000000002: the series ended',
    positive_offset Int32   CODEC(Delta(4), ZSTD(1)) COMMENT 'number of the first bucket',
    positive        Array(Float64) CODEC(ZSTD(1)) COMMENT 'counts, not cumulated',
    negative_offset Int32   CODEC(Delta(4), ZSTD(1)),
    negative        Array(Float64) CODEC(ZSTD(1)),
    bounds          Array(Float64) CODEC(ZSTD(1)) COMMENT 'with schema -53, without +Inf',
    hint            UInt8   CODEC(ZSTD(1)) COMMENT '1: reset, 2: not reset, 3: a delta or a gauge',
    segment         UInt32  CODEC(Delta(4), ZSTD(1)),
    INDEX by_segment segment TYPE minmax GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toMonday(toDateTime(intDiv(ts_ms, 1000), 'UTC'))
ORDER BY (metric, series_id, ts_ms)
TTL toDateTime(intDiv(ts_ms, 1000), 'UTC') + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS exemplars
(
    metric    UInt64  CODEC(Delta(8), ZSTD(1)),
    series_id UInt64  CODEC(Delta(8), ZSTD(1)) COMMENT 'of a classic histogram: its bucket',
    ts_ms     Int64   CODEC(Delta(8), ZSTD(1)),
    value     Float64 CODEC(ZSTD(1)),
    trace_id  FixedString(16) COMMENT 'zeros: none',
    span_id   FixedString(8) COMMENT 'zeros: none',
    raw       String CODEC(ZSTD(1)) COMMENT 'as it came: an OTLP Exemplar',
    segment   UInt32  CODEC(Delta(4), ZSTD(1)),
    INDEX by_segment segment TYPE minmax GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toMonday(toDateTime(intDiv(ts_ms, 1000), 'UTC'))
ORDER BY (metric, series_id, ts_ms)
TTL toDateTime(intDiv(ts_ms, 1000), 'UTC') + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS logs
(
    time          DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    tenant        LowCardinality(String),
    service       LowCardinality(String) COMMENT 'resource service.name',
    instance      LowCardinality(String) COMMENT 'resource service.instance.id',
    severity      UInt8 COMMENT 'OTLP severity number, 0 to 24',
    severity_text LowCardinality(String),
    event         LowCardinality(String) COMMENT 'OTLP event_name',
    body          String CODEC(ZSTD(1)),
    trace_id      FixedString(16) COMMENT 'zeros: none',
    span_id       FixedString(8) COMMENT 'zeros: none',
    scope         LowCardinality(String),
    attributes    Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    resource      Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    segment       UInt32 CODEC(Delta(4), ZSTD(1)),
    INDEX by_segment segment TYPE minmax GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toMonday(time)
ORDER BY (service, toStartOfMinute(time), time)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS spans
(
    trace_id         FixedString(16),
    span_id          FixedString(8),
    parent_span_id   FixedString(8) COMMENT 'zeros: a root',
    start            DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    duration_ns      UInt64 CODEC(T64, ZSTD(1)),
    tenant           LowCardinality(String),
    service          LowCardinality(String),
    instance         LowCardinality(String),
    name             LowCardinality(String),
    kind             UInt8 COMMENT 'OTLP SpanKind, 0 to 5',
    status           UInt8 COMMENT 'OTLP StatusCode: 0 unset, 1 ok, 2 error',
    status_message   String,
    trace_state      String,
    scope            LowCardinality(String),
    attributes       Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    resource         Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    event_times      Array(DateTime64(9, 'UTC')),
    event_names      Array(LowCardinality(String)),
    event_attributes Array(Map(LowCardinality(String), String)),
    link_trace_ids   Array(FixedString(16)),
    link_span_ids    Array(FixedString(8)),
    segment          UInt32 CODEC(Delta(4), ZSTD(1)),
    INDEX by_segment segment TYPE minmax GRANULARITY 4,
    INDEX by_trace trace_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toMonday(start)
ORDER BY (service, toStartOfMinute(start), start)
TTL toDateTime(start) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- What samples come to in five minutes; see telemetry/store/rollups.py.
CREATE TABLE IF NOT EXISTS roll_5m
(
    metric    UInt64  CODEC(Delta(8), ZSTD(1)),
    series_id UInt64  CODEC(Delta(8), ZSTD(1)),
    end_ms    Int64   CODEC(Delta(8), ZSTD(1)) COMMENT 'end of the window, which is left-open',
    count     UInt64  CODEC(T64, ZSTD(1)),
    sum       Float64 CODEC(ZSTD(1)),
    min       Float64 CODEC(ZSTD(1)),
    max       Float64 CODEC(ZSTD(1)),
    first     Float64 CODEC(Delta(8), ZSTD(1)),
    last      Float64 CODEC(Delta(8), ZSTD(1)),
    first_ms  Int64   CODEC(Delta(8), ZSTD(1)),
    last_ms   Int64   CODEC(Delta(8), ZSTD(1)),
    increase  Float64 CODEC(ZSTD(1)) COMMENT 'from first to last; resets counted',
    resets    UInt64  CODEC(T64, ZSTD(1)),
    fell      Float64 CODEC(ZSTD(1)) COMMENT 'sum of the values before the resets',
    ended     Bool    CODEC(ZSTD(1)) COMMENT 'the newest sample said that the series ended',
    version   UInt64  DEFAULT toUnixTimestamp64Milli(now64(3)) CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toStartOfMonth(toDateTime(intDiv(end_ms, 1000), 'UTC'))
ORDER BY (metric, series_id, end_ms)
TTL toDateTime(intDiv(end_ms, 1000), 'UTC') + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- ... and in an hour. Ranges of months read millions of these, each in the place of hundreds of samples:
-- the codec is one that reads quickly, where another would take half of the room.
CREATE TABLE IF NOT EXISTS roll_1h
(
    metric    UInt64  CODEC(Delta(8), LZ4),
    series_id UInt64  CODEC(Delta(8), LZ4),
    end_ms    Int64   CODEC(Delta(8), LZ4) COMMENT 'end of the window, which is left-open',
    count     UInt64  CODEC(T64, LZ4),
    sum       Float64 CODEC(LZ4),
    min       Float64 CODEC(LZ4),
    max       Float64 CODEC(LZ4),
    first     Float64 CODEC(Delta(8), LZ4),
    last      Float64 CODEC(Delta(8), LZ4),
    first_ms  Int64   CODEC(Delta(8), LZ4),
    last_ms   Int64   CODEC(Delta(8), LZ4),
    increase  Float64 CODEC(LZ4) COMMENT 'from first to last; resets counted',
    resets    UInt64  CODEC(T64, LZ4),
    fell      Float64 CODEC(LZ4) COMMENT 'sum of the values before the resets',
    ended     Bool    CODEC(LZ4) COMMENT 'the newest sample said that the series ended',
    version   UInt64  DEFAULT toUnixTimestamp64Milli(now64(3)) CODEC(Delta(8), LZ4)
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toStartOfMonth(toDateTime(intDiv(end_ms, 1000), 'UTC'))
ORDER BY (metric, series_id, end_ms)
TTL toDateTime(intDiv(end_ms, 1000), 'UTC') + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- How far roll-ups are made, and which segment was the newest then. `one` says what rows hold.
CREATE TABLE IF NOT EXISTS rolled
(
    one      UInt8,
    until_ms Int64,
    segment  UInt32,
    version  UInt64 DEFAULT toUnixTimestamp64Milli(now64(3))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY one
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Stores of earlier versions.
ALTER TABLE roll_5m ADD COLUMN IF NOT EXISTS fell Float64 CODEC(ZSTD(1)) AFTER resets,
    ADD COLUMN IF NOT EXISTS ended Bool CODEC(ZSTD(1)) AFTER fell;

ALTER TABLE roll_1h ADD COLUMN IF NOT EXISTS fell Float64 CODEC(ZSTD(1)) AFTER resets,
    ADD COLUMN IF NOT EXISTS ended Bool CODEC(ZSTD(1)) AFTER fell;

ALTER TABLE roll_1h
    MODIFY COLUMN metric CODEC(Delta(8), LZ4), MODIFY COLUMN series_id CODEC(Delta(8), LZ4),
    MODIFY COLUMN end_ms CODEC(Delta(8), LZ4), MODIFY COLUMN count CODEC(T64, LZ4),
    MODIFY COLUMN sum CODEC(LZ4), MODIFY COLUMN min CODEC(LZ4),
    MODIFY COLUMN max CODEC(LZ4), MODIFY COLUMN first CODEC(Delta(8), LZ4),
    MODIFY COLUMN last CODEC(Delta(8), LZ4), MODIFY COLUMN first_ms CODEC(Delta(8), LZ4),
    MODIFY COLUMN last_ms CODEC(Delta(8), LZ4), MODIFY COLUMN increase CODEC(LZ4),
    MODIFY COLUMN resets CODEC(T64, LZ4), MODIFY COLUMN fell CODEC(LZ4),
    MODIFY COLUMN ended CODEC(LZ4), MODIFY COLUMN version CODEC(Delta(8), LZ4);

ALTER TABLE series MODIFY COLUMN kind Enum8('gauge' = 1, 'counter' = 2, 'updown' = 3,
    'histogram' = 4, 'summary' = 5, 'exponential' = 6, 'unknown' = 7);

ALTER TABLE series ADD COLUMN IF NOT EXISTS delta Bool DEFAULT false AFTER otlp_name;

ALTER TABLE samples ADD COLUMN IF NOT EXISTS start_ms Int64 CODEC(Delta(8), ZSTD(1)) AFTER value;

ALTER TABLE samples
    ADD COLUMN IF NOT EXISTS scale Int8 DEFAULT -1 CODEC(ZSTD(1)) AFTER value,
    ADD COLUMN IF NOT EXISTS high Int64 CODEC(Delta(8), ZSTD(1)) AFTER scale,
    ADD COLUMN IF NOT EXISTS low UInt8 CODEC(Delta(1), ZSTD(1)) AFTER high,
    ADD COLUMN IF NOT EXISTS number Float64
        ALIAS if(scale < 0, value, (high * 256 + low) / toFloat64(intExp10(scale))) AFTER low;

-- Calls between services, joined from spans as they come in (telemetry/map/); rows of one edge and
-- minute are added up by merges, and by readers.
CREATE TABLE IF NOT EXISTS edges_1m
(
    minute      DateTime('UTC'),
    tenant      LowCardinality(String),
    client      LowCardinality(String) COMMENT 'empty: from outside, or not instrumented',
    server      LowCardinality(String),
    kind        Enum8('rpc' = 1, 'messaging' = 2, 'database' = 3, 'external' = 4),
    virtual     Bool COMMENT 'nobody answered: the server is what the client calls it',
    calls       UInt64,
    errors      UInt64,
    duration_ns UInt64 COMMENT 'of all calls',
    latencyMap  Nested(bucket UInt8, calls UInt64) COMMENT 'bucket: 0 below 1 us, then 4 each doubling'
)
ENGINE = SummingMergeTree
PARTITION BY toMonday(minute)
ORDER BY (tenant, minute, client, server, kind, virtual)
TTL minute + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- Traces that stay for more than themselves (telemetry/sampling/); those that aren't here stand for
-- one.
CREATE TABLE IF NOT EXISTS trace_weights
(
    trace_id FixedString(16),
    weight   Float64,
    decided  DateTime('UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(decided)
ORDER BY trace_id
TTL decided + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;
