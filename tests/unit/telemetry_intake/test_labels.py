import random
import time

import numpy as np
import pytest

from meshkit.errors import InvalidInput
from telemetry.scan import labels
from telemetry.scan.labels import Column
from telemetry.scan.scanner import MESSAGES_MAX, Scanner
from telemetry.scan.shapes import Signal
from tests.contract.telemetry_intake.remote_writes import (
    of_bytes,
    of_double,
    of_number,
    sample,
    write_1,
)


NOW_MS = time.time_ns() // 1_000_000
ONE = write_1(({"__name__": "up", "job": "gate"}, [(1.0, NOW_MS)]))


def verdict(scanner, request):
    try:
        scan = scanner.judge(Signal.REMOTE_WRITE, request, time.time_ns())
    except InvalidInput as error:
        return error.reason, error.metadata
    ids = [one.series_id for one in scan.new_series]
    return scan.items, scan.rows, scan.refused, sorted(ids), scan.batch.samples.tobytes()


def remembering(*requests):
    scanner = Scanner()
    for request in requests:
        scan = scanner.judge(Signal.REMOTE_WRITE, request, time.time_ns())
        scanner.learn(one.series_id for one in scan.new_series)
        scanner.remember(scan)
    return scanner


def ordinary(*requests):
    """Return a scanner that knows the same series, and no labels by their bytes."""
    scanner = Scanner()
    for request in requests:
        scan = scanner.judge(Signal.REMOTE_WRITE, request, time.time_ns())
        scanner.learn(one.series_id for one in scan.new_series)
    return scanner


def label(name, value):
    return of_bytes(1, of_bytes(1, name) + of_bytes(2, value))


def series(chance):
    """Return a TimeSeries, mostly as Prometheus writes it."""
    names = [b"job", b"instance", b"path", b"le"]
    parts = [label(b"__name__", chance.choice([b"up", b"seen", b"a" * 200]))]
    parts += [label(name, chance.choice([b"", b"x", b"y" * 150])) for name in names]
    parts += [of_bytes(2, sample(float(n), NOW_MS - n)) for n in range(chance.choice([1, 1, 1, 3]))]
    odd = [
        b"",
        of_bytes(2, b""),
        of_bytes(2, of_number(2, NOW_MS) + of_double(1, 2.0)),
        of_bytes(2, of_double(1, 2.0)),
        of_bytes(2, of_double(1, 2.0) + of_double(1, 3.0)),
        of_bytes(3, b"an exemplar"),
        of_bytes(4, of_number(1, 3)),
        of_bytes(9, b"unknown"),
        label(b"late", b"label"),
    ]
    parts += [chance.choice(odd) for _ in range(chance.choice([0, 0, 1]))]
    if chance.random() < 0.1:
        chance.shuffle(parts)
    return of_bytes(1, b"".join(parts))


def mutant(chance, request):
    spoilt = bytearray(request)
    for _ in range(chance.choice([0, 1, 1, 2])):
        at = chance.randrange(len(spoilt))
        match chance.randrange(4):
            case 0:
                spoilt[at] ^= 1 << chance.randrange(8)
            case 1:
                del spoilt[at : at + chance.randrange(1, 12)]
            case 2:
                spoilt[at:at] = chance.randbytes(chance.randrange(1, 12))
            case _:
                spoilt[at] = chance.choice([0x0A, 0x12, 0x09, 0x10, 0x00, 0xFF])
    return bytes(spoilt)


@pytest.mark.parametrize("seed", range(30))
def test_what_is_remembered_changes_no_verdict(seed):
    chance = random.Random(seed)
    whole = [b"".join(series(chance) for _ in range(chance.randrange(1, 8))) for _ in range(30)]
    good = [one for one in whole if isinstance(verdict(Scanner(), one)[0], int)]
    fast, slow = remembering(*good), ordinary(*good)

    requests = [mutant(chance, chance.choice(whole)) for _ in range(400)]
    verdicts = [verdict(fast, one) for one in requests]

    assert verdicts == [verdict(slow, one) for one in requests]
    assert len({one[0] for one in verdicts}) > 3


def test_labels_are_read_once():
    scanner = remembering(ONE)

    again = scanner.judge(Signal.REMOTE_WRITE, ONE, time.time_ns())

    assert len(again.labels) == 0
    assert again.rows == 1


def test_a_series_without_a_name_is_never_remembered():
    request = write_1(({"job": "gate"}, [(1.0, NOW_MS)]))

    scan = Scanner().judge(Signal.REMOTE_WRITE, request, time.time_ns())

    assert len(scan.labels) == 0
    assert scan.stored == 0


def test_a_request_with_too_many_fields_is_refused_whatever_is_remembered():
    request = write_1(({"__name__": "up", "job": "gate"}, [(1.0, NOW_MS)] * (MESSAGES_MAX // 3)))

    assert verdict(remembering(ONE), request)[1]["fault"] == "TOO_MANY"


def rows_of(keys):
    rows = np.zeros((len(keys), len(Column)), np.uint64)
    rows[:, Column.KEY] = keys
    rows[:, Column.METRIC], rows[:, Column.LABELS] = rows[:, 0] * 3, rows[:, 0] * 5
    return rows


def test_the_table_grows_and_forgets_when_it_is_full(monkeypatch):
    known = labels.LabelSets()
    keys = np.arange(1, 60_001, dtype=np.uint64) * np.uint64(7919)

    for at in range(0, len(keys), 4_000):
        known.learn(rows_of(keys[at : at + 4_000]))
    known.learn(rows_of(keys[:100]))

    scanned = known.for_scan()
    assert len(known) == len(keys)
    for hint in (0, 1, 59_999, 60_000, 10**6):
        found = [labels.recall(scanned, key, hint) for key in keys[::97]]
        told = scanned.rows[found, Column.METRIC : Column.KNOWN]
        assert (told == rows_of(keys[::97])[:, Column.METRIC : Column.KNOWN]).all()
    assert labels.recall(scanned, np.uint64(1), 0) == -1

    monkeypatch.setattr(labels, "_COUNT_MAX", len(keys))
    known.learn(rows_of(keys[:1] + np.uint64(1)))
    assert len(known) == 1


def test_a_row_that_is_half_written_is_not_found():
    known = labels.LabelSets()
    known.learn(rows_of(np.array([7919], np.uint64)))
    scanned = known.for_scan()

    for column in (Column.KEY, Column.METRIC, Column.LABELS):
        whole = scanned.rows[0, column]
        scanned.rows[0, column] = 0
        assert labels.recall(scanned, np.uint64(7919), 0) == -1
        scanned.rows[0, column] = whole

    assert labels.recall(scanned, np.uint64(7919), 5) == 0


def test_labels_of_one_tenant_say_nothing_of_anothers():
    scanner = remembering(ONE)

    scan = scanner.judge(Signal.REMOTE_WRITE, ONE, time.time_ns(), "lounge")

    assert len(scan.new_series) == len(scan.labels) == 1
