"""What stands on the wire is fixed: both sides write and read the same bytes."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion_client import deltas as reading
from aerofusion_client import values as client_values
from aerofusion_client.deltas import InvalidDelta
from syncd import integrity, values
from syncd.model import Changes, FeedCell
from syncd.wire import deltas as writing
from syncd.wire import messages


AT = datetime(2013, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)
VECTORS = [
    (None, "00"),
    ("B2 \N{AIRPLANE}", "0142 32 20 e29c88"),
    (-1, "02ffffffffffffffff"),
    (2**63 - 1, "027fffffffffffffff"),
    (0.5, "033fe0000000000000"),
    (True, "0401"),
    (False, "0400"),
    (b"\x00\xff", "0500ff"),
    (AT, "060004d7125090c2cb"),
]


@pytest.mark.parametrize(("value", "expected"), VECTORS, ids=lambda x: repr(x)[:20])
def test_a_value_has_one_form_in_cells(value, expected):
    cell = messages.value_from(client_values.to_message(value))
    assert cell.hex() == expected.replace(" ", "")
    assert client_values.from_cell(cell) == value
    assert client_values.from_message(messages.value_to(cell)) == value


def test_the_hash_of_a_cell_is_fixed():
    cell = ("UA1", 3, 258, values.string("B2"))
    assert integrity.cell_hash(*cell) == client_values.cell_hash(*cell)
    expected = "f6cf1747e161f3ed30dccd205cb38e19"
    assert integrity.to_bytes(integrity.cell_hash(*cell)).hex() == expected


@pytest.mark.parametrize("bad", [math.nan, 2**63, object(), AT.replace(tzinfo=None), "x" * 65_537])
def test_what_no_cell_can_hold_is_refused_on_the_device(bad):
    with pytest.raises(client_values.InvalidValue):
        client_values.to_message(bad)


@pytest.mark.parametrize("seconds", [-62_135_596_801, 253_402_300_800])
def test_a_time_beyond_the_calendar_is_invalid(seconds):
    message = frames.Value()
    message.timestamp_value.seconds = seconds
    assert messages.value_from(message) == values.INVALID


cell_values = st.one_of(
    st.just(values.NULL),
    st.text(max_size=20).map(values.string),
    st.integers(-(2**63), 2**63 - 1).map(values.integer),
    st.floats(allow_nan=False).map(values.double),
    st.booleans().map(values.boolean),
    st.binary(max_size=20).map(values.blob),
    st.integers(values.MICROSECONDS_MIN, values.MICROSECONDS_MAX).map(values.timestamp),
)
feed_cells = st.builds(
    FeedCell, st.integers(11, 10**9), st.integers(1, 10**6), st.integers(1, 128), cell_values
)


@given(
    st.lists(feed_cells, max_size=60),
    st.dictionaries(st.integers(1, 10**6), st.text("abcXYZ-", min_size=1), max_size=20),
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(11, 10**9)), max_size=20),
)
def test_what_goes_into_columns_comes_out_of_them(cells, new, removals):
    cells = sorted(cells, key=lambda cell: (cell.seq, cell.record, cell.field))
    removals = sorted(removals, key=lambda removal: (removal[1], removal[0]))
    changes = Changes(
        space_key=1,
        from_seq=10,
        to_seq=10**9,
        cells=cells,
        new_records=sorted(new.items()),
        removals=removals,
        more=False,
        state_hash=5,
        hlc_max=0,
    )
    read = reading.unpack(writing.delta(changes))
    assert read.new_records == new
    assert read.removals == removals
    assert [(x.seq, x.record, x.field, x.value) for x in read.cells] == [
        (x.seq, x.record, x.field, x.value) for x in cells
    ]


def test_fifty_one_field_edits_of_two_thousand_records_take_six_bytes_each():
    cells = [FeedCell(2001 + n, 1 + 37 * n, 3, values.integer(n)) for n in range(50)]
    changes = Changes(
        space_key=9,
        from_seq=2000,
        to_seq=2050,
        cells=cells,
        new_records=[],
        removals=[],
        more=False,
        state_hash=1,
        hlc_max=0,
    )
    assert len(writing.frame_bytes(writing.delta(changes))) <= 50 * 6


@given(st.binary(min_size=1, max_size=200), st.sampled_from([1, 2, 3, 9]))
def test_bytes_that_are_no_columns_are_refused_or_read_never_worse(data, encoding):
    try:
        reading.unpack(frames.Delta(columns=data, encoding=encoding, from_seq=5))
    except InvalidDelta:
        refused = True
    else:
        refused = False
    assert refused or encoding in (1, 2)


def test_columns_that_inflate_beyond_the_bound_are_refused(monkeypatch):
    import zlib

    monkeypatch.setattr(reading, "COLUMNS_BYTES_MAX", 1000)
    bomb = zlib.compress(bytes(10_000))
    with pytest.raises(InvalidDelta):
        reading.unpack(frames.Delta(columns=bomb, encoding=frames.ENCODING_ZLIB))
