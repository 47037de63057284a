"""What holds for every history of a rule."""

from hypothesis import given
from hypothesis import strategies as st

from telemetry.rules.model import NoData
from telemetry.rules.states import (
    NO_DATA_KEPT_MS,
    Failed,
    Found,
    Happened,
    Holds,
    Phase,
    RuleState,
    Timing,
    restored,
    step,
)


ALERTS = [(("n", name),) for name in "ab"]
SECOND = 1_000

timings = st.builds(
    Timing,
    hold_ms=st.sampled_from([0, 3 * SECOND, 10 * SECOND]),
    keep_firing_ms=st.sampled_from([0, 4 * SECOND]),
    no_data=st.sampled_from(NoData),
)
outcomes = st.one_of(
    st.just(Failed(error="why")),
    st.builds(
        Found,
        holding=st.dictionaries(
            st.sampled_from(ALERTS), st.builds(Holds, value=st.floats(allow_nan=False))
        ),
    ),
    st.just(Found(holding={}, has_data=False)),
)
histories = st.lists(st.tuples(st.integers(1, 8), outcomes), max_size=40)


def played(timing, history):
    """Yield each tick: its time, outcome, the state before and after, and the events."""
    state, at = RuleState(), 0
    for seconds, outcome in history:
        at += seconds * SECOND
        before = state
        state, events = step(timing, state, at, outcome)
        yield at, outcome, before, state, events


@given(timings, histories)
def test_what_failed_changes_no_alert(timing, history):
    for _, outcome, before, after, events in played(timing, history):
        if isinstance(outcome, Failed):
            assert after.alerts == before.alerts
            assert events == []
            assert after.error == "why"


@given(timings, histories)
def test_an_alert_fires_only_once_its_condition_has_held_for_long_enough(timing, history):
    since = {}
    for at, outcome, _, _, events in played(timing, history):
        if isinstance(outcome, Found):
            since = {labels: since.get(labels, at) for labels in outcome.holding}
        for event in events:
            if event.what is Happened.FIRING:
                assert at - since[event.alert.labels] >= timing.hold_ms


@given(timings, histories)
def test_firing_and_resolved_take_turns(timing, history):
    firing = set()
    for _, outcome, _, after, events in played(timing, history):
        for event in events:
            if event.what is Happened.FIRING:
                assert event.alert.labels not in firing
                firing.add(event.alert.labels)
            if event.what is Happened.RESOLVED:
                assert isinstance(outcome, Found)
                assert event.alert.labels not in outcome.holding
                firing.remove(event.alert.labels)
        listed = {labels for labels, one in after.alerts.items() if one.phase is Phase.FIRING}
        assert listed == firing


@given(timings, histories)
def test_nothing_is_resolved_for_lack_of_data_before_its_time(timing, history):
    without = 0
    for at, outcome, _, _, events in played(timing, history):
        if isinstance(outcome, Found):
            without = 0 if outcome.has_data else without or at
        for event in events:
            if event.what is Happened.RESOLVED and timing.no_data is NoData.KEEP and without:
                assert at - without >= NO_DATA_KEPT_MS


@given(timings, histories, st.integers(0, 3_600))
def test_a_restart_forgets_no_alert_and_invents_none(timing, history, away_s):
    for at, _, _, state, _ in played(timing, history):
        again = restored(state, at + away_s * SECOND)
        assert again.alerts.keys() == state.alerts.keys()
        for labels, alert in state.alerts.items():
            assert again.alerts[labels].phase is alert.phase
            held = at - alert.active_ms
            if alert.phase is Phase.PENDING:
                assert at + away_s * SECOND - again.alerts[labels].active_ms == held
