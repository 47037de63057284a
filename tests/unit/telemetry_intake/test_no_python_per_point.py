"""Ten times the points run no more Python: what is done for each is compiled."""

import contextlib
import sys
import threading
import time

import pytest

from telemetry.load import span_rows
from telemetry.load.decimals import Decimals
from telemetry.load.rows import joined, write
from telemetry.log.records import seal
from telemetry.scan.exposition_described import Header, sealed
from telemetry.scan.scanner import Scanner
from telemetry.scan.shapes import Signal
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.remote_writes import write_1, write_2


FEW, MANY = 300, 3_000


@contextlib.contextmanager
def counted():
    """Count the lines of Python that run in the block, a loop's each time around."""
    lines = [0]

    def trace(_frame, event, _argument):
        lines[0] += event == "line"
        return trace

    before = sys.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)
        threading.settrace(before)


def lines_for(signal, request, tmp_path):
    """How many lines run for *request*, from its bytes to the files that ClickHouse loads."""
    now = time.time_ns()
    scanner, decimals = Scanner(), Decimals()
    scanner.learn(one.series_id for one in scanner.judge(signal, request, now).new_series)
    with counted() as lines:
        scan = scanner.judge(signal, request, now)
        if scan.batch is not None:
            write(joined([scan.batch]), tmp_path / "segment.pb", decimals)
        if signal is Signal.TRACES:
            segment = tmp_path / "segment.pb"
            segment.write_bytes(seal(request, "", now))
            span_rows.write(segment, span_rows.beside(segment))
    return scan.rows, lines[0]


def logs(count, now):
    one = otlp_requests.logs(now)
    return one * count


def traces(count, now):
    return otlp_requests.traces(now) * count


REQUESTS = {
    Signal.METRICS: lambda count, now: otlp_requests.gauges("g", range(count), now),
    Signal.REMOTE_WRITE: lambda count, now: write_1(
        *(({"__name__": "g", "n": str(n)}, [(1.0, now // 10**6)]) for n in range(count))
    ),
    Signal.REMOTE_WRITE_2: lambda count, now: write_2(
        *(({"__name__": "g", "n": str(n)}, [(1.0, now // 10**6)]) for n in range(count))
    ),
    Signal.SCRAPE: lambda count, _: sealed(
        Header(labels={"job": "j"}), b"".join(b'g{n="%d"} 1\n' % n for n in range(count))
    ),
    Signal.LOGS: logs,
    Signal.TRACES: traces,
}


@pytest.mark.parametrize("signal", REQUESTS)
def test_ten_times_the_points_run_as_many_lines_of_python(signal, tmp_path):
    now = time.time_ns()
    few_rows, few = lines_for(signal, REQUESTS[signal](FEW, now), tmp_path)
    many_rows, many = lines_for(signal, REQUESTS[signal](MANY, now), tmp_path)

    assert many_rows == 10 * few_rows > 0
    # Buffers are doubled when they are full; nothing else depends on how many there are.
    assert many - few < FEW / 3
