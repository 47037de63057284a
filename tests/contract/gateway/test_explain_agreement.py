"""Explain and a real Envoy agree on requests made at random."""

import random

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fixtures.agreement import agreement
from tests.fixtures.requests import catalog, request


pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUESTS = 80
CATALOGS = 6
UNCERTAIN_MAX = 0.05


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def both(postgres):
    async with agreement(postgres) as made:
        yield made


@given(seed=st.integers(0, 2**32))
@settings(
    max_examples=CATALOGS,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@pytest.mark.timeout(300)
async def test_explain_predicts_what_envoy_does(both, seed):
    chance = random.Random(seed)
    await both.apply(catalog(chance, both.outsiders))
    requests = [request(chance, both.signer, both.outsiders) for _ in range(REQUESTS)]

    disagreements = await both.compare(requests)

    assert disagreements == [], "\n\n".join(disagreements[:5])
    assert both.uncertain <= UNCERTAIN_MAX * both.compared
