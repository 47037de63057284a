import pytest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from telemetry.scan import names
from telemetry.scan.sink import Kind


def attributes(**values):
    made = []
    for key, value in values.items():
        one = KeyValue(key=key.replace("__", "."))
        kind = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
        setattr(one.value, kind[type(value)], value)
        made.append(one)
    return made


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        ("http.server.duration", "ms", Kind.HISTOGRAM, "http_server_duration_milliseconds"),
        ("http.requests", "1", Kind.COUNTER, "http_requests_total"),
        ("http.requests", "{request}", Kind.COUNTER, "http_requests_total"),
        ("requests_total", "", Kind.COUNTER, "requests_total"),
        ("disk.io", "By/s", Kind.GAUGE, "disk_io_bytes_per_second"),
        ("cpu.use", "1", Kind.GAUGE, "cpu_use_ratio"),
        ("cpu.use", "1", Kind.UPDOWN, "cpu_use"),
        ("time_seconds", "s", Kind.COUNTER, "time_seconds_total"),
        ("a--b..c", "", Kind.GAUGE, "a_b_c"),
        ("2nd.gate", "", Kind.GAUGE, "_2nd_gate"),
        ("fuel", "kg/{flight}", Kind.GAUGE, "fuel_kg"),
        ("speed", "m/h", Kind.GAUGE, "speed_meters_per_hour"),
    ],
)
def test_metrics_have_the_names_that_opentelemetry_gives_them(name, unit, kind, expected):
    assert names.metric_name(name, unit, kind) == expected


def test_a_resource_becomes_job_and_instance_and_nothing_else():
    given = attributes(
        service__name="board", service__namespace="airport", service__instance__id="7", host="h"
    )

    assert names.target_labels(given) == {"job": "airport/board", "instance": "7"}
    assert names.target_labels(attributes(service__name="board")) == {"job": "board"}
    assert names.target_labels([]) == {}


def test_labels_that_collide_are_joined_in_the_order_of_their_names():
    given = [*attributes(a_b="2"), KeyValue(key="a.b"), *attributes(a__b="1")]

    assert names.point_labels(given) == {"a_b": "1;2"}


def test_values_become_text_and_empty_ones_are_no_labels():
    given = attributes(flag=True, count=-3, share=0.5, empty="", **{"9th": "x"})

    assert names.point_labels(given) == {
        "flag": "true",
        "count": "-3",
        "share": "0.5",
        "key_9th": "x",
    }


def test_lists_and_maps_become_json_and_bytes_base64():
    one = KeyValue(key="k")
    inner = one.value.kvlist_value.values.add(key="list").value.array_value
    inner.values.add().int_value = 1
    inner.values.add().bytes_value = b"\xff"

    assert names.value_text(one.value) == '{"list":[1,"/w=="]}'


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.005, "0.005"),
        (10.0, "10"),
        (1e20, "100000000000000000000"),
        (2.5e-7, "0.00000025"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        (0.1 + 0.2, "0.30000000000000004"),
    ],
)
def test_bounds_are_written_as_prometheus_writes_them(number, text):
    assert names.number_text(number) == text
