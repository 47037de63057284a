import time

import pytest

from meshkit.errors import InvalidInput
from telemetry.log.records import seal
from telemetry.scan.scanner import Scanner
from telemetry.scan.shapes import Signal
from tests.contract.telemetry_intake import otlp_requests


def fault(request, signal=Signal.METRICS):
    with pytest.raises(InvalidInput) as refused:
        Scanner().judge(signal, request, time.time_ns())
    assert refused.value.reason == "MALFORMED_OTLP"
    return refused.value.metadata["fault"]


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"\x0a", "TRUNCATED"),
        (b"\x0a\x05ab", "TRUNCATED"),
        (b"\x80", "TRUNCATED"),
        (b"\x09\x00", "TRUNCATED"),
        (b"\x00", "BAD_TAG"),
        (b"\x06", "BAD_TAG"),
        (b"\x0f\x00", "GROUP"),
        (b"\x0b\x0c", "GROUP"),
        (b"\x93\x01\x94\x01", "GROUP"),
        (b"\x08\x01", "WRONG_TYPE"),
        (b"\x10" + b"\xff" * 10, "BAD_VARINT"),
        (b"\x10" + b"\xff" * 9 + b"\x00", "BAD_VARINT"),
        (b"\x0a\x04\x0a\x00\x0a\x00", "REPEATED"),
        (b"\xca\xa9\x07\x00", "OWN_FIELD"),
    ],
)
def test_malformed_bytes_are_refused_with_what_is_wrong(request_bytes, expected):
    assert fault(request_bytes) == expected


def test_a_request_cant_bring_the_logs_own_fields_along():
    record = seal(b"", "somebody", time.time_ns())

    assert fault(record[1:]) == "OWN_FIELD"


def test_a_field_nobody_knows_is_skipped():
    scan = Scanner().judge(Signal.LOGS, b"\x92\x03\x03abc\xa8\x03\x01", time.time_ns())

    assert (scan.items, scan.rows) == (0, 0)


def test_a_label_that_is_no_text_is_refused():
    request = otlp_requests.gauges("g", [1.0], time.time_ns(), where="XXXX")

    assert fault(request.replace(b"XXXX", b"\xff\xff\xff\xff")) == "ENCODING"


def test_a_series_is_new_until_it_is_learnt():
    now = time.time_ns()
    scanner = Scanner()
    request = otlp_requests.gauges("g", range(9_000), now)

    first = scanner.judge(Signal.METRICS, request, now)
    scanner.learn(one.series_id for one in first.new_series)
    second = scanner.judge(Signal.METRICS, request, now)

    assert len(first.new_series) == scanner.series == 9_000
    assert second.new_series == []
    assert second.rows == first.rows


def test_tenants_have_series_of_their_own():
    now = time.time_ns()
    request = otlp_requests.gauges("g", [1.0], now)

    one, other = (
        Scanner().judge(Signal.METRICS, request, now, tenant).new_series[0]
        for tenant in ("lounge", "")
    )

    assert one.series_id != other.series_id
    assert one.labels == other.labels


def test_the_order_of_attributes_makes_no_other_series():
    now = time.time_ns()
    request, swapped = (
        otlp_requests.gauges("g", [1.0], now, **labels)
        for labels in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    )

    one, other = (
        Scanner().judge(Signal.METRICS, bytes_, now).new_series[0] for bytes_ in (request, swapped)
    )

    assert request != swapped
    assert one.series_id == other.series_id


def test_rows_have_the_room_that_the_last_requests_needed():
    now = time.time_ns()
    scanner = Scanner()
    few = otlp_requests.gauges("g" * 2_000, range(2), now)
    many = otlp_requests.gauges("g", range(2_000), now)

    for _ in range(300):
        wide = scanner.judge(Signal.METRICS, few, now).batch.samples
    dense = scanner.judge(Signal.METRICS, many, now).batch.samples
    again = scanner.judge(Signal.METRICS, many, now).batch.samples

    assert (wide.shape[1], dense.shape[1]) == (2, 2_000)
    assert wide.base.shape[1] < 2 + 20
    assert 2_000 <= again.base.shape[1] < 2_000 * 1.3
    assert dense.tobytes() == again.tobytes()
