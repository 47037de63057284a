"""Values are split into decimals only where the very same float comes back."""

import math
import random
import struct

import numpy as np
import pytest

from telemetry.load.decimals import FLOAT, SCALE_MAX, Decimals
from telemetry.scan.sink import SAMPLE_COLUMNS, Sample
from telemetry.store.model import STALE_NAN_BITS


STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]


def samples(values, series=1):
    made = np.zeros((SAMPLE_COLUMNS, len(values)), np.uint64)
    made[Sample.SERIES] = series
    made[Sample.VALUE] = np.array(values, np.float64).view(np.uint64)
    return made


def bits(values):
    return np.asarray(values, np.float64).view(np.uint64).tolist()


def put_together(split):
    """What the table's column `number` says."""
    scaled = (split.high * 256 + split.low) / 10.0 ** np.maximum(split.scale, 0)
    return np.where(split.scale == FLOAT, split.floats, scaled)


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 1.0, -1.0, 255.0, 256.0, -256.0, -257.0],
        [0.1, 0.25, 12.5, -3.75, 1e-12, 123456.789],
        [1e15, 2.0**53, 2.0**53 - 1, 1e22, 1e300, 5e-324],
        [-0.0, math.inf, -math.inf, math.nan, STALE],
        [0.1 + 0.2, math.pi, 1 / 3],
    ],
)
def test_what_is_put_together_has_the_same_bits(values):
    split = Decimals().split(samples(values))

    assert bits(put_together(split)) == bits(values)
    assert split.whole == np.count_nonzero(split.scale == FLOAT)


def test_random_floats_and_decimals_come_back_bit_for_bit():
    chance = random.Random(3)
    floats = [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(20_000)]
    decimals = [chance.randrange(10**12) / 10 ** chance.randrange(9) for _ in range(20_000)]
    values = [one for pair in zip(floats, decimals, strict=True) for one in pair]

    split = Decimals().split(samples(values, series=np.arange(1, len(values) + 1)))

    assert bits(put_together(split)) == bits(values)
    assert np.all(split.scale[1::2] != FLOAT)


def test_decimals_are_split_and_what_has_none_is_not():
    split = Decimals().split(samples([12.5, 0.1 + 0.2, -0.0, STALE]))

    assert split.scale.tolist() == [1, FLOAT, FLOAT, FLOAT]
    assert (split.high[0], split.low[0]) == (0, 125)


def test_a_series_keeps_the_digits_it_once_had():
    """Else 12 and 12.5 would be 12 and 125, and differ by more than they do."""
    split = Decimals().split(samples([12.0, 12.5, 12.0, 12.25, 12.0]))

    assert split.scale.tolist() == [0, 1, 1, 2, 2]


def test_series_dont_share_their_digits():
    split = Decimals().split(samples([0.125, 7.0, 0.5, 8.0], series=[1, 2, 1, 2]))

    assert split.scale.tolist() == [3, 0, 3, 0]


def test_a_series_without_decimals_is_not_tried_at_length_and_finds_back():
    decimals = Decimals()
    decimals.split(samples([1 / 3 + n for n in range(100)]))

    assert decimals.split(samples([0.5])).scale.tolist() == [FLOAT]
    assert decimals.split(samples([5.0, 0.5])).scale.tolist() == [0, 1]


def test_more_series_than_there_was_room_for_are_all_split():
    ids = np.arange(1, 10_001)
    decimals = Decimals()
    values = ids / 10.0

    first = decimals.split(samples(values, series=ids))
    again = decimals.split(samples(values, series=ids))

    assert bits(put_together(first)) == bits(values)
    assert first.scale.tolist() == again.scale.tolist()
    assert first.scale.max() <= SCALE_MAX
