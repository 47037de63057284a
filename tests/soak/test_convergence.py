"""Random days of devices, thousands of them: all end in step, and nothing is lost."""

import os

import pytest

from tests.scenarios.syncd.days import random_day


SLICE = bool(os.environ.get("MESH_SOAK_SLICE"))
DAYS = 14 if SLICE else int(os.environ.get("MESH_SOAK_DAYS", "3000"))
FIRST = 100
"""Those before it are run with each change."""

pytestmark = [pytest.mark.timeout(120 + 10 * DAYS)]


def test_random_days_end_in_step():
    for seed in range(FIRST, FIRST + DAYS):
        random_day(seed)
