"""A replica that takes over goes on with what the other had found."""

from telemetry.rules.states import Alert, Phase, RuleState, adopted


def alert(name, phase, fired):
    return Alert(labels=(("n", name),), value=1.0, phase=phase, active_ms=fired, fired_ms=fired)


def state(*alerts):
    return RuleState(alerts={one.labels: one for one in alerts})


def test_what_fires_at_both_began_when_the_other_found_it():
    ours = state(alert("a", Phase.FIRING, 2_000), alert("b", Phase.FIRING, 2_000))
    theirs = state(alert("a", Phase.FIRING, 1_000), alert("b", Phase.RESOLVED, 1_000))
    after = adopted(ours, theirs)
    assert [one.fired_ms for one in after.alerts.values()] == [1_000, 2_000]
    assert adopted(state(), theirs) == state()
