import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.sparks import BLOCKS, GAP, number, spark


def test_a_line_goes_from_the_lowest_block_to_the_highest():
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 8) == BLOCKS


def test_what_is_not_known_is_a_gap():
    assert spark([0, math.nan, 7], 8) == f"{BLOCKS[0]}{GAP}{BLOCKS[-1]}"


def test_what_never_changes_is_flat():
    assert spark([5, 5], 8) == BLOCKS[3] * 2
    assert spark([0, 0], 8) == BLOCKS[0] * 2


def test_two_lines_can_have_one_scale():
    assert spark([5], 8, 0, 10) == BLOCKS[4]


@given(st.lists(st.floats(), max_size=200), st.integers(1, 80))
def test_a_line_is_never_wider_than_it_may_be(values, width):
    line = spark(values, width)

    assert len(line) == min(len(values), width)
    assert set(line) <= set(BLOCKS) | {GAP}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.123, "1", "12.3 %"),
        (1536, "By", "1.5 KiB"),
        (3 * 2**30, "By/s", "3 GiB/s"),
        (0.0042, "s", "4.2 ms"),
        (90, "s", "90 s"),
        (12_345, "{request}/s", "12.3 k/s"),
        (7, "", "7"),
        (999, "", "999"),
        (math.nan, "s", "-"),
    ],
)
def test_numbers_are_told_as_people_say_them(value, unit, text):
    assert number(value, unit) == text
