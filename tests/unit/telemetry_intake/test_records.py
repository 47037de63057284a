import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from telemetry.log.packing import packed
from telemetry.log.records import Damage, Record, read, request_of, seal


REQUESTS = st.lists(st.binary(max_size=300), min_size=1, max_size=6)


def sealed(requests):
    return [seal(request, f"t{n}", n + 1) for n, request in enumerate(requests)]


def requests_in(data):
    return [
        data[one.body : one.body + one.request_bytes]
        for one in read(data)
        if isinstance(one, Record)
    ]


def damage_in(data):
    return [one for one in read(data) if isinstance(one, Damage)]


@given(REQUESTS)
def test_what_was_sealed_is_read_back_with_its_sender_and_time(requests):
    data = b"".join(sealed(requests))

    assert requests_in(data) == requests
    assert [(one.tenant, one.received_ns) for one in read(data)] == [
        (f"t{n}", n + 1) for n in range(len(requests))
    ]


@given(REQUESTS, st.data())
def test_a_torn_end_costs_only_the_record_that_is_torn(requests, data):
    records = sealed(requests)
    kept = data.draw(st.integers(0, len(records[-1]) - 1))

    torn = b"".join(records[:-1]) + records[-1][:kept]

    assert requests_in(torn) == requests[:-1]
    assert sum(one.end - one.start for one in damage_in(torn)) == kept


@given(REQUESTS, st.data())
def test_one_flipped_bit_costs_only_the_record_it_is_in(requests, data):
    records = sealed(requests)
    hit = data.draw(st.integers(0, len(records) - 1))
    at = data.draw(st.integers(0, len(records[hit]) - 1))
    records[hit] = bytearray(records[hit])
    records[hit][at] ^= 1 << data.draw(st.integers(0, 7))

    found = requests_in(b"".join(records))

    assert found == requests[:hit] + requests[hit + 1 :]


@given(REQUESTS, st.data())
def test_zeroed_bytes_cost_only_the_records_they_are_in(requests, data):
    """A power cut may leave the file's length and lose its pages."""
    records = sealed(requests)
    hit = data.draw(st.integers(0, len(records) - 1))

    zeroed = [bytes(len(one)) if n == hit else one for n, one in enumerate(records)]

    assert requests_in(b"".join(zeroed)) == requests[:hit] + requests[hit + 1 :]


@given(st.binary(max_size=2_000))
def test_any_bytes_are_read_without_gaps(data):
    at = 0
    for one in read(data):
        assert one.start == at
        at = one.end

    assert at == len(data)


def test_a_sealed_request_is_still_a_request_for_other_readers():
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(severity_number=9)

    record = next(read(seal(request.SerializeToString(), "lounge", 5)))
    data = seal(request.SerializeToString(), "lounge", 5)
    parsed = ExportLogsServiceRequest.FromString(data[record.body : record.end])

    assert parsed.resource_logs == request.resource_logs


@given(st.binary(min_size=1, max_size=40), st.integers(20, 400), st.sampled_from(["", "lounge"]))
def test_a_packed_request_is_read_back_as_it_was(part, times, tenant):
    request = part * times
    block = packed(request)
    assert (block is None) == (len(request) < 512)
    data = seal(block or request, tenant, 5, packed=block is not None) + seal(b"next", "t", 6)

    first, second = read(data)

    assert (request_of(data, first), first.tenant) == (request, tenant)
    assert (request_of(data, second), second.tenant) == (b"next", "t")


@pytest.mark.parametrize("block", [b"", b"\xff" * 6, b"\xff\xff\xff\xff\x0f", b"\x05ab"])
def test_a_record_that_is_not_packed_as_it_says_is_told_of(block):
    data = seal(block, "", 5, packed=True)

    with pytest.raises((ValueError, OSError)):
        request_of(data, next(read(data)))
