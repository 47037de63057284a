"""Whatever clients and changes do, each client ends with what it must hold; faults are noticed."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.fixtures.xds_faults import FAULTS, injected
from tests.fixtures.xds_oracle import World, run
from tests.fixtures.xds_rules import ORDER, Disagreement


STEPS = 240
CHANCES = st.randoms(use_true_random=False)


class Conversations(RuleBasedStateMachine):
    """Clients, changes, refusals and restarts in the order that Hypothesis likes."""

    sotw = False

    @initialize(chance=CHANCES, clean=st.booleans())
    def begin(self, chance, clean):
        self.world = World(chance, clean=clean, sotw=self.sotw)

    def client(self, second):
        return self.world.clients[second]

    @rule()
    def change(self):
        self.world.change()

    @rule(second=st.booleans(), key=st.sampled_from(ORDER))
    def answer(self, second, key):
        self.world.answer(self.client(second), key)

    @rule(second=st.booleans())
    def ask(self, second):
        self.world.subscribe(self.client(second))

    @rule(second=st.booleans())
    def say_more(self, second):
        self.world.say_more(self.client(second))

    @rule(seconds=st.sampled_from([0.3, 1.0, 2.0]))
    def wait(self, seconds):
        self.world.pass_time(seconds)

    @rule(second=st.booleans(), anew=st.booleans())
    def reconnect(self, second, anew):
        if anew:
            self.client(second).begin_anew()
        self.world.connect(self.client(second))

    @rule()
    def restart(self):
        self.world.restart()

    @precondition(lambda self: not self.sotw)
    @rule(second=st.booleans())
    def forget(self, second):
        self.world.forget(self.client(second))

    def teardown(self):
        if hasattr(self, "world"):
            self.world.settle()


class SotwConversations(Conversations):
    """The same with gRPC clients."""

    sotw = True


TestConversations = Conversations.TestCase
TestConversations.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
TestSotwConversations = SotwConversations.TestCase
TestSotwConversations.settings = TestConversations.settings


@pytest.mark.parametrize("sotw", [False, True], ids=["delta", "state of the world"])
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "with refusals"])
def test_each_client_ends_with_what_it_must_hold(clean, sotw):
    assert run(random.Random(1), steps=STEPS, clean=clean, sotw=sotw) >= STEPS


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_oracle_notices_a_fault(fault):
    with injected(fault), pytest.raises(Disagreement):
        run(random.Random(fault.seed), steps=120, clean=fault.clean, sotw=fault.sotw)
